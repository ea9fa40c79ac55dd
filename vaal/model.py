"""The two networks of VAAL: an auto-encoder of images, and a discriminator of its latents."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import torch
from torch import Tensor, nn

from vaal.strided import DoublingConv, HalvingConv

STRIDES = 16  # of the four convolutions together
DISCRIMINATOR_LAYERS = 5


class VAE(nn.Module):
    """Variational auto-encoder (Kingma and Welling, arXiv:1312.6114) of images (N, channels, size, size).

    Four strided convolutions, the first of `width` channels and each of twice as many as the one before;
    the decoder mirrors them. `size` has to be a multiple of 16.
    """

    def __init__(self, channels: int, size: int, width: int, latent: int):
        super().__init__()
        if size % STRIDES:
            raise ValueError(f"images of {size}x{size}: the size has to be a multiple of {STRIDES}")
        widths = [width, 2 * width, 4 * width, 8 * width]
        coarse = (widths[-1], size // STRIDES, size // STRIDES)
        entries = coarse[0] * coarse[1] * coarse[2]
        self.encoder = nn.Sequential(
            *(
                _block(HalvingConv(before, after), after)
                for before, after in zip([channels, *widths], widths, strict=False)
            ),
            nn.Flatten(),
        )
        self.to_mean = nn.Linear(entries, latent)
        self.to_log_variance = nn.Linear(entries, latent)
        self.decoder = nn.Sequential(
            nn.Linear(latent, entries),
            nn.Unflatten(1, coarse),
            *(_block(DoublingConv(2 * after, after), after) for after in widths[-2::-1]),
            DoublingConv(width, channels),
        )

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance, (N, latent) each, of the latents of images in [0, 1]."""
        hidden = self.encoder(images)
        return self.to_mean(hidden), self.to_log_variance(hidden)

    def decode(self, latents: Tensor) -> Tensor:
        """Images (N, channels, size, size) from latents (N, latent)."""
        return self.decoder(latents)

    def forward(self, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruction, mean and log-variance; `noise` (N, latent) is standard normal."""
        mean, log_variance = self.encode(images)
        return self.decode(mean + noise * (0.5 * log_variance).exp()), mean, log_variance


class Discriminator(nn.Sequential):
    """Five fully connected layers from a latent (N, latent) to the logit (N,) of its being labeled."""

    def __init__(self, latent: int, hidden: int):
        widths = [latent, *[hidden] * (DISCRIMINATOR_LAYERS - 1)]
        layers = [
            layer for before, after in pairwise(widths) for layer in (nn.Linear(before, after), nn.ReLU())
        ]
        super().__init__(*layers, nn.Linear(hidden, 1), nn.Flatten(0))


class PairedBatchNorm(nn.BatchNorm2d):
    """Batch-norm of two sets at once: each half of a training batch is normalised by its own statistics.

    The same as two forward passes, one set after the other, while the layers between see one large batch.
    """

    def forward(self, images: Tensor) -> Tensor:
        if not self.training:
            return super().forward(images)
        return torch.cat([super(PairedBatchNorm, self).forward(half) for half in images.chunk(2)])


def _block(convolution: nn.Module, channels: int) -> nn.Module:
    return nn.Sequential(convolution, PairedBatchNorm(channels), nn.ReLU(inplace=True))


@contextmanager
def frozen_statistics(network: nn.Module) -> Iterator[None]:
    """Within the block, batch-norm still normalises by the batch but leaves its running statistics alone."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
