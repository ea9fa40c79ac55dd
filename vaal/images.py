"""What the auto-encoder sees: every image of the pool, small and in [0, 1]."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fisher_al.data.batches import EVALUATION_BATCH_SIZE
from fisher_al.data.images import ChannelValues, Images

SIZE = 32


def vae_images(images: Images, mean: ChannelValues, std: ChannelValues) -> Tensor:
    """All images as one uint8 tensor (N, C, 32, 32): smaller ones padded with zeros, larger ones resized.

    Made from the inputs of the task network, which `mean` and `std` normalised, however images are stored.
    """
    shift, scale = (torch.tensor(values, device=images.device).view(1, -1, 1, 1) for values in (mean, std))
    return torch.cat([_small(inputs * scale + shift) for inputs, _ in images.batches(EVALUATION_BATCH_SIZE)])


def _small(images: Tensor) -> Tensor:
    height, width = images.shape[2:]
    if max(height, width) > SIZE:
        images = F.interpolate(images, (SIZE, SIZE), mode="bilinear", antialias=True)
    else:
        left, top = (SIZE - width) // 2, (SIZE - height) // 2
        images = F.pad(images, (left, SIZE - width - left, top, SIZE - height - top))
    return images.mul(255).round().clamp(0, 255).to(torch.uint8).contiguous()


def as_inputs(images: Tensor) -> Tensor:
    """Images (N, C, 32, 32) as float32 in [0, 1], channels last in memory."""
    return images.float().div_(255).contiguous(memory_format=torch.channels_last)
