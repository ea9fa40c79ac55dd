"""The head: a class-balanced logistic regression on the features, and what it says under cross-fitting."""

from __future__ import annotations

import warnings
from collections.abc import Container, Iterator, Mapping

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, StratifiedKFold
from torch import Tensor, nn

from fisher_al.method.network import Dropout, Tap, TappedNetwork, no_dropout, untapped
from fisher_al.method.tapped import POOLED

FOLDS = 5

# C of the regression, for features whose squares sum to 1 on average.
STRENGTH = 0.5

# Logit of a class that no image was labeled with yet.
NEVER = -1e4


class LinearHead(TappedNetwork):
    """Logits of features, whose gradients at the features are known in closed form.

    weight : (C, width); bias : (C,).
    """

    head = "linear"
    closed_form_scales = frozenset((POOLED,))

    def __init__(self, weight: Tensor, bias: Tensor):
        super().__init__()
        classes, width = weight.shape
        self.scales = {POOLED: width}
        self.linear = nn.Linear(width, classes)
        self.linear.load_state_dict({"weight": weight, "bias": bias})

    def below_dropout(self, images: Tensor) -> Tensor:
        """The features as they are."""
        return images

    def above_dropout(self, hidden: Tensor, tap: Tap = untapped, dropout: Dropout = no_dropout) -> Tensor:
        """Logits (N, C)."""
        return self.linear(tap(POOLED, hidden))

    def pooled_gradients(
        self, activations: Mapping[str, Tensor], cotangents: Tensor, scales: Container[str]
    ) -> dict[str, Tensor]:
        """Gradients at the features: the cotangents (N, R, C) times the weights."""
        return {POOLED: cotangents @ self.linear.weight}


def fit_head(features: np.ndarray, labels: np.ndarray, num_classes: int) -> LinearHead:
    """Fit a class-balanced multinomial logistic regression on standardised features.

    features : (n, width); labels : (n,). A class without any image is never the most probable.
    """
    if len(present := np.unique(labels)) == 1:  # of one fold
        bias = torch.full((num_classes,), NEVER)
        bias[present] = 0.0
        return LinearHead(torch.zeros(num_classes, features.shape[1]), bias)
    centre, scale = features.mean(0), features.std(0) + 1e-6
    strength = STRENGTH / features.shape[1]
    regression = LogisticRegression(C=strength, class_weight="balanced", max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        regression.fit((features - centre) / scale, labels)
    weights, biases = regression.coef_ / scale, regression.intercept_
    if len(regression.classes_) == 2:  # scikit-learn then keeps the second class's margin alone
        weights, biases = np.concatenate([-weights, weights]) / 2, np.concatenate([-biases, biases]) / 2
    weight, bias = torch.zeros(num_classes, features.shape[1]), torch.full((num_classes,), NEVER)
    weight[regression.classes_] = torch.from_numpy(weights).float()
    bias[regression.classes_] = torch.from_numpy(biases - weights @ centre).float()
    return LinearHead(weight, bias)


def cross_fitted(
    features: np.ndarray, labels: np.ndarray, validation: np.ndarray, num_classes: int, seed: int
) -> Tensor:
    """Probabilities (V, C) of validation images, each by a head that was fitted without it.

    features, labels : (n, width) and (n,) of all images to fit with; validation : (V,) their rows that are
    validation images, which are left out a fold at a time.
    """
    probabilities = torch.zeros(len(validation), num_classes)
    for _, held_out in _folds(labels[validation], seed):
        fitted = np.delete(np.arange(len(features)), validation[held_out])
        head = fit_head(features[fitted], labels[fitted], num_classes)
        with torch.inference_mode():
            logits = head(torch.from_numpy(features[validation[held_out]]))
            probabilities[held_out] = logits.softmax(1)
    return probabilities


def _folds(labels: np.ndarray, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows to fit with and rows left out, of each fold; classes are divided evenly."""
    count = min(FOLDS, int(np.bincount(labels).max()))
    splitter = StratifiedKFold if count > 1 else KFold
    folds = splitter(count if count > 1 else min(FOLDS, len(labels)), shuffle=True, random_state=seed % 2**32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that a class has fewer images than there are folds
        yield from folds.split(labels, labels)
