"""Core-set, TypiClust, BADGE, CLUE and FALCUN, which the paper does not have: scikit-activeml's."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from skactiveml.base import SkactivemlClassifier
from skactiveml.pool import Badge, Clue, CoreSet, Falcun, TypiClust
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits
from torch import Tensor

from fisher_al.method.acquisition import random_picks

# Neighbours whose mean distance says how typical an image is. TypiClust's own code has this many, too, but at
# most 500 clusters, and none of five images or fewer.
TYPICAL_NEIGHBOURS = 20


def coreset_picks(features: Tensor, labeled: Tensor, available: Tensor, budget: int, seed: int) -> Tensor:
    """Farthest-first traversal of the pool's features (N, L) from the labeled ones (arXiv:1708.00489).

    labeled, available : indices into the pool; returns `budget` indices out of `available`.
    """
    return _picks_by_features(CoreSet(random_state=seed % 2**32), features, labeled, available, budget, seed)


def typiclust_picks(features: Tensor, labeled: Tensor, available: Tensor, budget: int, seed: int) -> Tensor:
    """The most typical image of each cluster of features (N, L) that has no label, the largest one first.

    There are as many clusters as labels in the end, of features of length 1; typical is what has a small mean
    distance to its neighbours (arXiv:2202.02794).

    labeled, available : indices into the pool; returns `budget` indices out of `available`.
    """
    strategy = TypiClust(random_state=seed % 2**32, k=TYPICAL_NEIGHBOURS)
    return _picks_by_features(strategy, F.normalize(features), labeled, available, budget, seed)


def _picks_by_features(
    strategy: CoreSet | TypiClust,
    features: Tensor,
    labeled: Tensor,
    available: Tensor,
    budget: int,
    seed: int,
) -> Tensor:
    y = np.full(len(features), np.nan)
    y[labeled.numpy()] = 0  # only which images are labeled counts
    return _ask(strategy, features.numpy(), y, available, budget, seed)


def badge_picks(features: Tensor, probabilities: Tensor, available: Tensor, budget: int, seed: int) -> Tensor:
    """k-means++ on gradient embeddings: features (N, L) times softmax minus argmax (arXiv:1906.03671).

    probabilities : (N, C); available : indices into the pool; returns `budget` indices out of it.
    """
    strategy = Badge(random_state=seed % 2**32)
    return _picks_by_softmax(strategy, [features, probabilities], available, budget, seed, "clf")


def clue_picks(features: Tensor, probabilities: Tensor, available: Tensor, budget: int, seed: int) -> Tensor:
    """The image nearest to each centre of k-means on features (N, L), weighted by entropy (arXiv:2010.08666).

    probabilities : (N, C); available : indices into the pool; returns `budget` indices out of it.
    """
    # its k-means would draw from NumPy's global generator
    strategy = Clue(random_state=seed % 2**32, cluster_algo_dict={"random_state": seed % 2**32})
    return _picks_by_softmax(strategy, [features, probabilities], available, budget, seed, "estimator")


def falcun_picks(probabilities: Tensor, available: Tensor, budget: int, seed: int) -> Tensor:
    """Drawn by margin plus distance from earlier picks, in probabilities (N, C) (Gilhuber et al., ECML 2024).

    available : indices into the pool; returns `budget` indices out of it.
    """
    strategy = Falcun(random_state=seed % 2**32)
    return _picks_by_softmax(strategy, [probabilities], available, budget, seed, "clf")


def _picks_by_softmax(
    strategy: Badge | Clue | Falcun,
    columns: Sequence[Tensor],
    available: Tensor,
    budget: int,
    seed: int,
    role: str,
) -> Tensor:
    """columns : features where the strategy looks at them, then probabilities. role : of the classifier."""
    rows = np.concatenate([column.numpy() for column in columns], axis=1)
    classifier = {role: _Precomputed(columns[-1].shape[1]), f"fit_{role}": False}
    return _ask(strategy, rows, np.full(len(rows), np.nan), available, budget, seed, **classifier)


def _ask(
    strategy: Any,
    rows: np.ndarray,
    y: np.ndarray,
    available: Tensor,
    budget: int,
    seed: int,
    **classifier: Any,
) -> Tensor:
    """What the strategy picks, with random ones in place of repetitions.

    Some strategies repeat themselves where fewer images differ than are asked for.
    """
    # k-means adds up in an order that depends on the threads
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)  # that there are fewer clusters than asked for
        found = strategy.query(rows, y, candidates=available.numpy(), batch_size=int(budget), **classifier)
    picks = available.new_tensor(list(dict.fromkeys(found)))
    left = available[~torch.isin(available, picks)]
    generator = torch.Generator().manual_seed(seed)
    return torch.cat([picks, left[random_picks(len(left), budget - len(picks), generator)]])


class _Precomputed(SkactivemlClassifier):
    """Hands out the probabilities that its input rows end with, and the features, if any, before them."""

    def __init__(self, num_classes: int):
        super().__init__(classes=list(range(num_classes)))
        self.num_classes = num_classes

    def fit(self, X, y, sample_weight=None):
        return self

    def predict_proba(self, X):
        features, probabilities = np.split(X, [-self.num_classes], axis=1)
        return (probabilities, features) if features.size else probabilities
