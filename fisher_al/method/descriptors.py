"""Descriptors: pooled activations z and their pooled loss gradients g, the Fisher scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from fisher_al.data.batches import shared_batches
from fisher_al.data.images import Images
from fisher_al.distributed import gather_rows
from fisher_al.method.network import TappedNetwork


def residuals(logits: Tensor, labels: Tensor) -> Tensor:
    """Softmax less one-hot (n, C): the loss's gradients by logits (n, C), with labels (n,).

    That of the label is minus the sum of the others. Its difference from 1 is lost where it rounds to 1,
    and the direction with it.
    """
    chosen = labels.unsqueeze(1)
    others = logits.softmax(1).scatter(1, chosen, 0)
    return others.scatter(1, chosen, -others.sum(1, keepdim=True))


# Numbers in the gradients of several classes that are in memory at once.
GRADIENTS_AT_ONCE = 2**25


class ForwardPass:
    """One forward pass of a batch, kept so that gradients at the chosen scales can follow.

    inputs : (N, channels, height, width); logits : (N, C); features : (N, L), the activations at `scales`,
    averaged over positions and concatenated (paper, section 3). Gradients come in closed form at the
    network's `closed_form_scales`, and from autograd at the others: only through the layers above the lowest
    of them.
    """

    def __init__(self, network: TappedNetwork, inputs: Tensor, scales: Sequence[str]):
        self._network, self._scales, self.inputs = network, scales, inputs
        self._by_autograd = [name for name in scales if name not in network.closed_form_scales]
        self._activations: dict[str, Tensor] = {}
        with torch.set_grad_enabled(bool(self._by_autograd)):
            self._logits = network(inputs, self._tap)
        self.logits = self._logits.detach()
        self.features = torch.cat(
            [average_positions(self._activations[name].detach(), 1) for name in scales], dim=1
        )

    def _tap(self, name: str, activation: Tensor) -> Tensor:
        if self._by_autograd and not any(scale in self._activations for scale in self._by_autograd):
            activation = activation.detach()  # gradients are wanted down to the lowest scale only
        if name in self._by_autograd and not activation.requires_grad:
            activation.requires_grad_()  # the lowest one, or one that does not depend on it
        self._activations[name] = activation
        return activation

    def scores(self, labels: Tensor) -> Tensor:
        """Fisher scores (N, L): gradient of CE(f(x), label) at each scale, averaged over positions."""
        return self._pull_back(residuals(self.logits, labels).unsqueeze(1)).squeeze(1)

    def class_scores(self) -> Tensor:
        """Fisher scores (N, C, L) of every class as the label.

        The gradient is linear in softmax - one-hot, so the classes share one pass.
        """
        count, classes = self.logits.shape
        of_every = torch.arange(classes, device=self.logits.device).repeat(count)
        cotangents = residuals(self.logits.repeat_interleave(classes, 0), of_every)
        return self._pull_back(cotangents.unflatten(0, (count, classes)))

    def _pull_back(self, cotangents: Tensor) -> Tensor:
        """Pooled gradients (N, R, L) of the logits weighted by each of the cotangents (N, R, C)."""
        blocks: dict[str, Tensor] = {}
        if len(self._by_autograd) < len(self._scales):
            with torch.no_grad():
                blocks |= self._network.pooled_gradients(self._activations, cotangents, self._scales)
        if self._by_autograd:
            tapped = [self._activations[name] for name in self._by_autograd]
            if cotangents.shape[1] == 1:
                gradients = torch.autograd.grad(self._logits, tapped, cotangents[:, 0], retain_graph=True)
                pooled = [average_positions(gradient, 1).unsqueeze(1) for gradient in gradients]
            else:
                at_once = max(1, GRADIENTS_AT_ONCE // sum(activation.numel() for activation in tapped))
                directions = cotangents.transpose(0, 1).split(at_once)
                parts = [self._pull_back_batched(tapped, some) for some in directions]
                pooled = [torch.cat(part).transpose(0, 1) for part in zip(*parts, strict=True)]
            blocks |= dict(zip(self._by_autograd, pooled, strict=True))
        return torch.cat([blocks[name] for name in self._scales], dim=2)

    def _pull_back_batched(self, tapped: list[Tensor], directions: Tensor) -> list[Tensor]:
        """Pooled gradients (R, N, channels) at `tapped` of the logits along R directions (R, N, C)."""
        gradients = torch.autograd.grad(
            self._logits, tapped, directions, retain_graph=True, is_grads_batched=True
        )
        return [average_positions(gradient, 2) for gradient in gradients]


# From the forward pass of N images and their true labels (N,): what stands beside z in descriptors, (N, L).
Column = Callable[[ForwardPass, Tensor], Tensor]
# From the same: the labels S (N,) whose gradients are the scores.
LabelRule = Callable[[ForwardPass, Tensor], Tensor]


def scores_of(rule: LabelRule) -> Column:
    """The Fisher scores of the labels that the rule chooses."""
    return lambda one_pass, labels: one_pass.scores(rule(one_pass, labels))


def no_scores(one_pass: ForwardPass, labels: Tensor) -> Tensor:
    """Zeros where scores would stand."""
    return torch.zeros_like(one_pass.features)


def label_column(one_pass: ForwardPass, labels: Tensor) -> Tensor:
    """The true label in the first of the L channels, as the descriptor files have it."""
    column = torch.zeros_like(one_pass.features)
    column[:, 0] = labels
    return column


def average_positions(activation: Tensor, leading: int) -> Tensor:
    """Mean over all positions, the dimensions after `leading` ones and the channels."""
    return activation.flatten(leading + 1).mean(leading + 1) if activation.dim() > leading + 1 else activation


class LazyDescriptors:
    """Images described by z and by what `columns` make of their forward pass and label, when asked for.

    Each column maps (ForwardPass, labels) of a batch to (batch, L). To iterate yields blocks
    (n, L, 1 + len(columns)) of successive images on the CPU, z at [..., 0]; an index gives the rows of some.
    The network is put into eval mode, so gradients of a batch are per-image. Several processes share the
    work, and each has all of its outcome.
    """

    device = torch.device("cpu")

    def __init__(
        self,
        network: TappedNetwork,
        images: Images,
        scales: Sequence[str],
        batch_size: int,
        *columns: Column,
    ):
        self._network, self._images = network.eval(), images
        self._scales, self._batch_size, self._columns = scales, batch_size, columns

    def __len__(self) -> int:
        return len(self._images)

    def __iter__(self) -> Iterator[Tensor]:
        return self._blocks(None)

    def __getitem__(self, rows: Tensor | slice) -> Tensor:
        rows = torch.arange(len(self))[rows] if isinstance(rows, slice) else rows
        return torch.cat(list(self._blocks(rows)))

    def _blocks(self, rows: Tensor | None) -> Iterator[Tensor]:
        batch_size = self._batch_size
        for chunk, inputs, labels in shared_batches(self._images, batch_size, rows):
            one_pass = ForwardPass(self._network, inputs, self._scales)
            described = [one_pass.features, *(column(one_pass, labels) for column in self._columns)]
            yield gather_rows(torch.stack(described, dim=2), batch_size, len(chunk)).cpu()


def describe(
    network: TappedNetwork,
    images: Images,
    scales: Sequence[str],
    batch_size: int,
    *columns: Column,
) -> Tensor:
    """The blocks of `LazyDescriptors` as one tensor (N, L, 1 + len(columns))."""
    return torch.cat(list(LazyDescriptors(network, images, scales, batch_size, *columns)))
