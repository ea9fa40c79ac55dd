"""What a network predicts."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from fisher_al.data.batches import EVALUATION_BATCH_SIZE, shared_batches
from fisher_al.data.images import Images
from fisher_al.distributed import gather_rows


def probabilities_in_blocks(
    network: nn.Module, images: Images, batch_size: int = EVALUATION_BATCH_SIZE
) -> Iterator[Tensor]:
    """Yield softmax (n, C) of successive images."""
    network.eval()
    for chunk, inputs, _ in shared_batches(images, batch_size):
        with torch.inference_mode():
            probabilities = network(inputs).softmax(1)
        yield gather_rows(probabilities, batch_size, len(chunk))


def predict_probabilities(
    network: nn.Module, images: Images, batch_size: int = EVALUATION_BATCH_SIZE
) -> Tensor:
    """Softmax (N, C) of every image."""
    return torch.cat(list(probabilities_in_blocks(network, images, batch_size)))


def predict(network: nn.Module, images: Images, batch_size: int = EVALUATION_BATCH_SIZE) -> Tensor:
    """Predicted class (N,) of every image."""
    return predict_probabilities(network, images, batch_size).argmax(1)
