"""Descriptors: pooled activations z and their pooled loss gradients g, the Fisher scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fisher_al.data import Images


class ForwardPass:
    """One forward pass of a batch, kept so that gradients at the chosen scales can follow.

    logits : (N, C); features : (N, L), the activations at `scales`, averaged over positions and
    concatenated (paper, section 3).
    """

    def __init__(self, network: nn.Module, inputs: Tensor, scales: Sequence[str]):
        activations: dict[str, Tensor] = {}

        def tap(name: str, activation: Tensor) -> Tensor:
            if name not in scales:
                return activation
            if not activations:  # gradients are wanted down to the lowest scale only
                activation = activation.detach().requires_grad_()
            activations[name] = activation
            return activation

        with torch.enable_grad():
            self._logits = network(inputs, tap)
        self._activations = [activations[name] for name in scales]
        self.logits = self._logits.detach()
        self.features = _average_positions([activation.detach() for activation in self._activations])

    def scores(self, labels: Tensor) -> Tensor:
        """Fisher scores (N, L): gradient of CE(f(x), label) at each scale, averaged over positions."""
        with torch.enable_grad():
            loss = F.cross_entropy(self._logits, labels, reduction="sum")
        gradients = torch.autograd.grad(loss, self._activations, retain_graph=True)
        return _average_positions(gradients)


def _average_positions(blocks: Sequence[Tensor]) -> Tensor:
    return torch.cat([block.flatten(2).mean(2) if block.dim() > 2 else block for block in blocks], dim=1)


def describe(
    network: nn.Module,
    images: Images,
    scales: Sequence[str],
    batch_size: int,
    *channels: Callable[[ForwardPass, Tensor], Tensor],
) -> Tensor:
    """Describe every image by z and by what `channels` make of its forward pass and label.

    Each channel maps (ForwardPass, labels) of a batch to (batch, L). Returns (N, L, 1 + len(channels)) on
    the CPU, z at [..., 0]. The network is put into eval mode, so gradients of a batch are per-image.
    """
    network.eval()
    described = []
    for inputs, labels in images.batches(batch_size):
        one_pass = ForwardPass(network, inputs, scales)
        columns = [one_pass.features, *(channel(one_pass, labels) for channel in channels)]
        described.append(torch.stack(columns, dim=2).cpu())
    return torch.cat(described)
