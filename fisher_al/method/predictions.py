"""What a network predicts."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from fisher_al.data.batches import EVALUATION_BATCH_SIZE, shared_batches
from fisher_al.data.images import Images
from fisher_al.distributed import gather_rows
from fisher_al.method.base import Iteration


def probabilities_in_blocks(network: nn.Module, images: Images, batch_size: int) -> Iterator[Tensor]:
    """Yield softmax (n, C) of successive images."""
    network.eval()
    for chunk, inputs, _ in shared_batches(images, batch_size):
        with torch.inference_mode():
            probabilities = network(inputs).softmax(1)
        yield gather_rows(probabilities, batch_size, len(chunk))


def predict_probabilities(network: nn.Module, images: Images, batch_size: int) -> Tensor:
    """Softmax (N, C) of every image."""
    return torch.cat(list(probabilities_in_blocks(network, images, batch_size)))


def predict(network: nn.Module, images: Images, batch_size: int = EVALUATION_BATCH_SIZE) -> Tensor:
    """Predicted class (N,) of every image."""
    return predict_probabilities(network, images, batch_size).argmax(1)


def pool_probabilities(iteration: Iteration) -> Tensor:
    """Softmax (N, C) of every pool image, on the CPU."""
    network, size = iteration.load_network(0), iteration.predict_batch_size
    return predict_probabilities(network, iteration.pool, size).cpu()


def misclassified_validation(iteration: Iteration) -> Tensor:
    """Indices of the validation images that the network misclassifies; of all where it is right on all."""
    images = iteration.validation
    if iteration.validation_predictions is not None:
        predictions = iteration.validation_predictions()
    else:
        predictions = predict(iteration.load_network(0), images, iteration.predict_batch_size)
    misclassified = (predictions.to(images.device) != images.labels).nonzero().squeeze(1)
    return misclassified.cpu() if len(misclassified) else torch.arange(len(images))
