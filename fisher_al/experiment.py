"""One dataset's protocol as data: network, sizes, schedules and where the images come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor, nn


@dataclass(frozen=True)
class Schedule:
    """Mini-batch SGD: the learning rate drops tenfold at each of `milestones` (epochs count from 1).

    Over the first `warmup_epochs` it grows linearly to its full value.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    milestones: tuple[int, ...]
    momentum: float = 0.5
    weight_decay: float = 0.0
    warmup_epochs: int = 0

    def learning_rate_at(self, epoch: int) -> float:
        """Learning rate during `epoch`, which counts from 1."""
        drops = sum(epoch >= milestone for milestone in self.milestones)
        warmth = min(1.0, epoch / self.warmup_epochs) if self.warmup_epochs else 1.0
        return self.learning_rate * warmth * 0.1**drops


@dataclass(frozen=True)
class RawSplits:
    """The dataset as published: uint8 images (N, H, W) or (N, H, W, 3), int64 labels (N,)."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


@dataclass(frozen=True)
class ImageFolder:
    """A folder of images, `train/<class>/*` and `val/<class>/*`, and how its files become network inputs.

    crop : side of the inputs, in pixels. load : `load(folder, files, batch_size, device, seed)` yields
    (inputs (n, 3, crop, crop), positions (n,) in `files`) of every batch of the named files, in their order;
    with a seed they are cropped and mirrored at random. holdout : share of the validation images that score
    the results and are not matched; 0: all of them do both (the paper's protocol).
    """

    root: Path
    crop: int
    load: Callable[[ImageFolder, Sequence[str], int, str, int | None], Iterator[tuple[Tensor, Tensor]]]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    workers: int
    holdout: float = 0.0
    skip_corrupt: bool = False


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
    `fisher_al.method.network`. `read(folder)` returns the raw splits found in, or downloaded to, `folder`;
    its images have `image_shape`. Where `folder` is given, images are files and stay there: `read` and
    `validation_per_class` do not apply.
    `scales` maps a descriptor length L to the scales that it concatenates.
    """

    name: str
    network: Callable[[int], nn.Module]
    num_classes: int
    image_shape: tuple[int, ...]
    mean: float | tuple[float, ...]
    std: float | tuple[float, ...]
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
    read: Callable[[Path], RawSplits] | None = None
    validation_per_class: int | tuple[int, ...] = 0
    folder: ImageFolder | None = None
    figures: Mapping[str, PaperFigure] = field(default_factory=dict)
    autocast: bool = False  # train in half precision where there is a GPU
    half_descriptors: bool = False

    @property
    def input_settings(self) -> dict[str, object]:
        """What checkpoints record of how images become inputs."""
        return {} if self.folder is None else {"crop": self.folder.crop, "holdout": self.folder.holdout}

    # Experiments travel to worker processes by copy; the name makes the copies one for caches.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Experiment) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)
