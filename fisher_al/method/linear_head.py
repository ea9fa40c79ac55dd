"""A linear classifier on features as a tapped network: its Fisher scores have a closed form."""

from __future__ import annotations

from collections.abc import Container, Mapping

from torch import Tensor, nn

from fisher_al.method.network import Dropout, Tap, TappedNetwork, no_dropout, untapped
from fisher_al.method.tapped import POOLED


class LinearHead(TappedNetwork):
    """Logits of features, whose gradients at the features are known in closed form.

    weight : (C, width); bias : (C,).
    """

    head = "linear"
    closed_form_scales = frozenset((POOLED,))

    def __init__(self, weight: Tensor, bias: Tensor):
        super().__init__()
        classes, width = weight.shape
        self.scales = {POOLED: width}
        self.linear = nn.Linear(width, classes)
        self.linear.load_state_dict({"weight": weight, "bias": bias})

    def below_dropout(self, images: Tensor) -> Tensor:
        """The features as they are."""
        return images

    def above_dropout(self, hidden: Tensor, tap: Tap = untapped, dropout: Dropout = no_dropout) -> Tensor:
        """Logits (N, C)."""
        return self.linear(tap(POOLED, hidden))

    def pooled_gradients(
        self, activations: Mapping[str, Tensor], cotangents: Tensor, scales: Container[str]
    ) -> dict[str, Tensor]:
        """Gradients at the features: the cotangents (N, R, C) times the weights."""
        return {POOLED: cotangents @ self.linear.weight}
