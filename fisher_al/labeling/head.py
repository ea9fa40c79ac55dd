"""The head: a class-balanced logistic regression on the features, and what it says under cross-fitting."""

from __future__ import annotations

import math

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from fisher_al.method.linear_head import LinearHead, logistic_head
from fisher_al.training.folds import folds

# C of the regression, for features whose squares sum to 1 on average.
STRENGTH = 0.5

# From so many numbers on, a regression pays for the threads that wait for one another.
MANY_NUMBERS = 2**24


def fit_head(features: np.ndarray, labels: np.ndarray, num_classes: int) -> LinearHead:
    """Fit a class-balanced multinomial logistic regression on standardised features.

    features : (n, width); labels : (n,). A class without any image is never the most probable.
    """
    threads = 1 if features.size < MANY_NUMBERS else None
    with threadpool_limits(threads):
        strength = STRENGTH / features.shape[1]
        return logistic_head(features, labels, num_classes, C=strength, class_weight="balanced")


def cross_fitted(
    features: np.ndarray, labels: np.ndarray, validation: np.ndarray, num_classes: int, seed: int
) -> Tensor:
    """Probabilities (V, C) of validation images, each by a head that was fitted without it.

    features, labels : (n, width) and (n,) of all images to fit with; validation : (V,) their rows that are
    validation images, which are left out a fold at a time.
    """
    probabilities = torch.zeros(len(validation), num_classes)
    for _, held_out in folds(labels[validation], seed):
        fitted = np.delete(np.arange(len(features)), validation[held_out])
        head = fit_head(features[fitted], labels[fitted], num_classes)
        with torch.inference_mode():
            logits = head(torch.from_numpy(features[validation[held_out]]))
            probabilities[held_out] = logits.softmax(1)
    return probabilities


def knows_class(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Whether the head that gave an image its probabilities had seen its class (V,), by (V, C) and (V,)."""
    return probabilities.gather(1, labels.unsqueeze(1)).squeeze(1) > 0


def calibrated(head: LinearHead, probabilities: Tensor, labels: Tensor) -> LinearHead:
    """The same head by a temperature that makes what it says of images that it was not fitted on most likely.

    probabilities : (V, C) of such images; labels : (V,). Which class is most probable stays as it is. Images
    whose class has probability 0 do not count: their head knew none of it, whatever the temperature.
    Source: Guo et al., arXiv:1706.04599.
    """
    from scipy.optimize import minimize_scalar

    is_known = knows_class(probabilities, labels)
    if not is_known.any():
        return head
    logits, own = probabilities[is_known].double().log(), labels[is_known].unsqueeze(1)

    def surprise(log_temperature: float) -> float:
        scaled = (logits / math.exp(log_temperature)).log_softmax(1)
        return -scaled.gather(1, own).mean().item()

    temperature = math.exp(minimize_scalar(surprise, bounds=(-3, 3), method="bounded").x)
    return LinearHead(head.linear.weight.detach() / temperature, head.linear.bias.detach() / temperature)
