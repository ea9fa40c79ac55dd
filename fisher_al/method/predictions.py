"""What a network predicts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fisher_al.data.batches import EVALUATION_BATCH_SIZE, shared_batches
from fisher_al.data.images import Images
from fisher_al.distributed import gather_rows


def predict_probabilities(
    network: nn.Module, images: Images, batch_size: int = EVALUATION_BATCH_SIZE
) -> Tensor:
    """Softmax (N, C) of every image."""
    network.eval()
    with torch.inference_mode():
        return torch.cat(
            [
                gather_rows(network(inputs).softmax(1), batch_size, len(chunk))
                for chunk, inputs, _ in shared_batches(images, batch_size)
            ]
        )


def predict(network: nn.Module, images: Images, batch_size: int = EVALUATION_BATCH_SIZE) -> Tensor:
    """Predicted class (N,) of every image."""
    return predict_probabilities(network, images, batch_size).argmax(1)
