"""A linear classifier on features as a tapped network: its Fisher scores have a closed form."""

from __future__ import annotations

import warnings
from collections.abc import Container, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fisher_al.method.network import Dropout, Tap, TappedNetwork, no_dropout, untapped
from fisher_al.method.tapped import POOLED

# Logit of a class that nothing was labeled with yet.
NEVER = -1e4


def linear_head(
    coefficients: np.ndarray, intercepts: np.ndarray, known: np.ndarray, num_classes: int
) -> LinearHead:
    """The head that decides as a linear classifier of scikit-learn's.

    coefficients : its `coef_` (n, width) or (width,); intercepts : its `intercept_`, (n,) or one number. n is
    one for two classes, where scikit-learn keeps the margin of the second alone. known : (n or 2,), which of
    all classes its own are; the others are never the most probable.
    """
    weights = np.array(coefficients, ndmin=2)
    biases = np.broadcast_to(intercepts, len(weights)).copy()
    if len(weights) == 1:
        weights, biases = np.concatenate([-weights, weights]) / 2, np.concatenate([-biases, biases]) / 2
    weight, bias = torch.zeros(num_classes, weights.shape[1]), torch.full((num_classes,), NEVER)
    weight[known], bias[known] = torch.from_numpy(weights).float(), torch.from_numpy(biases).float()
    return LinearHead(weight, bias)


def logistic_head(features: np.ndarray, labels: np.ndarray, num_classes: int, **settings: Any) -> LinearHead:
    """The head that decides as a logistic regression on standardised features.

    features : (n, width); labels : (n,); settings : of scikit-learn's LogisticRegression. A class without any
    image is never the most probable.
    """
    from sklearn.exceptions import ConvergenceWarning  # slow to import, and rarely wanted
    from sklearn.linear_model import LogisticRegression

    if len(present := np.unique(labels)) == 1:  # of one fold
        only = np.concatenate([present, present])
        return linear_head(np.zeros((2, features.shape[1])), np.zeros(2), only, num_classes)
    centre, scale = features.mean(0), features.std(0) + 1e-6
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = LogisticRegression(max_iter=1000, **settings).fit((features - centre) / scale, labels)
    weights = fitted.coef_ / scale
    return linear_head(weights, fitted.intercept_ - weights @ centre, fitted.classes_, num_classes)


def why_not_linear(classifier: Any) -> str:
    """What an estimator in scikit-learn's manner lacks as a fitted linear classifier; "" if nothing."""
    name = type(classifier).__name__
    for attribute in ("coef_", "intercept_", "classes_"):
        if not hasattr(classifier, attribute):
            return f"{name} has no {attribute}"
    if hasattr(classifier.coef_, "toarray"):
        return f"{name} has a sparse coef_, which densify() makes dense"
    shape, classes = np.shape(classifier.coef_), len(classifier.classes_)
    rows = 1 if len(shape) == 1 else shape[0] if len(shape) == 2 else 0
    if rows != classes and (rows, classes) != (1, 2):
        return f"{name} has coef_ {shape} for {classes} classes"
    if classes < 2:
        return f"{name} knows one class only"
    if hasattr(classifier, "support_vectors_") and classes > 2:
        return f"{name} compares classes in pairs"
    return ""


def no_head(num_classes: int, width: int) -> LinearHead:
    """What stands in where there is no classifier: it takes no class for more probable than another."""
    return LinearHead(torch.zeros(num_classes, width), torch.zeros(num_classes))


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
        # without random weights, which would move the global random state
        self.linear = nn.utils.skip_init(nn.Linear, width, classes)
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
