"""What a network is trained to tell apart: classes, or by how much an image was turned."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# (inputs, labels) of a batch -> (inputs, labels) to learn; several copies of the batch follow one another
Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
ROTATIONS = 4


def classification(inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Tell classes apart: inputs and labels as they are."""
    return inputs, labels


def rotation(inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Tell rotations by 0, 90, 180 and 270 degrees apart (Gidaris et al., arXiv:1803.07728).

    Returns: all four copies of the inputs (4N, ...), and by how many quarters each is turned (4N,).
    """
    turned = torch.cat([torch.rot90(inputs, quarters, dims=(2, 3)) for quarters in range(ROTATIONS)])
    quarters = torch.arange(ROTATIONS, device=inputs.device).repeat_interleave(len(inputs))
    return turned.contiguous(memory_format=torch.channels_last), quarters
