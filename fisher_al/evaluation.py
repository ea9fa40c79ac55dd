"""What a network predicts, and how accurate it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from fisher_al.distributed import gather_rows, process_count, share_of, sum_over_processes
from fisher_al.images import Images
from fisher_al.tasks import Task, classification

# Large enough to be efficient, small enough that a LeNet's activations stay in the processor's cache.
EVALUATION_BATCH_SIZE = 250
# A GPU wants few large batches, and one wait for the result.
EVALUATION_BATCH_SIZE_GPU = 10_000
# Bound on the pixels of a batch, so that activations of large images fit in memory.
PIXELS_AT_ONCE = 2**24


def default_evaluation_batch_size(device: str, image_shape: Sequence[int]) -> int:
    """Images of shape (height, width, ...) to evaluate at once on `device`."""
    batch_size = EVALUATION_BATCH_SIZE if device == "cpu" else EVALUATION_BATCH_SIZE_GPU
    return min(batch_size, most_images_at_once(image_shape))


def most_images_at_once(image_shape: Sequence[int]) -> int:
    """How many images of shape (height, width, ...) fit in memory with their activations."""
    return max(1, PIXELS_AT_ONCE // (image_shape[0] * image_shape[1]))


def shared_batches(
    images: Images, batch_size: int, order: Tensor | None = None
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield (chunk, inputs, labels): indices of one batch for every process, and this one's batch of them.

    order : indices (N,) of the images, by default all in sequence.
    """
    order = torch.arange(len(images), device=images.device) if order is None else order
    chunks = order.split(batch_size * process_count())
    served = images.stream([share_of(chunk, batch_size) for chunk in chunks])
    for chunk, (inputs, labels) in zip(chunks, served, strict=True):
        yield chunk, inputs, labels


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
        missed = torch.zeros_like(self._times_missed)
        with torch.inference_mode():
            hardest_first = self._times_missed.argsort(descending=True, stable=True)
            for chunk, inputs, labels in shared_batches(self._images, self._batch_size, hardest_first):
                chosen = share_of(chunk, self._batch_size)
                inputs, labels = self._task(inputs, labels)
                wrong = network(inputs).argmax(1) != labels
                if len(chosen):
                    missed[chosen] = wrong.view(-1, len(chosen)).any(0).int()
                counts = sum_over_processes(torch.stack([wrong.sum(), torch.ones_like(wrong).sum()])).tolist()
                errors, total = errors + counts[0], total + counts[1]
                if limit is not None and errors >= limit:
                    break
        self._times_missed += sum_over_processes(missed)
        if limit is not None and errors >= limit:
            return None
        if self._fewest_errors is None or errors < self._fewest_errors:
            self._fewest_errors, self.improved = errors, True
        return 100 * (total - errors) / total
