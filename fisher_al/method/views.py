"""Sampled views of an image: slightly rotated and noisy copies, the same perturbations for all images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

ROTATION_DEGREES = 5.0
NOISE = 0.01


@dataclass(frozen=True)
class Views:
    """K perturbations: angles (K,) in degrees and noise (K, channels, height, width)."""

    angles: Tensor
    noise: Tensor

    def __len__(self) -> int:
        return len(self.angles)

    def of(self, inputs: Tensor) -> Tensor:
        """Every view of every input: (N, channels, height, width) -> (K, N, channels, height, width).

        Where a rotation shows what lies outside of the image, the border is repeated.
        """
        from kornia.geometry.transform import rotate  # slow to import, and rarely wanted

        # All images turn alike, so they go through Kornia as the channels of one image per view.
        stacked = inputs.flatten(0, 1).expand(len(self), -1, -1, -1)
        turned = rotate(stacked, self.angles, padding_mode="border")
        return turned.unflatten(1, inputs.shape[:2]) + self.noise.unsqueeze(1)


def draw_views(count: int, image_shape: torch.Size, generator: torch.Generator) -> Views:
    """Draw `count` views of images of shape (channels, height, width), on the generator's device.

    Angles are N(0, 5) degrees, noise is N(0, 0.01) per pixel of the normalised input.
    """
    device = generator.device
    angles = ROTATION_DEGREES * torch.randn(count, generator=generator, device=device)
    noise = NOISE * torch.randn(count, *image_shape, generator=generator, device=device)
    return Views(angles, noise)
