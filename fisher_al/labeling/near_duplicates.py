"""Picks that look like one that is labeled or picked already, as in a burst, and would waste a label."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from fisher_al.data.features import ROWS_AT_ONCE

# Picks that are compared with one another at a time.
PICKS_AT_ONCE = 1024


def without_near_duplicates(
    features_of: Callable[[Tensor], Tensor],
    earlier: Tensor,
    positions: Tensor,
    most_similar: float,
    budget: int,
) -> Tensor:
    """Which of the picks (n,) are no near-duplicate of an `earlier` image, or of an earlier pick.

    features_of : gives features (n, width) of images by their positions. most_similar : cosine of features
    above which two images are near-duplicates; from 1 on none are. Where many are kept, it is at least the
    budget of them.
    """
    if most_similar >= 1:
        return torch.arange(len(positions))

    def directions(some: Tensor) -> Tensor:
        return F.normalize(features_of(some), dim=1)

    def are_new(images: Tensor, others: Tensor) -> Tensor:
        return (images @ others.T <= most_similar).all(1)

    before, kept = directions(earlier), positions[:0]
    for block in torch.arange(len(positions)).split(PICKS_AT_ONCE):
        picked = directions(positions[block])
        is_new = are_new(picked, directions(positions[kept]))
        for others in before.split(ROWS_AT_ONCE):
            is_new &= are_new(picked, others)
        similar = picked @ picked.T > most_similar
        of_block: list[int] = []
        for i in is_new.nonzero().squeeze(1).tolist():
            if not similar[i, of_block].any():
                of_block.append(i)
        kept = torch.cat([kept, block[of_block]])
        if len(kept) >= budget:
            break
    return kept
