"""torchvision's ResNet of basic blocks, its activations tapped: ResNet-10, ResNet-18."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, ResNet

from fisher_al.method.network import Dropout, Tap, TappedNetwork, no_dropout, untapped


class TappedResNet(TappedNetwork, ResNet):
    """Residual network of basic blocks (He et al., arXiv:1512.03385).

    blocks : how many of them each of the four layers has.
    Scales: layer1 to layer4's outputs, the pooled features, and the logits (fc). Monte-Carlo dropout: 0.25
    after both ReLUs of every block.
    """

    head = "fc"
    # what torchvision's ResNet makes
    conv1: nn.Module
    bn1: nn.Module
    relu: nn.Module
    maxpool: nn.Module
    avgpool: nn.Module
    layer1: nn.Sequential
    fc: nn.Linear
    # Above the pooled features there is only a linear layer.
    closed_form_scales = frozenset({"pooled", "fc"})

    def __init__(self, blocks: Sequence[int], num_classes: int):
        super().__init__(BasicBlock, list(blocks), num_classes)
        self.scales = {"layer1": 64, "layer2": 128, "layer3": 256, "layer4": 512}
        self.scales |= {"pooled": self.fc.in_features, "fc": num_classes}

    def below_dropout(self, images: Tensor) -> Tensor:
        """Input and first activation of the first block, as channels: what all dropout passes share."""
        stem = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        return torch.cat([stem, _first_half(self.layer1[0], stem)], dim=1)

    def above_dropout(self, hidden: Tensor, tap: Tap = untapped, dropout: Dropout = no_dropout) -> Tensor:
        """Logits from `below_dropout`'s activations, with dropout where the paper has it."""
        half: Tensor | None
        block_input, half = hidden.chunk(2, dim=1)
        for name in ("layer1", "layer2", "layer3", "layer4"):
            for block in getattr(self, name):
                half = _first_half(block, block_input) if half is None else half
                block_input = dropout(_second_half(block, block_input, dropout(half, 0.25)), 0.25)
                half = None
            block_input = tap(name, block_input)
        pooled = tap("pooled", self.avgpool(block_input).flatten(1))
        return tap("fc", self.fc(pooled))

    def pooled_gradients(
        self, activations: Mapping[str, Tensor], cotangents: Tensor, scales: Container[str]
    ) -> dict[str, Tensor]:
        """Gradients (N, R, channels) at those of `closed_form_scales` that are among `scales`, of the logits
        weighted by cotangents (N, R, C)."""
        pooled = {"pooled": cotangents @ self.fc.weight, "fc": cotangents}
        return {name: pooled[name] for name in pooled if name in scales}


def _first_half(block: Any, inputs: Tensor) -> Tensor:
    return block.relu(block.bn1(block.conv1(inputs)))


def _second_half(block: Any, inputs: Tensor, half: Tensor) -> Tensor:
    shortcut = inputs if block.downsample is None else block.downsample(inputs)
    return block.relu(block.bn2(block.conv2(half)) + shortcut)
