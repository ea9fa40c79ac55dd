"""What a network predicts, and how accurate it is."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fisher_al.data import Images
from fisher_al.tasks import Task, classification

# Large enough to be efficient, small enough that a LeNet's activations stay in the processor's cache.
EVALUATION_BATCH_SIZE = 250
# A GPU wants few large batches, and one wait for the result.
EVALUATION_BATCH_SIZE_GPU = 10_000


def default_evaluation_batch_size(device: str) -> int:
    """Images to evaluate at once on `device`."""
    return EVALUATION_BATCH_SIZE if device == "cpu" else EVALUATION_BATCH_SIZE_GPU


def predict_probabilities(
    network: nn.Module, images: Images, batch_size: int = EVALUATION_BATCH_SIZE
) -> Tensor:
    """Softmax (N, C) of every image."""
    network.eval()
    with torch.inference_mode():
        return torch.cat([network(inputs).softmax(1) for inputs, _ in images.batches(batch_size)])


def predict(network: nn.Module, images: Images, batch_size: int = EVALUATION_BATCH_SIZE) -> Tensor:
    """Predicted class (N,) of every image."""
    return predict_probabilities(network, images, batch_size).argmax(1)


def evaluate(
    network: nn.Module, images: Images, task: Task = classification, batch_size: int = EVALUATION_BATCH_SIZE
) -> float:
    """Top-1 accuracy in percent."""
    return BestSoFar(images, task, batch_size).accuracy(network, to_the_end=True)


class BestSoFar:
    """Top-1 accuracy of successive networks on the same images, where only the best one matters.

    A pass ends as soon as it has as many errors as the best one before. The images that were misclassified
    most often come first, so that a network which is not the best is found out after a fraction of the
    images. The best accuracy, and which network reached it first, are the same as from whole passes.
    """

    def __init__(self, images: Images, task: Task = classification, batch_size: int = EVALUATION_BATCH_SIZE):
        self._images, self._task, self._batch_size = images, task, batch_size
        self._times_missed = torch.zeros(len(images), dtype=torch.int32, device=images.device)
        self._fewest_errors: int | None = None
        self.improved = False

    def accuracy(self, network: nn.Module, to_the_end: bool = False) -> float | None:
        """Accuracy (percent) of `network`; None if the pass ended early because another was at least as good.

        Afterwards `improved` tells whether this network is the best so far.
        """
        network.eval()
        errors = total = 0
        limit = None if to_the_end else self._fewest_errors
        self.improved = False
        with torch.inference_mode():
            hardest_first = self._times_missed.argsort(descending=True, stable=True)
            for chosen in hardest_first.split(self._batch_size):
                inputs, labels = self._task(*self._images[chosen])
                wrong = network(inputs).argmax(1) != labels
                self._times_missed[chosen] += wrong.view(-1, len(chosen)).any(0)
                errors, total = errors + int(wrong.sum()), total + len(wrong)
                if limit is not None and errors >= limit:
                    return None
        if self._fewest_errors is None or errors < self._fewest_errors:
            self._fewest_errors, self.improved = errors, True
        return 100 * (total - errors) / total
