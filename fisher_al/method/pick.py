"""The methods on one's own features and classifier: arrays in, what to label next out."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from fisher_al.data.features import Features
from fisher_al.errors import UserError
from fisher_al.method.arrays import class_numbers, feature_rows, head_of, label_list, row_indices
from fisher_al.method.linear_head import no_head, why_not_linear
from fisher_al.method.question import (
    check_budget,
    descriptors_of,
    method_named,
    methods_on_features,
    question_on_features,
)

WITHOUT_CLASSIFIER = ("none", "random", "coreset", "typiclust")


def pick(
    X_pool: ArrayLike,
    X_validation: ArrayLike,
    y_validation: ArrayLike,
    classifier: Any,
    budget: int,
    *,
    method: str = "gradFmap",
    labeled: ArrayLike | None = None,
    y_labeled: ArrayLike | None = None,
    validation_predictions: ArrayLike | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Which rows of the pool to label next: those that resemble what the classifier gets wrong.

    Rows are compared with the misclassified validation samples by their features and their Fisher scores,
    the gradients of the classifier's cross-entropy at the features (arXiv:2003.00393).

    Parameters
    ----------
    X_pool : array-like (n_pool, n_features), labeled rows and unlabeled ones. Computed with, and so best
        given, as float32; a memory-mapped array stays on disk.
    X_validation, y_validation : array-like (n_validation, n_features) and (n_validation,), a small set whose
        classes are as frequent as they matter to you. Labels are strings or whatever `classes_` holds.
    classifier : any fitted classifier with `coef_`, `intercept_` and `classes_`, such as LogisticRegression,
        RidgeClassifier or LinearSVC; of a pipeline its last step, with features as that step sees them. The
        methods none, random, coreset and typiclust take any other, and None while there is none.
    budget : int, how many rows to pick.
    method : "gradFmap" (the paper's), "gradGmap", "grad", "gradShift", "none", "random", "margin", "entropy",
        "balanced", "coreset", "badge", "typiclust", "clue", "falcun" or "similar"; see README and
        docs/later-methods.md.
    labeled : indices (n,) of the rows in `X_pool` that have labels already, and are not picked.
    y_labeled : array-like (n,), their labels, which "balanced" counts; the others do without.
    validation_predictions : array-like (n_validation,), what the classifier says of the validation samples.
        By default it is asked; where it was fitted on them, give what `cross_val_predict` says instead.
    seed : int, of the draws at random.

    Returns
    -------
    ndarray of int (budget,), row indices into `X_pool` in the order of picking.

    Raises
    ------
    UserError : if arrays do not fit together or hold NaN, the classifier does not fit the method or does not
        know a label, or less than the budget is unlabeled.

    Examples
    --------
    >>> classifier = LogisticRegression().fit(X_pool[labeled], y_labeled)
    >>> to_label = pick(X_pool, X_validation, y_validation, classifier, 100, labeled=labeled)
    """
    chosen = method_named(method, methods_on_features())
    pool, validation = feature_rows("X_pool", X_pool), feature_rows("X_validation", X_validation)
    count, width = len(validation), pool.shape[1]
    if count == 0 or validation.shape[1] != width:
        raise UserError(f"X_validation {validation.shape}: needs rows, of {width} features as X_pool has")
    unavailable = row_indices(labeled, len(pool))
    check_budget(budget, unavailable, len(pool))
    labels, predicted = label_list("y_validation", y_validation, count), None
    if validation_predictions is None and method == "none" and classifier is not None:
        validation_predictions = classifier.predict(X_validation)
    if validation_predictions is not None:
        predicted = label_list("validation_predictions", validation_predictions, count)
    if method in WITHOUT_CLASSIFIER:
        classes = list(dict.fromkeys([*labels, *(predicted or ())]))
        head, predictions = no_head(len(classes), width), torch.full((count,), -1)
    else:
        if reason := why_not_linear(classifier):
            alternatives = ", ".join(WITHOUT_CLASSIFIER)
            raise UserError(
                f"method '{method}': needs a fitted linear classifier, but {reason}; {alternatives} need none"
            )
        classes = np.asarray(classifier.classes_).tolist()
        head, predictions = head_of(classifier, width), None
    if predicted is not None:
        predictions = class_numbers("validation_predictions", predicted, classes)
    numbers = class_numbers("y_validation", labels, classes)
    known = torch.full((len(pool),), -1)
    if y_labeled is not None and method not in WITHOUT_CLASSIFIER:
        answers = label_list("y_labeled", y_labeled, len(unavailable))
        known[unavailable] = class_numbers("y_labeled", answers, classes)
    elif method == "balanced" and len(unavailable):
        raise UserError("method 'balanced': counts the labels so far; give them as y_labeled")
    images = Features(pool, labels=known), Features(validation, labels=numbers)
    iteration = question_on_features(head, *images, budget, seed, predictions)
    return chosen.pick(iteration, unavailable, descriptors_of(chosen, iteration, in_memory=False)).numpy()
