"""How labeled images are divided into folds, each to be left out once."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np

FOLDS = 5


def folds(labels: np.ndarray, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows to fit with and rows left out, of each fold; classes are divided evenly."""
    from sklearn.model_selection import KFold, StratifiedKFold  # slow to import, and rarely wanted

    count = min(FOLDS, int(np.bincount(labels).max()))
    splitter = StratifiedKFold if count > 1 else KFold
    found = splitter(count if count > 1 else min(FOLDS, len(labels)), shuffle=True, random_state=seed % 2**32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that a class has fewer images than there are folds
        yield from found.split(labels, labels)
