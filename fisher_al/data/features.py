"""Features in place of images: what a linear classifier takes as its input."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fisher_al.data.images import Images

# Rows that are computed with at once.
ROWS_AT_ONCE = 8192


class Features(Images):
    """Rows of a matrix, read where they are used and served like `Images`, but for `subset` and `with_more`.

    rows : float32 (n, width), also mapped into memory. chosen : indices (N,) of those that are served, all by
    default. labels : int64 (N,), None where they are not known.
    """

    def __init__(self, rows: np.ndarray, chosen: Tensor | None = None, labels: Tensor | None = None):
        self._rows = rows
        self._chosen = torch.arange(len(rows)) if chosen is None else chosen
        self.labels = torch.full((len(self._chosen),), -1) if labels is None else labels

    def __getitem__(self, chosen: Tensor | slice) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(self._rows[self._chosen[chosen].numpy()]), self.labels[chosen]
