"""Which images make the pool: validation split, class imbalance, label noise. Works on labels alone."""

import torch
from torch import Tensor

from fisher_al.errors import UserError


def split_validation(labels: Tensor, per_class: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Split indices of `labels` (N,) into (pool, validation), `per_class` random ones of each class held out.

    Both come back in ascending order. Raises UserError if a class has no image left for the pool.
    """
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        members = (labels == label).nonzero().squeeze(1)
        if len(members) <= per_class:
            raise UserError(
                f"class {label} has {len(members)} training images, too few for {per_class} validation images"
            )
        held_out[_draw(members, per_class, generator)] = True
    return (~held_out).nonzero().squeeze(1), held_out.nonzero().squeeze(1)


def imbalanced_indices(labels: Tensor, ratio: float, num_classes: int, generator: torch.Generator) -> Tensor:
    """Indices (ascending) that keep the first half of the classes whole and cut the other half.

    The second half together keeps floor(number of images in the first half / `ratio`) random images, or
    all if it has fewer (the protocol's classes 5-9 of ten). A ratio of 1 keeps every image.
    """
    if ratio == 1:
        return torch.arange(len(labels))
    rare = labels >= num_classes // 2
    rare_members = rare.nonzero().squeeze(1)
    keep = min(int((~rare).sum() / ratio), len(rare_members))
    kept = torch.cat([(~rare).nonzero().squeeze(1), _draw(rare_members, keep, generator)])
    return kept.sort().values


def noisy_labels(labels: Tensor, ratio: float, num_classes: int, generator: torch.Generator) -> Tensor:
    """Copy of `labels` (N,) in which round(`ratio` N) random ones are redrawn uniformly from all classes."""
    noisy = labels.clone()
    redrawn = torch.randperm(len(labels), generator=generator)[: round(ratio * len(labels))]
    noisy[redrawn] = torch.randint(num_classes, redrawn.shape, generator=generator)
    return noisy


def _draw(indices: Tensor, count: int, generator: torch.Generator) -> Tensor:
    return indices[torch.randperm(len(indices), generator=generator)[:count]]
