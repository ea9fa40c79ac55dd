"""Where the images of a dataset come from: what the sources in memory and of image files have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fisher_al.data.images import ChannelValues, Data
from fisher_al.data.pools import noisy_labels
from fisher_al.errors import UserError
from fisher_al.files.layout import Layout
from fisher_al.files.locks import hold
from fisher_al.files.storage import remove_abandoned
from fisher_al.seeds import derive_generator


@dataclass(frozen=True, kw_only=True)
class ImageSource(ABC):
    """A dataset's images, on the way from raw files to the sets of a run.

    `prepare_splits` and `prepare_pool` write files, all else reads. image_shape : (height, width) or
    (height, width, channels) of the network's inputs. mean, std : of the inputs scaled to [0, 1].
    pool_size : images of the pool before it is made imbalanced.
    """

    name: str
    num_classes: int
    image_shape: tuple[int, ...]
    mean: ChannelValues
    std: ChannelValues
    pool_size: int

    @property
    def input_settings(self) -> dict[str, Any]:
        """What checkpoints record of how images become inputs."""
        return {}

    @property
    def tests_on_validation(self) -> bool:
        """Whether the validation images score the results, too."""
        return False

    @property
    def descriptor_settings(self) -> dict[str, Any]:
        """What checkpoints record of how the images' descriptors are kept."""
        return {}

    @property
    def descriptor_type(self) -> torch.dtype:
        """Numbers in which the pool's descriptors are kept."""
        return torch.float32

    @abstractmethod
    def prepare_splits(self, layout: Layout) -> None:
        """Write the splits that are missing, the same for every run and seed.

        Raises: UserError if the dataset is not there, or not as the splits that stand already.
        """

    @abstractmethod
    def split_paths(self, layout: Layout) -> list[Path]:
        """The files of the splits."""

    @abstractmethod
    def pool_path(self, layout: Layout) -> Path:
        """The file of a run's pool."""

    @abstractmethod
    def count(self, path: Path) -> int:
        """Number of images in the file of a split or pool; UserError if it is broken."""

    @abstractmethod
    def load(self, layout: Layout, device: str) -> Data:
        """Read the sets of a run; those read last stay in memory for the next stage."""

    @abstractmethod
    def _train_labels(self, layout: Layout) -> Tensor:
        """Labels (N,) of all training images."""

    @abstractmethod
    def _kept(self, labels: Tensor, ratio: float, generator: torch.Generator) -> Tensor:
        """Which of the training images, by their labels, make a pool of that imbalance."""

    @abstractmethod
    def _write_pool(self, layout: Layout, kept: Tensor, labels: Tensor) -> None:
        """Write the training images at `kept`, with these labels, as the pool."""

    @abstractmethod
    def _is_pool(self, layout: Layout, kept: Tensor, labels: Tensor) -> bool:
        """Whether the pool that stands holds these."""

    def prepare_pool(self, layout: Layout, seed: int, verify: bool = False) -> None:
        """Write the run's biased pool if it is missing, drawn from the run's seed.

        Raises: UserError, with `verify`, if the pool that stands was not drawn from this seed.
        """
        self.prepare_splits(layout)
        path = self.pool_path(layout)
        if not layout.pool_is_biased or (path.is_file() and not verify):
            return
        ratios = float(layout.imbalance_ratio), float(layout.noisy_ratio)
        generator = derive_generator(seed, layout.run, "pool", *ratios)
        labels = self._train_labels(layout)
        kept = self._kept(labels, layout.imbalance_ratio, generator)
        labels = noisy_labels(labels[kept], layout.noisy_ratio, self.num_classes, generator)
        if not path.is_file():
            with hold(layout.lock_of(path), wait=True):
                remove_abandoned([path])
                if not path.is_file():  # another process may have written it meanwhile, from another seed
                    self._write_pool(layout, kept, labels)
                    return
        if not self._is_pool(layout, kept, labels):
            raise UserError(
                f"{path}: not the pool of --seed {seed}; give the seed that it was drawn from, or delete it"
            )
