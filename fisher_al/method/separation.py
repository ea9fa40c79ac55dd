"""GALAXY and DIRECT: the pool on a line per class, and labels asked for one by one along it.

For each class k the images stand in the order of their margin, the probability of k minus the largest of
another class, most surely k first. Where those of class k end is what is asked for.
"""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import torch
from torch import Tensor

from fisher_al.method.base import Descriptors, Iteration, Method
from fisher_al.method.baselines import RandomPicks
from fisher_al.method.predictions import pool_probabilities

UNKNOWN = -1


class Lines:
    """The pool's images on a line per class, and the labels that are known.

    orders : (C, N), images by class, most surely of it first. labels : (N,), `UNKNOWN` until `ask`.
    """

    def __init__(self, iteration: Iteration, probabilities: np.ndarray, labeled: Tensor):
        self._iteration = iteration
        self.orders = np.argsort(-margins(probabilities), axis=0, kind="stable").T
        self.labels = np.full(len(probabilities), UNKNOWN)
        self.labels[labeled.numpy()] = iteration.ask(labeled).numpy()
        self.asked: list[int] = []

    def ask(self, image: int) -> None:
        """Have the oracle label one image, which is a pick from then on."""
        self.labels[image] = int(self._iteration.ask(torch.tensor([image])))
        self.asked.append(int(image))

    def votes(self, number: int) -> np.ndarray:
        """Along the line of a class (N,): 1 where the label is known and is it, -1 another, 0 unknown."""
        labels = self.labels[self.orders[number]]
        return np.where(labels == UNKNOWN, 0, np.where(labels == number, 1, -1))


def margins(probabilities: np.ndarray) -> np.ndarray:
    """Probability of each class minus the largest of another one, (N, C)."""
    two_largest = np.partition(probabilities, -2, axis=1)[:, -2:]
    is_largest = probabilities == two_largest[:, 1:]
    return probabilities - np.where(is_largest, two_largest[:, :1], two_largest[:, 1:])


class AsksOneByOne(Method):
    """A method whose next pick depends on the labels of those before; the first batch is random."""

    cost = "1 forward pass, a look along a line per label"
    extension, asks_one_by_one = True, True

    def pick(self, iteration: Iteration, labeled: Tensor, descriptors: Descriptors) -> Tensor:
        if iteration.batch == 0:
            return RandomPicks().pick(iteration, labeled, descriptors)
        lines = Lines(iteration, pool_probabilities(iteration).double().numpy(), labeled)
        self.ask_along(lines, iteration.budget, np.random.default_rng(iteration.seed_of("picks")))
        return torch.tensor(lines.asked)

    @abstractmethod
    def ask_along(self, lines: Lines, budget: int, rng: np.random.Generator) -> None:
        """Ask for `budget` labels, of which the pool has at least so many."""


class Galaxy(AsksOneByOne):
    """Bisects the shortest path between a label of a class and another label, class after class.

    Images are joined with those up to `reach` places away, at first 1; no edge joins a label of the class
    with another label. Where no path is left, all lines reach farther.
    """

    name = aug = "galaxy"
    notation, formula = "GALAXY", "middle of the shortest path between two classes (arXiv:2202.01402)"
    color, marker = "#6699CC", "p"

    def ask_along(self, lines: Lines, budget: int, rng: np.random.Generator) -> None:
        reach = 1
        for turn in range(budget):
            number = turn % len(lines.orders)
            votes = lines.votes(number)
            if (votes > 0).any() and (votes < 0).any():
                place, reach = bisect(votes, reach)
            else:
                place = rng.choice(np.flatnonzero(votes == 0))
            lines.ask(lines.orders[number][place])


