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
    picked: Tensor,
    most_similar: float,
    budget: int,
) -> Tensor:
    """Which of the images `picked` (n,) are no near-duplicate of an `earlier` one, or of an earlier pick.

    features_of : gives features (n, width) of images by their rows. most_similar : cosine of features
    above which two images are near-duplicates; from 1 on none are. Where many are kept, it is at least the
    budget of them.
    """
    if most_similar >= 1:
        return torch.arange(len(picked))

    def directions(some: Tensor) -> Tensor:
        return F.normalize(features_of(some), dim=1)

    def are_new(images: Tensor, others: Tensor) -> Tensor:
        return (images @ others.T <= most_similar).all(1)

    before, kept = directions(earlier), picked[:0]
    for block in torch.arange(len(picked)).split(PICKS_AT_ONCE):
        own = directions(picked[block])
        is_new = are_new(own, directions(picked[kept]))
        for others in before.split(ROWS_AT_ONCE):
            is_new &= are_new(own, others)
        similar = own @ own.T > most_similar
        of_block: list[int] = []
        for i in is_new.nonzero().squeeze(1).tolist():
            if not similar[i, of_block].any():
                of_block.append(i)
        kept = torch.cat([kept, block[of_block]])
        if len(kept) >= budget:
            break
    return kept
