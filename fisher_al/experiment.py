"""One dataset's protocol as data: network, sizes, schedules and where the images come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor, nn


@dataclass(frozen=True)
class Schedule:
    """Mini-batch SGD: the learning rate drops tenfold at each of `milestones` (epochs count from 1)."""

    epochs: int
    batch_size: int
    learning_rate: float
    milestones: tuple[int, ...]
    momentum: float = 0.5
    weight_decay: float = 0.0

    def learning_rate_at(self, epoch: int) -> float:
        """Learning rate during `epoch`, which counts from 1."""
        return self.learning_rate * 0.1 ** sum(epoch >= milestone for milestone in self.milestones)


@dataclass(frozen=True)
class RawSplits:
    """The dataset as published: uint8 images (N, H, W) or (N, H, W, 3), int64 labels (N,)."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


@dataclass(frozen=True)
class PaperFigure:
    """One of the paper's figures: a pool, the curves on it, and what its annotation claims.

    curves : as results tables name them, for instance `gradFmap/80`, `varMC E=4`, `gradFmap/80 random init`.
    claim : a curve, another one, and the accuracy (percent) at which the first saves labels over the second.
    """

    imbalance_ratio: float
    curves: tuple[str, ...]
    claim: tuple[str, str, float]


@dataclass(frozen=True, eq=False)
class Experiment:
    """A dataset with its network and protocol (design of the paper's experiments, section 4 and appendix).

    `network(num_classes)` builds the model: an `nn.Module` with `head` (name of the classification layer),
    `scales` (name -> channels), `forward(images, tap)`, `below_dropout` and `above_dropout`; see
    `fisher_al.network`. `read(folder)` returns the raw splits found in, or downloaded to, `folder`;
    its images have `image_shape`.
    `scales` maps a descriptor length L to the scales that it concatenates.
    """

    name: str
    network: Callable[[int], nn.Module]
    read: Callable[[Path], RawSplits]
    num_classes: int
    image_shape: tuple[int, ...]
    mean: float | tuple[float, ...]
    std: float | tuple[float, ...]
    validation_per_class: int | tuple[int, ...]
    pool_size: int
    scales: Mapping[int, tuple[str, ...]]
    training: Schedule
    pretraining: Schedule
    iterations: int
    budget: int
    runs: int
    imbalance_ratios: tuple[float, ...]
    mc_samples: int
    methods: tuple[str, ...]
    default_length: int
    figures: Mapping[str, PaperFigure] = field(default_factory=dict)

    # Experiments travel to worker processes by copy; the name makes the copies one for caches.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Experiment) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)
