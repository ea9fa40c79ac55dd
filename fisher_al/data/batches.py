"""Batches of images: how large they may be, and how several processes share them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from fisher_al.data.images import Images
from fisher_al.distributed import process_count, share_of

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
