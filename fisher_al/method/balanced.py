"""Picks that level how many labels every class has."""

from __future__ import annotations

import heapq

import torch
from torch import Tensor

from fisher_al.method.acquisition import unlabeled_indices
from fisher_al.method.base import Descriptors, Iteration, Method
from fisher_al.method.predictions import probabilities_in_blocks


class BalancedPicks(Method):
    """The class with the fewest labels gets the image that is most probably of it, again and again.

    A class that the network does not know has no such image.
    """

    name = aug = "balanced"
    notation, formula, cost = (
        "balanced",
        "most probable of the class with the fewest labels",
        "1 forward pass",
    )
    color, marker, extension = "#332288", "*", True

    def pick(self, iteration: Iteration, labeled: Tensor, descriptors: Descriptors) -> Tensor:
        available = unlabeled_indices(labeled, len(iteration.pool))
        best, is_known = _most_probable(iteration, available, iteration.budget)
        counts = iteration.label_counts(labeled).tolist()
        classes = [(count, number) for number, count in enumerate(counts) if is_known[number]]
        heapq.heapify(classes)
        taken: dict[int, None] = {}
        places = [0] * len(counts)
        while len(taken) < iteration.budget:
            count, number = heapq.heappop(classes)
            while (image := int(best[places[number], number])) in taken:
                places[number] += 1
            taken[image] = None
            heapq.heappush(classes, (count + 1, number))
        return torch.tensor(list(taken))


def _most_probable(iteration: Iteration, available: Tensor, depth: int) -> tuple[Tensor, Tensor]:
    """Of each class the available images that are most probably of it, best first (depth, C).

    Returns: them, and whether the network gives the class any probability (C,), which a head does not if it
    has seen none of it.
    """
    is_available = torch.zeros(len(iteration.pool), dtype=torch.bool)
    is_available[available] = True
    network, at = iteration.load_network(0), 0
    values = torch.empty(0, iteration.num_classes)
    images = torch.empty(0, iteration.num_classes, dtype=torch.long)
    for block in probabilities_in_blocks(network, iteration.pool, iteration.predict_batch_size):
        rows = torch.arange(at, at + len(block))
        at += len(block)
        kept = is_available[rows]
        values = torch.cat([values, block.cpu()[kept]])
        images = torch.cat([images, rows[kept].unsqueeze(1).expand(-1, iteration.num_classes)])
        # stable, unlike topk: of equal ones the first, whatever the blocks
        order = values.argsort(dim=0, descending=True, stable=True)[:depth]
        values, images = values.gather(0, order), images.gather(0, order)
    return images, values[0] > 0
