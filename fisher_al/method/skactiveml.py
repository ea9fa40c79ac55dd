"""Core-set, TypiClust and BADGE, which are no part of the paper: as scikit-activeml has them, on features."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from skactiveml.base import SkactivemlClassifier
from skactiveml.pool import Badge, CoreSet, TypiClust
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
    if len(torch.unique(features, dim=0)) < len(labeled) + budget:
        generator = torch.Generator().manual_seed(seed)
        return available[random_picks(len(available), budget, generator)]
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
    rows = np.concatenate([features.numpy(), probabilities.numpy()], axis=1)
    y = np.full(len(rows), np.nan)
    classifier = _Precomputed(probabilities.shape[1])
    strategy = Badge(random_state=seed % 2**32)
    picks = strategy.query(
        rows, y, clf=classifier, fit_clf=False, candidates=available.numpy(), batch_size=budget
    )
    return available.new_tensor(np.asarray(picks, dtype=np.int64))


class _Precomputed(SkactivemlClassifier):
    """Hands out the features and probabilities that its input rows already hold side by side."""

    def __init__(self, num_classes: int):
        super().__init__(classes=list(range(num_classes)))
        self.num_classes = num_classes

    def fit(self, X, y, sample_weight=None):
        return self

    def predict_proba(self, X):
        return X[:, -self.num_classes :], X[:, : -self.num_classes]