def bisect(votes: np.ndarray, reach: int) -> tuple[int, int]:
    """The middle of the shortest path, through unknown places (0), from a 1 to a -1.

    votes : (N,), each of the three among them; a path goes from a place to any other at most `reach` away,
    but never from a 1 to a -1 directly. Where there is none, reach grows until there is.
    Returns: the place, and the reach. Of paths with as many edges, the narrowest, then the first, counts.
    """
    widths = np.maximum(_distances(votes > 0), _distances(votes < 0))
    widths[votes != 0] = np.inf
    known = np.flatnonzero(votes)
    starts, gaps = known[:-1], np.diff(known)
    is_path = (votes[starts] != votes[known[1:]]) & (gaps > 1)
    if not is_path.any():
        reach = max(reach, int(widths.min()))
    if widths.min() <= reach:  # one place between the ends
        return int(widths.argmin()), reach
    # A path of more edges stays between two labels: one that jumps over a label could be shorter.
    starts, gaps = starts[is_path], gaps[is_path]
    length = int(gaps.min())
    edges = -(-length // reach)
    before = edges // 2
    nearest, farthest = length - reach * (edges - before), reach * before
    return int(starts[gaps.argmin()]) + min(max(length // 2, nearest), farthest), reach


def _distances(marked: np.ndarray) -> np.ndarray:
    """Places to the nearest that is marked, (N,); infinite if none is."""
    places = np.arange(len(marked), dtype=float)
    to_left = places - np.maximum.accumulate(np.where(marked, places, -np.inf))
    to_right = np.minimum.accumulate(np.where(marked, places, np.inf)[::-1])[::-1] - places
    return np.minimum(to_left, to_right)


class Direct(AsksOneByOne):
    """Finds where each class ends on its line with up to half of the budget, then asks around it.

    Of C classes each has a 2C-th part of the budget for that, rounded down: none where the budget is less.
    """

    name = aug = "direct"
    notation, formula = "DIRECT", "nearest to the best threshold of each class (arXiv:2312.09196)"
    color, marker = "#661100", "h"

    def ask_along(self, lines: Lines, budget: int, rng: np.random.Generator) -> None:
        classes = len(lines.orders)
        frequency = np.bincount(lines.labels[lines.labels != UNKNOWN], minlength=classes)
        for number in np.argsort(frequency, kind="stable"):  # rare ones first
            narrow_threshold(lines, number, budget // (2 * classes), rng)
        shares = np.diff((budget - len(lines.asked)) * np.arange(classes + 1) // classes)
        for number, share in zip(rng.permutation(classes), shares, strict=True):
            ask_around_threshold(lines, number, share)


def agreements(votes: np.ndarray) -> np.ndarray:
    """How well each threshold t of 0 .. N agrees with the votes (N,): those before t less those from t on."""
    before = np.concatenate([[0], np.cumsum(votes)])
    return 2 * before - before[-1]


def narrow_threshold(lines: Lines, number: int, budget: int, rng: np.random.Generator) -> None:
    """Ask for up to `budget` labels in an interval that holds the best threshold of a class, ever narrower.

    At first it reaches from the last label before which all are of the class to the first after which none
    is. After each label it loses, at the end whose threshold agrees less, as many images as leave the same
    share each time, and one at the end. Source: algorithm 2 of arXiv:2312.09196, one annotator.
    """
    order = lines.orders[number]
    first, last = _interval(lines.votes(number))
    for left in range(budget, 0, -1):
        is_open = lines.labels[order[first : last + 1]] == UNKNOWN
        if not is_open.any():
            return
        lines.ask(order[first + rng.choice(np.flatnonzero(is_open))])
        is_open = lines.labels[order] == UNKNOWN
        width = int(is_open[first : last + 1].sum())
        wanted = np.ceil(width ** (1 - 1 / left)) if left > 1 else width
        agreement = agreements(lines.votes(number))
        while width > wanted:
            ends = agreement[first], agreement[last]
            loses_first = ends[0] < ends[1] if ends[0] != ends[1] else rng.random() < 0.5
            width -= is_open[first if loses_first else last]
            first, last = (first + 1, last) if loses_first else (first, last - 1)


def _interval(votes: np.ndarray) -> tuple[int, int]:
    """Places of the last label before which all are of the class, and of the first after which none is."""
    ours, others = np.flatnonzero(votes > 0), np.flatnonzero(votes < 0)
    pure = ours if not len(others) else ours[ours < others[0]]
    foreign = others if not len(ours) else others[others > ours[-1]]
    return (int(pure[-1]) if len(pure) else 0), (int(foreign[0]) if len(foreign) else len(votes) - 1)


def ask_around_threshold(lines: Lines, number: int, budget: int) -> None:
    """Ask for the `budget` images without a label nearest to the best threshold, on its left side first."""
    order, votes = lines.orders[number], lines.votes(number)
    threshold = int(agreements(votes).argmax())
    places = np.flatnonzero(votes == 0)
    steps = np.where(places < threshold, 2 * (threshold - 1 - places), 2 * (places - threshold) + 1)
    for place in places[steps.argsort()][:budget]:
        lines.ask(order[place])
