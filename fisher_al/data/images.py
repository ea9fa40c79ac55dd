"""Labeled images: in memory, served as normalised network inputs; and the three sets of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from fisher_al.errors import UserError

# Up to this size a set is normalised once and kept as float; a larger one stays uint8 until it is used.
FLOAT_CACHE_BYTES = 2**30

ChannelValues = float | tuple[float, ...]


class Images:
    """Labeled images on one device, served in batches as normalised network inputs.

    images : uint8 (N, H, W) or (N, H, W, channels); floating-point ones are served as they are.
    labels : int64 (N,), None where they are not known.
    mean, std : of the images scaled to [0, 1], one number or one per channel.
    """

    augments = False  # whether training batches differ from the others

    def __init__(
        self,
        images: Tensor,
        labels: Tensor | None,
        mean: ChannelValues,
        std: ChannelValues,
        device: torch.device | str = "cpu",
    ):
        labels = torch.full((len(images),), -1) if labels is None else labels
        if images.dim() not in (3, 4) or labels.shape != (len(images),):
            raise UserError(
                f"images {tuple(images.shape)} and labels {tuple(labels.shape)}: (N, height, width) or "
                "(N, height, width, channels) and (N,) belong together"
            )
        if images.is_floating_point() and not images.isfinite().all():
            raise UserError(f"images {tuple(images.shape)}: hold NaN or infinity")
        self.labels = labels.long().to(device)
        images = images.to(device)
        # Channels come first in shape but stay last in memory, where convolutions are fastest.
        self._images = images.unsqueeze(1) if images.dim() == 3 else images.permute(0, 3, 1, 2)
        self._mean = torch.tensor(mean, device=device).view(1, -1, 1, 1)
        self._std = torch.tensor(std, device=device).view(1, -1, 1, 1)
        if any(values.numel() not in (1, self._images.shape[1]) for values in (self._mean, self._std)):
            raise UserError(
                f"images {tuple(images.shape)}: {self._images.shape[1]} channels, but mean {mean} and std "
                f"{std}; channels come last, (N, height, width, channels)"
            )
        if 4 * images.numel() <= FLOAT_CACHE_BYTES:
            self._images = self._normalise(self._images)

    def _normalise(self, images: Tensor) -> Tensor:
        if images.is_floating_point():
            return images
        inputs = images.float().div_(255).sub_(self._mean).div_(self._std)
        return inputs.contiguous(memory_format=torch.channels_last)

    def subset(self, rows: Tensor) -> Images:
        """The images at `rows` (n,) alone."""
        rows = rows.to(self.device)
        chosen = copy(self)
        chosen.labels, chosen._images = self.labels[rows], self._images[rows]
        return chosen

    def in_float32(self) -> Images:
        """The same, served in float32, as those that are read from files are anyway."""
        if type(self) is not Images or not self._images.is_floating_point():
            return self
        served = copy(self)
        served._images = self._images.float()
        return served

    def with_more(self, others: Images) -> Images:
        """These, and then those of `others`, of the same dataset."""
        joined = copy(self)
        joined.labels = torch.cat([self.labels, others.labels])
        parts = [self._images, others._images]
        if parts[0].dtype != parts[1].dtype:  # one of them is small enough to be normalised already
            parts = [self._normalise(part) for part in parts]
        joined._images = torch.cat(parts)
        return joined

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
        return self.stream(torch.arange(len(self)).split(batch_size))

    def stream(self, batches: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (inputs, labels) of each batch of indices."""
        if not batches:
            return
        together = torch.cat(list(batches)).to(self.device)  # one transfer to a GPU, not one each
        for indices in together.split([len(batch) for batch in batches]):
            yield self[indices]

    def augmented(self, batches: Sequence[Tensor], seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The same for training, at random as `seed` decides; images in memory are served as they are."""
        return self.stream(batches)


@dataclass(frozen=True)
class Data:
    """The three sets that a run works on."""

    pool: Images
    validation: Images
    test: Images
