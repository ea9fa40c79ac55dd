"""Datasets that fit in memory: splits and pools are files of tensors."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from fisher_al.data.images import Data, Images
from fisher_al.data.pools import imbalanced_indices, split_validation
from fisher_al.data.source import ImageSource
from fisher_al.errors import UserError
from fisher_al.files.layout import Layout
from fisher_al.files.locks import hold
from fisher_al.files.storage import load_tensors, remove_abandoned, save_tensors
from fisher_al.seeds import derive_generator

# Folders in which readers of raw data work; one that is still there was left by a killed process.
SCRATCH = (".reading-*", "raw/.downloading-*")

SPLITS = ("training", "test", "train-split", "val-split")


@dataclass(frozen=True)
class RawSplits:
    """The dataset as published: uint8 images (N, H, W) or (N, H, W, 3), int64 labels (N,)."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


@dataclass(frozen=True, kw_only=True)
class MemorySource(ImageSource):
    """Images that `read(folder)` finds in, or downloads to, the folder of the dataset.

    validation_per_class : how many training images of each class validate, one number for all or one each.
    """

    read: Callable[[Path], RawSplits]
    validation_per_class: int | tuple[int, ...]

    def prepare_splits(self, layout: Layout) -> None:
        """Write the splits that are missing.

        Raises: UserError if one half of the validation split is there without the other, and is not the one
        that would be written.
        """
        if not self._missing_splits(layout):
            self._require_sizes(layout)
            return
        with hold(layout.processed_lock(), wait=True):
            remove_abandoned(self.split_paths(layout))
            for scratch in (path for pattern in SCRATCH for path in layout.folder.glob(pattern)):
                shutil.rmtree(scratch, ignore_errors=True)
            missing = self._missing_splits(layout)
            if missing:  # another process may have made them meanwhile
                self._write_splits(layout, missing)

    def split_paths(self, layout: Layout) -> list[Path]:
        return [layout.processed(split) for split in SPLITS]

    def pool_path(self, layout: Layout) -> Path:
        return layout.pool()

    def count(self, path: Path) -> int:
        return len(self.load_split(path, mmap=True)[1])

    def load(self, layout: Layout, device: str) -> Data:
        pool, validation, test = (
            _load_images(path, path.stat().st_mtime_ns if path.is_file() else 0, self, device)
            for path in (layout.pool(), layout.processed("val-split"), layout.processed("test"))
        )
        return Data(pool, validation, test)

    def load_split(self, path: Path, mmap: bool = False) -> tuple[Tensor, Tensor]:
        """Read a split or pool.

        Returns: uint8 images and int64 labels.
        Raises: UserError if the file holds anything but this dataset's kind.
        """
        otherwise = "run the command again to make it anew"
        content = load_tensors(path, otherwise, mmap)
        is_pair = isinstance(content, (tuple, list)) and len(content) == 2
        if not (is_pair and all(map(torch.is_tensor, content)) and self._fits(*content)):
            raise UserError(f"{path}: expected a pair of {self._kind}; delete it and {otherwise}")
        images, labels = content
        return images, labels

    @property
    def _kind(self) -> str:
        shape = "x".join(map(str, self.image_shape))
        return f"uint8 images of {shape} and as many int64 labels below {self.num_classes}"

    def _fits(self, images: Tensor, labels: Tensor) -> bool:
        is_pair = images.dtype == torch.uint8 and labels.dtype == torch.int64 and labels.dim() == 1
        is_pair = is_pair and images.shape == (len(labels), *self.image_shape) and len(labels) > 0
        return is_pair and bool(labels.min() >= 0 and labels.max() < self.num_classes)

    def _missing_splits(self, layout: Layout) -> list[str]:
        return [split for split in SPLITS if not layout.processed(split).is_file()]

    def _write_splits(self, layout: Layout, missing: list[str]) -> None:
        raw = self.read(layout.folder)
        generator = derive_generator("validation split", self.name)
        pool, validation = split_validation(
            raw.train_labels, self.validation_per_class, self.pool_size, self.num_classes, generator
        )
        contents = {
            "training": (raw.train_images, raw.train_labels),
            "test": (raw.test_images, raw.test_labels),
            "train-split": (raw.train_images[pool], raw.train_labels[pool]),
            "val-split": (raw.train_images[validation], raw.train_labels[validation]),
        }
        for split, (images, labels) in contents.items():
            if not self._fits(images, labels):
                raise UserError(
                    f"{self.name}: its reader gives {split} as {images.dtype} {tuple(images.shape)} with "
                    f"{labels.dtype} labels {tuple(labels.shape)}; {self._kind} are wanted"
                )
        halves = {"train-split", "val-split"}
        if len(halves.intersection(missing)) == 1:
            split = (halves - set(missing)).pop()
            alone = layout.processed(split)
            if not all(map(torch.equal, self.load_split(alone), contents[split])):
                raise UserError(f"{alone}: its other half is missing; put that beside it, or delete this one")
        for split in missing:
            save_tensors(contents[split], layout.processed(split))

    def _require_sizes(self, layout: Layout) -> None:
        """Raise UserError if the splits were made with other sizes."""
        per_class = self.validation_per_class
        validation_size = per_class * self.num_classes if isinstance(per_class, int) else sum(per_class)
        for split, size in (("train-split", self.pool_size), ("val-split", validation_size)):
            path = layout.processed(split)
            found = self.count(path)
            if found != size:
                raise UserError(
                    f"{path}: {found} images, now {size} are asked for; give the earlier sizes, or delete "
                    f"{path.parent} and the runs"
                )

    def _train_labels(self, layout: Layout) -> Tensor:
        return self.load_split(layout.processed("train-split"), mmap=True)[1]

    def _kept(self, labels: Tensor, ratio: float, generator: torch.Generator) -> Tensor:
        return imbalanced_indices(labels, ratio, self.num_classes, generator)

    def _write_pool(self, layout: Layout, kept: Tensor, labels: Tensor) -> None:
        images, _ = self.load_split(layout.processed("train-split"))
        save_tensors((images[kept], labels), layout.pool())

    def _is_pool(self, layout: Layout, kept: Tensor, labels: Tensor) -> bool:
        return torch.equal(self.load_split(layout.pool(), mmap=True)[1], labels)


@lru_cache(maxsize=4)
def _load_images(path: Path, modified: int, source: MemorySource, device: str) -> Images:
    return Images(*source.load_split(path), source.mean, source.std, device)
