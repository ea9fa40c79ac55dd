"""From raw files to the tensors that the stages work on: pool, validation and test images."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from fisher_al.errors import UserError
from fisher_al.experiment import Experiment
from fisher_al.layout import Layout
from fisher_al.pools import imbalanced_indices, noisy_labels, split_validation
from fisher_al.seeds import derive_generator
from fisher_al.storage import load_tensors, save_tensors

SPLITS = ("training", "test", "train-split", "val-split")

# Up to this size a set is normalised once and kept as float; a larger one stays uint8 until it is used.
FLOAT_CACHE_BYTES = 2**30


class Images:
    """Labeled images on one device, served in batches as normalised network inputs.

    images : uint8 (N, H, W) or (N, H, W, channels); labels : int64 (N,).
    """

    def __init__(self, images: Tensor, labels: Tensor, experiment: Experiment, device: torch.device | str):
        self.labels = labels.to(device)
        images = images.to(device)
        # Channels come first in shape but stay last in memory, where convolutions are fastest.
        self._images = images.unsqueeze(1) if images.dim() == 3 else images.permute(0, 3, 1, 2)
        self._mean = torch.tensor(experiment.mean, device=device).view(1, -1, 1, 1)
        self._std = torch.tensor(experiment.std, device=device).view(1, -1, 1, 1)
        if 4 * images.numel() <= FLOAT_CACHE_BYTES:
            self._images = self._normalise(self._images)

    def _normalise(self, images: Tensor) -> Tensor:
        if images.is_floating_point():
            return images
        inputs = images.float().div_(255).sub_(self._mean).div_(self._std)
        return inputs.contiguous(memory_format=torch.channels_last)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def device(self) -> torch.device:
        return self.labels.device

    def __getitem__(self, chosen: Tensor | slice) -> tuple[Tensor, Tensor]:
        """(inputs, labels) of the images at `chosen`, indices on the same device or a slice."""
        return self._normalise(self._images[chosen]), self.labels[chosen]

    def batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (inputs, labels) of all images in sequence."""
        for start in range(0, len(self), batch_size):
            yield self[start : start + batch_size]

    @classmethod
    def joined(cls, parts: Sequence[tuple[Images, Tensor]]) -> Images:
        """The chosen images of several sets of one kind, one set after another."""
        joined = copy.copy(parts[0][0])
        joined.labels = torch.cat([images.labels[chosen.to(images.device)] for images, chosen in parts])
        joined._images = torch.cat([images._images[chosen.to(images.device)] for images, chosen in parts])
        return joined


@dataclass(frozen=True)
class Data:
    """The three sets that a run works on."""

    pool: Images
    validation: Images
    test: Images


def prepare_processed(experiment: Experiment, layout: Layout) -> None:
    """Write the processed files that are missing: uint8 images and int64 labels of each split.

    The validation split is a property of the dataset, the same for every run and seed. Raises UserError if
    one half of that split is there without the other.
    """
    missing = [split for split in SPLITS if not layout.processed(split).is_file()]
    if not missing:
        _require_sizes(experiment, layout)
        return
    halves = {"train-split", "val-split"}
    if len(halves.intersection(missing)) == 1:
        alone = layout.processed((halves - set(missing)).pop())
        raise UserError(f"{alone}: its other half is missing; put that beside it, or delete this one")
    raw = experiment.read(layout.folder)
    generator = derive_generator("validation split", experiment.name)
    pool, validation = split_validation(
        raw.train_labels, experiment.validation_per_class, experiment.pool_size, generator
    )
    contents = {
        "training": (raw.train_images, raw.train_labels),
        "test": (raw.test_images, raw.test_labels),
        "train-split": (raw.train_images[pool], raw.train_labels[pool]),
        "val-split": (raw.train_images[validation], raw.train_labels[validation]),
    }
    for split in missing:
        save_tensors(contents[split], layout.processed(split))


def _require_sizes(experiment: Experiment, layout: Layout) -> None:
    """Raise UserError if the processed splits were made with other sizes."""
    per_class = experiment.validation_per_class
    validation_size = per_class * experiment.num_classes if isinstance(per_class, int) else sum(per_class)
    for split, size in (("train-split", experiment.pool_size), ("val-split", validation_size)):
        path = layout.processed(split)
        _, labels = load_split(path, experiment, mmap=True)
        if len(labels) != size:
            raise UserError(
                f"{path}: {len(labels)} images, now {size} are asked for; give the earlier sizes, or delete "
                f"{path.parent} and the runs"
            )


def prepare_pool(experiment: Experiment, layout: Layout, seed: int, verify: bool = False) -> None:
    """Write the run's biased pool if it is missing, drawn from the run's seed.

    With `verify`, raises UserError if the pool that is there was not drawn from this seed.
    """
    prepare_processed(experiment, layout)
    path = layout.pool()
    if not layout.pool_is_biased or (path.is_file() and not verify):
        return
    images, labels = load_split(layout.processed("train-split"), experiment)
    ratios = float(layout.imbalance_ratio), float(layout.noisy_ratio)
    generator = derive_generator(seed, layout.run, "pool", *ratios)
    kept = imbalanced_indices(labels, layout.imbalance_ratio, experiment.num_classes, generator)
    labels = noisy_labels(labels[kept], layout.noisy_ratio, experiment.num_classes, generator)
    if not path.is_file():
        save_tensors((images[kept], labels), path)
    elif not torch.equal(load_split(path, experiment)[1], labels):
        raise UserError(
            f"{path}: not the pool of --seed {seed}; give the seed that it was drawn from, or delete it"
        )


def load_split(path: Path, experiment: Experiment, mmap: bool = False) -> tuple[Tensor, Tensor]:
    """Read (uint8 images, int64 labels); UserError if the file holds anything but the experiment's kind."""
    otherwise = "run the command again to make it anew"
    content = load_tensors(path, otherwise, mmap)
    is_pair = isinstance(content, (tuple, list)) and len(content) == 2 and all(map(torch.is_tensor, content))
    if is_pair:
        images, labels = content
        is_pair = images.dtype == torch.uint8 and labels.dtype == torch.int64 and labels.dim() == 1
        is_pair = is_pair and images.shape == (len(labels), *experiment.image_shape) and len(labels) > 0
        is_pair = is_pair and labels.min() >= 0 and labels.max() < experiment.num_classes
    if not is_pair:
        shape = "x".join(map(str, experiment.image_shape))
        raise UserError(
            f"{path}: expected a pair of uint8 images of {shape} and as many int64 labels below "
            f"{experiment.num_classes}; delete it and {otherwise}"
        )
    return images, labels


def load_data(experiment: Experiment, layout: Layout, seed: int, device: str) -> Data:
    """Read, or first make, the sets of `layout`; the last ones stay in memory for the next stage."""
    prepare_pool(experiment, layout, seed)
    paths = (layout.pool(), layout.processed("val-split"), layout.processed("test"))
    return Data(*(_load_images(path, path.stat().st_mtime_ns, experiment, device) for path in paths))


@lru_cache(maxsize=4)
def _load_images(path: Path, modified: int, experiment: Experiment, device: str) -> Images:
    return Images(*load_split(path, experiment), experiment, device)
