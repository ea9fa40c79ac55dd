"""The method as its definitions say it, slowly and in float64: what fast paths are compared with."""

from collections.abc import Collection, Sequence

import numpy as np
import torch
from torch import Tensor


def walk(similarity: Tensor, budget: int, without: Collection[int] = ()) -> list[int]:
    """Candidates by the rankings of the centres, rank by rank and by decreasing similarity.

    similarity : (centres, candidates); `without` some candidates.
    """
    rankings = [[j for j in row.argsort(descending=True).tolist() if j not in without] for row in similarity]
    picks: list[int] = []
    for rank in range(len(rankings[0])):
        for i in sorted(range(len(rankings)), key=lambda i: -similarity[i, rankings[i][rank]]):
            if rankings[i][rank] not in picks:
                picks.append(rankings[i][rank])
    return picks[:budget]


def standardised(rows: Tensor) -> Tensor:
    return (rows - rows.mean(1, keepdim=True)) / rows.std(1, keepdim=True)


def scores(rows: Tensor, labels: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Gradients of the cross-entropy at the features, by autograd."""
    rows = rows.clone().requires_grad_()
    torch.nn.functional.cross_entropy(rows @ weight.T + bias, labels, reduction="sum").backward()
    assert rows.grad is not None
    return rows.grad


def picks_by_nearest_label(
    pool: Tensor,
    validation: Tensor,
    labels: Tensor,
    targets: Sequence[int],
    head: tuple[Tensor, Tensor],
    budget: int,
    without: Collection[int],
) -> list[int]:
    """gradFmap of a linear head (weight, bias): S is the label of the nearest validation image in R_z.

    pool, validation : features; labels : of the validation images, of which `targets` are matched in R_zg.
    """
    pool, validation = pool.double(), validation.double()
    weight, bias = (part.detach().double() for part in head)
    nearest = labels[(standardised(pool) @ standardised(validation).T).argmax(1)]
    g_pool = standardised(scores(pool, nearest, weight, bias))
    g_targets = standardised(scores(validation[targets], labels[targets], weight, bias))
    return walk(
        standardised(validation[targets]) @ standardised(pool).T + g_targets @ g_pool.T, budget, without
    )


def balanced_walk(
    probabilities: np.ndarray, counts: Sequence[int], budget: int, without: Collection[int]
) -> list[int]:
    """The image that is most probably of the class with the fewest labels, again and again.

    probabilities : (N, C); counts : labels of each class; `without` some images.
    """
    counts, picks = list(counts), []
    for _ in range(budget):
        number = counts.index(min(counts))
        counts[number] += 1
        left = [image for image in range(len(probabilities)) if image not in {*without, *picks}]
        picks.append(max(left, key=lambda image: probabilities[image, number]))
    return picks
