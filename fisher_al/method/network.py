"""What a network has to offer: taps at its scales, and a split at the first Monte-Carlo dropout."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

Tap = Callable[[str, Tensor], Tensor]
Dropout = Callable[[Tensor, float], Tensor]
AnyModule = TypeVar("AnyModule", bound=nn.Module)


def untapped(name: str, activation: Tensor) -> Tensor:
    """Tap that leaves every activation as it is."""
    return activation


def no_dropout(activation: Tensor, probability: float) -> Tensor:
    """Dropout that drops nothing."""
    return activation


class TappedNetwork(nn.Module, ABC):
    """A classifier whose named activations can be read, and replaced, on the way to the logits.

    head : name of the classification layer. scales : channels of each activation that can be tapped.
    closed_form_scales : those whose gradients `pooled_gradients` knows; at the others autograd finds them.
    """

    head: str
    scales: dict[str, int]
    closed_form_scales: frozenset[str] = frozenset()

    def forward(self, images: Tensor, tap: Tap = untapped) -> Tensor:
        """Logits (N, C) of images (N, channels, H, W).

        Each scale's activation passes through `tap(name, activation)`, and what that returns goes on.
        """
        return self.above_dropout(self.below_dropout(images), tap)

    @abstractmethod
    def below_dropout(self, images: Tensor) -> Tensor:
        """What all dropout passes over the images share."""

    @abstractmethod
    def above_dropout(self, hidden: Tensor, tap: Tap = untapped, dropout: Dropout = no_dropout) -> Tensor:
        """Logits from what `below_dropout` gives; `dropout(activation, probability)` is called where
        Monte-Carlo dropout belongs."""

    def pooled_gradients(
        self, activations: Mapping[str, Tensor], cotangents: Tensor, scales: Container[str]
    ) -> dict[str, Tensor]:
        """Gradients without a backward pass, at those of `closed_form_scales` that are among `scales`.

        cotangents : (N, R, C), the weights of the logits in each of R directions.
        Returns: gradients of the weighted logits, averaged over positions, (N, R, channels) by scale.
        """
        return {}


def seeded_network(build: Callable[[int], AnyModule], num_classes: int, seed: int) -> AnyModule:
    """Build a network whose initial weights are a function of `seed`, leaving global random state alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(num_classes)
