"""Arrays of users, checked: features, labels, row indices, and a classifier in scikit-learn's manner."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from fisher_al.data.features import ROWS_AT_ONCE
from fisher_al.errors import UserError
from fisher_al.method.linear_head import LinearHead, linear_head


def feature_rows(name: str, values: ArrayLike) -> np.ndarray:
    """Features as float32 (n, n_features).

    Raises: UserError if they are no such array, or hold NaN.
    """
    try:
        rows = np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError, RuntimeError) as error:  # torch's, of what requires gradients
        raise UserError(f"{name}: no array of numbers ({error}); a sparse one needs toarray()") from error
    if rows.ndim != 2 or rows.shape[1] < 2:
        raise UserError(f"{name} {rows.shape}: has to be (n, n_features), with two features or more")
    for start in range(0, len(rows), ROWS_AT_ONCE):
        is_finite = np.isfinite(rows[start : start + ROWS_AT_ONCE]).all(1)
        if not is_finite.all():
            raise UserError(f"{name}: row {start + is_finite.argmin()} holds NaN, or infinity in float32")
    return rows


def row_indices(labeled: ArrayLike | None, size: int) -> Tensor:
    """Indices (n,) of those of `size` rows that are labeled.

    Raises: UserError if they are not that.
    """
    indices = np.asarray(() if labeled is None else labeled)
    if indices.ndim != 1 or (len(indices) and indices.dtype.kind not in "iu"):
        raise UserError(f"labeled: {indices.dtype} {indices.shape}, but row indices (n,) are wanted")
    for index in indices[(indices < 0) | (indices >= size)][:1]:
        raise UserError(f"labeled: {index} is no row of {size}, which count from 0")
    return torch.from_numpy(indices.astype(np.int64))


def label_list(name: str, values: Any, count: int) -> list[Hashable]:
    """One label for each of `count` rows, as Python's own objects.

    Raises: UserError if they are not as many.
    """
    labels = values.tolist() if hasattr(values, "tolist") else values
    labels = list(labels) if isinstance(labels, Iterable) else []
    if len(labels) != count or not all(isinstance(label, Hashable) for label in labels):
        shape = getattr(values, "shape", (len(labels),))
        raise UserError(f"{name} {shape}: has to be ({count},), a label for every row")
    return labels


def class_numbers(name: str, labels: Sequence[Hashable], classes: Sequence[Hashable]) -> Tensor:
    """Numbers (n,) of labels among a classifier's classes.

    Raises: UserError if a label is none of them.
    """
    numbers = {label: number for number, label in enumerate(classes)}
    for label in labels:
        if label not in numbers:
            known = ", ".join(map(repr, classes))[:200]
            raise UserError(
                f"{name}: the classifier does not know {label!r}, only {known}; "
                "fit it on some of that class, too, or choose method 'none'"
            )
    return torch.tensor([numbers[label] for label in labels], dtype=torch.long)


def head_of(classifier: Any, width: int) -> LinearHead:
    """The head that decides as a fitted linear classifier does.

    Raises: UserError if that was fitted on another number of features than `width`, or is not finite.
    """
    coefficients, intercepts = classifier.coef_, classifier.intercept_
    if (fitted := np.shape(coefficients)[-1]) != width:
        raise UserError(f"X_pool: {width} features, but the classifier was fitted on {fitted}")
    classes = len(classifier.classes_)
    head = linear_head(coefficients, intercepts, np.arange(classes), classes)
    if not all(weights.isfinite().all() for weights in head.parameters()):
        raise UserError("classifier: its coef_ or intercept_ holds NaN, or infinity in float32")
    return head
