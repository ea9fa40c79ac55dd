"""Convolutions of stride 2 as matrix products, for the few positions of a network's coarse layers.

A library convolution first brings its weights into a layout of its own. For a layer with millions of weights
and 2 x 2 or 4 x 4 positions that takes longer than the convolution: on the CPU, one matrix product with the
weights as they lie in memory is several times faster, forward and backward (`benchmarks/adversarial.py`).
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

KERNEL = 4
# Positions of the coarse side up to which the product is the faster way on the CPU.
MAX_POSITIONS = 16


class HalvingConv(nn.Module):
    """Convolution with a 4 x 4 kernel, stride 2 and padding 1: (N, before, H, W) to (N, after, H/2, W/2).

    `weight` (after, 16 before) holds the 4 x 4 x before of each kernel; initial weights are torch's.
    """

    def __init__(self, before: int, after: int):
        super().__init__()
        self.weight = _initial_weight(after, before)

    def forward(self, images: Tensor) -> Tensor:
        if images.is_cuda or images[0, 0].numel() // 4 > MAX_POSITIONS:
            return F.conv2d(images, _as_kernels(self.weight), stride=2, padding=1)
        return F.linear(_Patches.apply(images), self.weight).permute(0, 3, 1, 2)


class DoublingConv(nn.Module):
    """The transposed convolution of the same shape: (N, before, H, W) to (N, after, 2H, 2W).

    `weight` (before, 16 after) holds the 4 x 4 x after of each kernel; initial weights are torch's.
    """

    def __init__(self, before: int, after: int):
        super().__init__()
        self.weight = _initial_weight(before, after)

    def forward(self, images: Tensor) -> Tensor:
        if images.is_cuda or images[0, 0].numel() > MAX_POSITIONS:
            return F.conv_transpose2d(images, _as_kernels(self.weight), stride=2, padding=1)
        return _OverlapAdd.apply(images.permute(0, 2, 3, 1) @ self.weight)


def _initial_weight(coarse: int, fine: int) -> nn.Parameter:
    weight = torch.empty(coarse, KERNEL * KERNEL * fine)
    return nn.Parameter(nn.init.kaiming_uniform_(weight, a=math.sqrt(5)))


def _as_kernels(weight: Tensor) -> Tensor:
    """(a, 16 b) as (a, b, 4, 4), a view with channels last in memory."""
    return weight.unflatten(1, (KERNEL, KERNEL, -1)).permute(0, 3, 1, 2)


def patches(images: Tensor) -> Tensor:
    """What the kernel sees at each of its positions: (N, C, H, W) to (N, H/2, W/2, 16 C), channels last."""
    padded = F.pad(images.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    windows = padded.unfold(1, KERNEL, 2).unfold(2, KERNEL, 2)
    return windows.permute(0, 1, 2, 4, 5, 3).flatten(3)


def overlap_add(seen: Tensor) -> Tensor:
    """The adjoint of `patches`: (N, h, w, 16 C) to (N, C, 2h, 2w), summed where windows overlap."""
    n, h, w, _ = seen.shape
    quarters = seen.reshape(n, h, w, 2, 2, 2, 2, -1)  # each a 2 x 2 cell of the kernel
    cells = seen.new_zeros(n, h + 1, 2, w + 1, 2, quarters.shape[-1])
    for i in (0, 1):
        for j in (0, 1):
            cells[:, i : i + h, :, j : j + w] += quarters[:, :, :, i, :, j].transpose(2, 3)
    return cells.flatten(1, 2).flatten(2, 3)[:, 1:-1, 1:-1].permute(0, 3, 1, 2)


class _Patches(Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor) -> Tensor:
        return patches(images)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return overlap_add(gradient)


class _OverlapAdd(Function):
    @staticmethod
    def forward(ctx: Any, seen: Tensor) -> Tensor:
        return overlap_add(seen)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return patches(gradient)
