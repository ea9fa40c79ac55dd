"""Which images make the pool: validation split, class imbalance, label noise. Works on labels alone."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fisher_al.errors import UserError


def split_validation(
    labels: Tensor,
    per_class: int | Sequence[int],
    pool_size: int,
    num_classes: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Split indices of `labels` (N,) into (pool, validation).

    `per_class` random ones of each class are held out for validation (one number for all classes, or one
    each), `pool_size` random ones of the rest make the pool.
    Returns: both in ascending order.
    Raises: UserError if a class has no image left for the pool, or the rest is too small.
    """
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label in range(num_classes):
        members = (labels == label).nonzero().squeeze(1)
        count = per_class if isinstance(per_class, int) else per_class[label]
        if len(members) <= count:
            raise UserError(
                f"class {label} has {len(members)} training images, too few for {count} validation images"
            )
        held_out[_draw(members, count, generator)] = True
    rest = (~held_out).nonzero().squeeze(1)
    if len(rest) < pool_size:
        raise UserError(f"{len(rest)} images are left for a pool of {pool_size}: choose smaller sizes")
    pool = rest if len(rest) == pool_size else _draw(rest, pool_size, generator).sort().values
    return pool, held_out.nonzero().squeeze(1)


def imbalanced_indices(labels: Tensor, ratio: float, num_classes: int, generator: torch.Generator) -> Tensor:
    """Indices (ascending) that keep the first half of the classes whole and cut the other half.

    The second half together keeps floor(number of images in the first half / `ratio`) random images, or
    all if it has fewer (the protocol's classes 5-9 of ten). A ratio of 1 keeps every image.
    """
    if ratio == 1:
        return torch.arange(len(labels))
    rare = labels >= num_classes // 2
    rare_members = rare.nonzero().squeeze(1)
    keep = min(int(int((~rare).sum()) / ratio), len(rare_members))
    kept = torch.cat([(~rare).nonzero().squeeze(1), _draw(rare_members, keep, generator)])
    return kept.sort().values


def thinned_classes(labels: Tensor, ratio: float, num_classes: int, generator: torch.Generator) -> Tensor:
    """Indices (ascending) that keep a random half of the classes whole and cut every other class.

    Each of the others keeps round(its number of images / `ratio`) random ones, but at least one (the
    protocol of ImageNet). A ratio of 1 keeps every image.
    """
    if ratio == 1:
        return torch.arange(len(labels))
    kept = torch.ones(len(labels), dtype=torch.bool)
    for label in torch.randperm(num_classes, generator=generator)[: num_classes // 2].tolist():
        members = (labels == label).nonzero().squeeze(1)
        kept[members] = False
        kept[_draw(members, max(1, round(len(members) / ratio)), generator)] = True
    return kept.nonzero().squeeze(1)


def split_holdout(labels: Tensor, share: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Split indices of `labels` (N,) into (kept, held out), the latter a random `share` of every class."""
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique().tolist():
        members = (labels == label).nonzero().squeeze(1)
        held_out[_draw(members, round(share * len(members)), generator)] = True
    kept = ~held_out
    if not (kept.any() and held_out.any()):
        raise UserError(f"--holdout {share}: leaves no image on one side; choose a share nearer to 0.5")
    return kept.nonzero().squeeze(1), held_out.nonzero().squeeze(1)


def some_of_each_class(labels: Tensor, count: int, num_classes: int, generator: torch.Generator) -> Tensor:
    """Indices (ascending) of `count` random images of every class; those of a smaller count are among them.

    Raises: UserError if a class has fewer.
    """
    chosen = []
    for label in range(num_classes):
        members = (labels == label).nonzero().squeeze(1)
        if len(members) < count:
            way_out = "give at most so many" if len(members) else "add some, or leave the option out"
            raise UserError(f"--validation-images {count}: class {label} has {len(members)}; {way_out}")
        chosen.append(_draw(members, count, generator))
    return torch.cat(chosen).sort().values


def noisy_labels(labels: Tensor, ratio: float, num_classes: int, generator: torch.Generator) -> Tensor:
    """Copy of `labels` (N,) in which round(`ratio` N) random ones are redrawn uniformly from all classes."""
    noisy = labels.clone()
    redrawn = torch.randperm(len(labels), generator=generator)[: round(ratio * len(labels))]
    noisy[redrawn] = torch.randint(num_classes, redrawn.shape, generator=generator)
    return noisy


def _draw(indices: Tensor, count: int, generator: torch.Generator) -> Tensor:
    return indices[torch.randperm(len(indices), generator=generator)[:count]]
