"""Core-set, TypiClust, BADGE, CLUE and FALCUN, which the paper does not have: scikit-activeml's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from skactiveml.base import SkactivemlClassifier
from skactiveml.pool import Badge, Clue, CoreSet, Falcun, TypiClust
from torch import Tensor

from fisher_al.method.acquisition import random_picks

# Neighbours whose mean distance says how typical an image is, as in TypiClust's own code.
TYPICAL_NEIGHBOURS = 20


def coreset_picks(features: Tensor, labeled: Tensor, available: Tensor, budget: int, seed: int) -> Tensor:
    """Farthest-first traversal of the pool's features (N, L) from the labeled ones (arXiv:1708.00489).

    labeled, available : indices into the pool; returns `budget` indices out of `available`.
    """
    return _picks_by_features(CoreSet(random_state=seed % 2**32), features, labeled, available, budget)


def typiclust_picks(features: Tensor, labeled: Tensor, available: Tensor, budget: int, seed: int) -> Tensor:
    """The most typical image of each cluster of features (N, L) that has no label, the largest one first.

    There are as many clusters as labels in the end, of features of length 1; typical is what has a small mean
    distance to its neighbours (arXiv:2202.02794).

    labeled, available : indices into the pool; returns `budget` indices out of `available`, random ones where
    fewer images differ.
    """
    features = F.normalize(features)
    if _fewer_differ(features, len(labeled) + budget):
        return _random(available, budget, seed)
    strategy = TypiClust(random_state=seed % 2**32, k=TYPICAL_NEIGHBOURS)
    return _picks_by_features(strategy, features, labeled, available, budget)


def _picks_by_features(
    strategy: CoreSet | TypiClust, features: Tensor, labeled: Tensor, available: Tensor, budget: int
) -> Tensor:
    y = np.full(len(features), np.nan)
    y[labeled.numpy()] = 0  # only which images are labeled counts
    picks = strategy.query(features.numpy(), y, candidates=available.numpy(), batch_size=budget)
    return available.new_tensor(picks)


def badge_picks(features: Tensor, probabilities: Tensor, available: Tensor, budget: int, seed: int) -> Tensor:
    """k-means++ on gradient embeddings: features (N, L) times softmax minus argmax (arXiv:1906.03671).

    probabilities : (N, C); available : indices into the pool; returns `budget` indices out of it.
    """
    strategy = Badge(random_state=seed % 2**32)
    return _picks_by_softmax(strategy, [features, probabilities], available, budget, "clf")


def clue_picks(features: Tensor, probabilities: Tensor, available: Tensor, budget: int, seed: int) -> Tensor:
    """The image nearest to each centre of k-means on features (N, L), weighted by entropy (arXiv:2010.08666).

    probabilities : (N, C); available : indices into the pool; returns `budget` indices out of it, random ones
    where fewer images differ.
    """
    if _fewer_differ(features[available], budget):
        return _random(available, budget, seed)
    # its k-means would draw from NumPy's global generator
    strategy = Clue(random_state=seed % 2**32, cluster_algo_dict={"random_state": seed % 2**32})
    return _picks_by_softmax(strategy, [features, probabilities], available, budget, "estimator")


def falcun_picks(probabilities: Tensor, available: Tensor, budget: int, seed: int) -> Tensor:
    """Drawn by margin plus distance from earlier picks, in probabilities (N, C) (Gilhuber et al., ECML 2024).

    available : indices into the pool; returns `budget` indices out of it.
    """
    return _picks_by_softmax(Falcun(random_state=seed % 2**32), [probabilities], available, budget, "clf")


def _picks_by_softmax(
    strategy: Badge | Clue | Falcun, columns: Sequence[Tensor], available: Tensor, budget: int, role: str
) -> Tensor:
    """columns : features where the strategy looks at them, then probabilities. role : of the classifier."""
    rows = np.concatenate([column.numpy() for column in columns], axis=1)
    classifier = _Precomputed(columns[-1].shape[1])
    how = {role: classifier, f"fit_{role}": False, "candidates": available.numpy(), "batch_size": budget}
    picks = strategy.query(rows, np.full(len(rows), np.nan), **how)
    return available.new_tensor(np.asarray(picks, dtype=np.int64))


def _fewer_differ(rows: Tensor, number: int) -> bool:
    return len(torch.unique(rows, dim=0)) < number


def _random(available: Tensor, budget: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return available[random_picks(len(available), budget, generator)]


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
