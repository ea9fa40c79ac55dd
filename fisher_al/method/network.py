"""What a network has to offer: taps at its scales, and a split at the first Monte-Carlo dropout."""

from collections.abc import Callable, Container, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

Tap = Callable[[str, Tensor], Tensor]
Dropout = Callable[[Tensor, float], Tensor]


def untapped(name: str, activation: Tensor) -> Tensor:
    """Tap that leaves every activation as it is."""
    return activation


def no_dropout(activation: Tensor, probability: float) -> Tensor:
    """Dropout that drops nothing."""
    return activation


class TappedNetwork(Protocol):
    """A classifier whose named activations can be read, and replaced, on the way to the logits.

    `forward(images, tap)` passes each scale's activation through `tap(name, activation)` and goes on with
    what that returns. `above_dropout(below_dropout(images), tap, dropout)` is the same computation in two
    parts, with `dropout(activation, probability)` called wherever Monte-Carlo dropout belongs.
    `pooled_gradients(activations, cotangents, scales)` gives, for those of `closed_form_scales` that are
    among `scales`, the gradients (N, R, channels), averaged over positions, of the logits weighted by each
    of R cotangents (N, R, C): without a backward pass.
    """

    head: str
    scales: dict[str, int]
    closed_form_scales: frozenset[str]

    def forward(self, images: Tensor, tap: Tap = untapped) -> Tensor: ...

    def below_dropout(self, images: Tensor) -> Tensor: ...

    def above_dropout(self, hidden: Tensor, tap: Tap = untapped, dropout: Dropout = no_dropout) -> Tensor: ...

    def pooled_gradients(
        self, activations: Mapping[str, Tensor], cotangents: Tensor, scales: Container[str]
    ) -> dict[str, Tensor]: ...


def seeded_network(build: Callable[[int], nn.Module], num_classes: int, seed: int) -> nn.Module:
    """Build a network whose initial weights are a function of `seed`, leaving global random state alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(num_classes)
