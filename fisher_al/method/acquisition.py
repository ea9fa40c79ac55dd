"""Acquisition: which pool images to label next. Similarity, k-centre, matching, top-k and random."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor


class Rows(Protocol):
    """Rows that are there, as a tensor's are, or computed when they are asked for."""

    @property
    def device(self) -> torch.device: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> Tensor: ...


def standardise(block: Tensor) -> Tensor:
    """Per image (row), subtract the mean and divide by the unbiased standard deviation (+1e-10)."""
    centred = block - block.mean(1, keepdim=True)
    return centred / (block.std(1, keepdim=True) + 1e-10)


def kernel_features(blocks: Tensor, widths: Sequence[int]) -> Tensor:
    """Features whose dot product is the practical Fisher kernel: R(i, j) = features_i . features_j.

    blocks : (N, L) for R_z, or (N, L, 2) holding z and g for R_zg; widths : channels of each scale, summing
    to L. Every scale is standardised per image by itself (paper, section 3).
    Returns: (N, L) or (N, 2L).
    """
    parts = blocks.unbind(2) if blocks.dim() == 3 else (blocks,)
    return torch.cat([standardise(block) for part in parts for block in part.split(list(widths), 1)], 1)


def k_centre(features: Tensor, count: int, generator: torch.Generator, contenders: int = 512) -> Tensor:
    """Greedy k-centre: row indices of `count` centres among `features` (M, D), similarity the dot product.

    The first is random, each next one the row whose largest similarity to the chosen ones is smallest
    (Sener and Savarese, arXiv:1708.00489). A running maximum makes it count x M products, and because that
    maximum only grows, only rows that are small now can be next: the `contenders` compete by a small table
    of their products until one outside of them could be smaller. All other products are then caught up with
    in one matrix product. But among equals, the outcome does not depend on `contenders`.
    """
    centre = int(torch.randint(len(features), (1,), generator=generator))
    chosen = torch.tensor([centre], device=features.device)
    nearest = torch.full((len(features),), -torch.inf, device=features.device, dtype=features.dtype)
    new = chosen
    while len(chosen) < count:
        nearest = torch.maximum(nearest, (features @ features[new].T).amax(1))
        nearest[new] = torch.inf  # never chosen twice
        values, rows = nearest.topk(min(contenders, len(features)), largest=False)
        bound = values[-1].item() if len(rows) < len(features) else torch.inf
        table = features[rows] @ features[rows].T
        picks = _farthest_first(values.cpu(), table.cpu(), bound, count - len(chosen))
        new = rows[picks.to(rows.device)]
        chosen = torch.cat([chosen, new])
    return chosen.cpu()


def _farthest_first(nearest: Tensor, table: Tensor, bound: float, count: int) -> Tensor:
    """At most `count` rows by greedy k-centre within `table`: the first, and more while below `bound`."""
    picks: list[int] = []
    while len(picks) < count:
        pick = int(nearest.argmin())
        if picks and nearest[pick] >= bound:
            break
        picks.append(pick)
        nearest = torch.maximum(nearest, table[pick])
        nearest[picks] = torch.inf
    return torch.tensor(picks)


class Matches(NamedTuple):
    """Picked candidates (n,) in the order of picking, the centre that each was matched with, how similar they
    are, and which rank that is in the centre's ranking, from 0."""

    candidates: Tensor
    centres: Tensor
    similarity: Tensor
    ranks: Tensor


def match(
    centres: Tensor,
    candidates: Rows,
    budget: int,
    rows: Tensor | None = None,
    features: Callable[[Tensor], Tensor] | None = None,
    chunk: int = 8192,
) -> Matches:
    """Pick `budget` distinct candidates by walking the centres' rankings rank by rank.

    centres : (M, D); candidates : (N, ...), of which those at `rows` (default: all) may be picked, at least
    `budget`. `features` turns a chunk of candidates into what the centres are multiplied with (chunk, D);
    by default they are that. Rank 1 of every centre comes first, by decreasing similarity, then rank 2, and
    so on; an image that is already picked is passed over. Memory beyond the arguments: chunk x (M + 2 D)
    numbers.
    Returns: `budget` matches, by indices into `candidates` and `centres`.
    """
    rows = torch.arange(len(candidates)) if rows is None else rows.cpu()
    # Rank r of M centres holds M candidates; when too many coincide, look deeper. Rank `budget` suffices.
    depth = min(budget, 2 * -(-budget // len(centres)) + 2)
    while True:
        blocks = ((part, candidates[part.to(candidates.device)]) for part in rows.split(chunk))
        similarity, candidate = _rank(centres, blocks, features, depth)
        walk = torch.sort(similarity, dim=0, descending=True, stable=True).indices
        sequence = candidate.gather(0, walk).T.flatten()
        first = _first_positions(sequence, budget)
        if len(first) == budget:
            walked = similarity.gather(0, walk).T.flatten()
            parts = sequence[first], walk.T.flatten()[first], walked[first], first // len(centres)
            return Matches(*(part.cpu() for part in parts))
        depth = min(budget, 2 * depth)


def _rank(
    centres: Tensor,
    blocks: Iterable[tuple[Tensor, Tensor]],
    features: Callable[[Tensor], Tensor] | None,
    depth: int,
) -> tuple[Tensor, Tensor]:
    """Similarity and index (M, depth) of each centre's most similar candidates, best first."""
    similarity = centres.new_empty(len(centres), 0)
    index = torch.empty(len(centres), 0, dtype=torch.long, device=centres.device)
    for indices, block in blocks:
        block = block.to(centres.device)
        products = centres @ (features(block) if features else block).T
        products, found = products.topk(min(depth, products.shape[1]), dim=1)
        merged = torch.cat([similarity, products], 1)
        index = torch.cat([index, indices.to(centres.device)[found]], 1)
        similarity, order = merged.topk(min(depth, merged.shape[1]), dim=1)
        index = index.gather(1, order)
    return similarity, index


def _first_positions(sequence: Tensor, count: int) -> Tensor:
    """Where the first `count` distinct values of a 1-d tensor appear first, in that order."""
    values, inverse = torch.unique(sequence, return_inverse=True)
    positions = torch.arange(len(sequence), device=sequence.device)
    first = torch.full_like(values, len(sequence)).scatter_reduce(0, inverse, positions, "amin")
    return first.sort().values[:count]


def unlabeled_indices(labeled: Tensor, pool_size: int) -> Tensor:
    """Ascending indices below `pool_size` that are not among `labeled`."""
    is_unlabeled = torch.ones(pool_size, dtype=torch.bool)
    is_unlabeled[labeled] = False
    return is_unlabeled.nonzero().squeeze(1)


def most_uncertain(uncertainty: Tensor, budget: int) -> Tensor:
    """Indices of the `budget` largest entries of `uncertainty` (N,); ties go to the lower index."""
    return uncertainty.sort(descending=True, stable=True).indices[:budget]


def random_picks(count: int, budget: int, generator: torch.Generator) -> Tensor:
    """`budget` distinct indices below `count`, uniformly."""
    return torch.randperm(count, generator=generator)[:budget]
