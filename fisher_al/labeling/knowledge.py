"""What is known when a round begins, by numbers: rows of features, positions in the pool, classes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fisher_al.data.features import Features
from fisher_al.labeling.catalogue import Catalogue

# Share of each class's validation images that only score: they are never matched.
SCORING_SHARE = 0.2


@dataclass(frozen=True)
class Knowledge:
    """What is known when a round begins.

    rows : float32 (n, width), features of all images. pool, validation : rows of their images.
    validation_labels : (V,); labeled, labels : positions in the pool and their classes; left_out : positions
    that are not to be picked. spared : of each validation image, whether it only scores and is never matched.
    """

    rows: np.ndarray
    num_classes: int
    pool: Tensor
    validation: Tensor
    validation_labels: Tensor
    labeled: Tensor
    labels: Tensor
    left_out: Tensor
    spared: Tensor

    @property
    def pool_images(self) -> Features:
        """The pool, with the labels that are known."""
        labels = torch.full((len(self.pool),), -1)
        labels[self.labeled] = self.labels
        return Features(self.rows, self.pool, labels)

    def features_of(self, rows: Tensor) -> Tensor:
        """Features (n, width) in memory."""
        return torch.from_numpy(self.rows[rows.numpy()])


def knowledge(catalogue: Catalogue, rows: Mapping[str, int], features: np.ndarray) -> Knowledge:
    """A catalogue by numbers. rows : row among `features` (n, width), by absolute path."""
    number = {name: index for index, name in enumerate(catalogue.classes)}
    position = {key: index for index, key in enumerate(catalogue.pool)}
    where = torch.tensor([rows[path] for path in catalogue.paths()], dtype=torch.long)
    labels = catalogue.labels
    return Knowledge(
        rows=features,
        num_classes=len(number),
        pool=where[: len(position)],
        validation=where[len(position) :],
        validation_labels=_tensor([number[label] for label in catalogue.validation.values()]),
        labeled=_tensor([position[key] for key in labels]),
        labels=_tensor([number[label] for label in labels.values()]),
        left_out=_tensor([position[key] for key in catalogue.left_out]),
        spared=spared(catalogue.validation),
    )


def spared(validation: Mapping[str, str]) -> Tensor:
    """Which validation images only score (V,): of every class the same share, as their keys decide."""
    by_class: dict[str, list[str]] = {}
    for key, label in validation.items():
        by_class.setdefault(label, []).append(key)
    chosen = {
        key
        for keys in by_class.values()
        for key in sorted(keys, key=_digest)[: int(SCORING_SHARE * len(keys))]
    }
    return torch.tensor([key in chosen for key in validation], dtype=torch.bool)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def _tensor(values: Sequence[int]) -> Tensor:
    return torch.tensor(values, dtype=torch.long)
