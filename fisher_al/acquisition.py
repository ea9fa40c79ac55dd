"""Acquisition: which pool images to label next. Similarity, k-centre, matching, top-k and random."""

from collections.abc import Sequence

import torch
from torch import Tensor


def standardise(block: Tensor) -> Tensor:
    """Per image (row), subtract the mean and divide by the unbiased standard deviation (+1e-10)."""
    centred = block - block.mean(1, keepdim=True)
    return centred / (block.std(1, keepdim=True) + 1e-10)


def kernel_features(blocks: Tensor, widths: Sequence[int]) -> Tensor:
    """Features whose dot product is the practical Fisher kernel: R(i, j) = features_i . features_j.

    blocks : (N, L) for R_z, or (N, L, 2) holding z and g for R_zg; widths : channels of each scale, summing
    to L. Every scale is standardised per image by itself (paper, section 3). Returns (N, L) or (N, 2L).
    """
    parts = blocks.unbind(2) if blocks.dim() == 3 else (blocks,)
    return torch.cat([standardise(block) for part in parts for block in part.split(list(widths), 1)], 1)


def k_centre(features: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Greedy k-centre: row indices of `count` centres among `features` (M, D), similarity the dot product.

    The first is random, each next one the row whose largest similarity to the chosen ones is smallest.
    A running maximum makes it count x M products (Sener and Savarese, arXiv:1708.00489).
    """
    centre = int(torch.randint(len(features), (1,), generator=generator))
    chosen = [centre]
    nearest = torch.full((len(features),), -torch.inf, device=features.device)
    for _ in range(count - 1):
        nearest = torch.maximum(nearest, features @ features[centre])
        nearest[centre] = torch.inf  # never chosen twice
        centre = int(nearest.argmin())
        chosen.append(centre)
    return torch.tensor(chosen)


def match(centres: Tensor, candidates: Tensor, budget: int, chunk: int = 8192) -> Tensor:
    """Pick `budget` distinct candidates by walking the centres' rankings rank by rank.

    centres : (M, D); candidates : (N, D) with N >= budget. Rank 1 of every centre comes first, by decreasing
    similarity, then rank 2, and so on; an image that is already picked is passed over. Returns row indices
    into `candidates` in the order of picking.
    """
    # Rank r of M centres holds M candidates; when too many coincide, look deeper. Rank `budget` suffices.
    depth = min(budget, 2 * -(-budget // len(centres)) + 2)
    while True:
        similarity, candidate = _rank_candidates(centres, candidates, depth, chunk)
        walk = torch.sort(similarity, dim=0, descending=True, stable=True).indices
        picks = _first_distinct(candidate.gather(0, walk).T.flatten(), budget)
        if len(picks) == budget:
            return picks
        depth = min(budget, 2 * depth)


def _rank_candidates(centres: Tensor, candidates: Tensor, depth: int, chunk: int) -> tuple[Tensor, Tensor]:
    """Similarity and index (M, depth) of each centre's most similar candidates, best first, in chunks."""
    similarity = centres.new_empty(len(centres), 0)
    index = torch.empty(len(centres), 0, dtype=torch.long, device=centres.device)
    for start in range(0, len(candidates), chunk):
        block = centres @ candidates[start : start + chunk].T
        block, found = block.topk(min(depth, block.shape[1]), dim=1)
        merged, index = torch.cat([similarity, block], 1), torch.cat([index, found + start], 1)
        similarity, order = merged.topk(min(depth, merged.shape[1]), dim=1)
        index = index.gather(1, order)
    return similarity, index


def _first_distinct(sequence: Tensor, count: int) -> Tensor:
    """The first `count` distinct values of a 1-d tensor, in order of first appearance."""
    values, inverse = torch.unique(sequence, return_inverse=True)
    positions = torch.arange(len(sequence), device=sequence.device)
    first = torch.full_like(values, len(sequence)).scatter_reduce(0, inverse, positions, "amin")
    return sequence[first.sort().values[:count]]


def most_uncertain(uncertainty: Tensor, budget: int) -> Tensor:
    """Indices of the `budget` largest entries of `uncertainty` (N,); ties go to the lower index."""
    return uncertainty.sort(descending=True, stable=True).indices[:budget]


def random_picks(count: int, budget: int, generator: torch.Generator) -> Tensor:
    """`budget` distinct indices below `count`, uniformly."""
    return torch.randperm(count, generator=generator)[:budget]
