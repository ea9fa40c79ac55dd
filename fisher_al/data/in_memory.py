"""From raw files to the images that the stages work on: pool, validation and test sets."""

from __future__ import annotations

import shutil
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from fisher_al.data.folder_images import load_folder_data
from fisher_al.data.folder_lists import prepare_lists, prepare_pool_list, read_list
from fisher_al.data.images import Data, Images
from fisher_al.data.pools import imbalanced_indices, noisy_labels, split_validation
from fisher_al.errors import UserError
from fisher_al.experiment import Experiment
from fisher_al.files.layout import Layout
from fisher_al.files.locks import hold
from fisher_al.files.storage import load_tensors, remove_abandoned, save_tensors
from fisher_al.seeds import derive_generator

# Folders in which readers of raw data work; one that is still there was left by a killed process.
SCRATCH = (".reading-*", "raw/.downloading-*")

SPLITS = ("training", "test", "train-split", "val-split")


def prepare_processed(experiment: Experiment, layout: Layout) -> None:
    """Write the processed files that are missing: uint8 images and int64 labels of each split.

    The validation split is a property of the dataset, the same for every run and seed. Raises UserError if
    one half of that split is there without the other and is not the one that would be written.
    """
    if experiment.folder is not None:
        prepare_lists(experiment, layout)
        return
    if not _missing_splits(layout):
        _require_sizes(experiment, layout)
        return
    with hold(layout.processed_lock(), wait=True):
        remove_abandoned(layout.processed(split) for split in SPLITS)
        for scratch in (path for pattern in SCRATCH for path in layout.folder.glob(pattern)):
            shutil.rmtree(scratch, ignore_errors=True)
        _write_missing_splits(experiment, layout)


def _missing_splits(layout: Layout) -> list[str]:
    return [split for split in SPLITS if not layout.processed(split).is_file()]


def _write_missing_splits(experiment: Experiment, layout: Layout) -> None:
    missing = _missing_splits(layout)
    if not missing:
        return  # another process made them meanwhile
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
    halves = {"train-split", "val-split"}
    if len(halves.intersection(missing)) == 1:
        split = (halves - set(missing)).pop()
        alone = layout.processed(split)
        if not all(map(torch.equal, load_split(alone, experiment), contents[split])):
            raise UserError(f"{alone}: its other half is missing; put that beside it, or delete this one")
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
    if experiment.folder is not None:
        prepare_pool_list(experiment, layout, seed, verify)
        return
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
        with hold(layout.pool_lock(), wait=True):
            remove_abandoned([path])
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


def pool_size(experiment: Experiment, layout: Layout) -> int:
    """Number of images in the pool of `layout`, which is there."""
    if experiment.folder is not None:
        return len(read_list(layout.pool(), experiment.num_classes)[1])
    return len(load_split(layout.pool(), experiment, mmap=True)[1])


def load_data(experiment: Experiment, layout: Layout, seed: int, device: str) -> Data:
    """Read, or first make, the sets of `layout`; the last ones stay in memory for the next stage."""
    if experiment.folder is not None:
        return load_folder_data(experiment, layout, seed, device)
    prepare_pool(experiment, layout, seed)
    paths = (layout.pool(), layout.processed("val-split"), layout.processed("test"))
    return Data(*(_load_images(path, path.stat().st_mtime_ns, experiment, device) for path in paths))


@lru_cache(maxsize=4)
def _load_images(path: Path, modified: int, experiment: Experiment, device: str) -> Images:
    return Images(*load_split(path, experiment), experiment, device)
