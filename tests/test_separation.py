"""GALAXY and DIRECT against their definitions, by hand, by brute force and by lists."""

from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np
import pytest
import torch

from fisher_al.data.images import Images
from fisher_al.method.base import Descriptors, Iteration
from fisher_al.method.network import seeded_network
from fisher_al.method.question import question
from fisher_al.method.registry import METHODS
from fisher_al.method.separation import (
    UNKNOWN,
    Lines,
    agreements,
    ask_around_threshold,
    bisect,
    margins,
    narrow_threshold,
)
from mnist.custom_models.lenet import LeNet


@dataclass
class Line:
    """The pool on one line, where place and image are the same, with an oracle for class 0 or not."""

    truth: np.ndarray
    known: dict[int, int]
    asked: list[int] = field(default_factory=list)

    def __post_init__(self):
        self.labels = np.full(len(self.truth), UNKNOWN)
        for place, label in self.known.items():
            self.labels[place] = label
        self.orders = np.arange(len(self.truth))[None]

    def ask(self, image: int) -> None:
        assert self.labels[image] == UNKNOWN
        self.labels[image] = self.truth[image]
        self.asked.append(int(image))

    def votes(self, number: int) -> np.ndarray:
        return np.where(self.labels == UNKNOWN, 0, np.where(self.labels == number, 1, -1))


@pytest.mark.parametrize(
    ("votes", "reach", "expected"),
    [
        ([1, 0, 0, 0, -1], 1, (2, 1)),
        ([1, 0, 0, 0, -1, 0, 1], 1, (5, 1)),  # the shortest of the two paths
        ([0, 0, 1, 0, 0, -1, 0], 1, (3, 1)),  # of two middles the first
        ([1, -1, 0], 1, (2, 2)),  # no path but over a label
        ([0, 1, 1, -1, -1, -1, 0], 1, (0, 3)),
        ([1, 0, 0, 0, 0, 0, -1], 2, (2, 2)),  # three steps of two, the middle after one of them
        ([1, 0, 0, 0, 0, 0, 0, 0, -1], 4, (4, 4)),
    ],
)
def test_path_is_bisected_as_by_hand(votes, reach, expected):
    assert bisect(np.array(votes), reach) == expected


def shortest_paths(votes: np.ndarray, reach: int) -> set[tuple[int, ...]]:
    """All shortest paths from a 1 to a -1 in the graph, by growing paths from every 1."""
    paths = [(place,) for place in np.flatnonzero(votes > 0)]
    for _ in votes:
        grown = [
            (*path, place)
            for path in paths
            for place in range(max(0, path[-1] - reach), min(len(votes), path[-1] + reach + 1))
            if place not in path and not (len(path) == 1 and votes[place] < 0)
        ]
        if ended := {path for path in grown if votes[path[-1]] < 0}:
            return ended
        paths = [path for path in grown if votes[path[-1]] == 0]
    return set()


@pytest.mark.parametrize("length", [4, 7])
def test_path_is_bisected_as_in_the_graph(length):
    for votes in map(np.array, product((-1, 0, 1), repeat=length)):
        if set(votes) != {-1, 0, 1}:
            continue
        for reach in (1, 2, 3):
            place, reached = bisect(votes, reach)
            before = shortest_paths(votes, reached - 1) if reached > reach else set()
            assert not before, (votes, reach)
            middles = {
                path[index]
                for path in shortest_paths(votes, reached)
                for index in ((len(path) - 1) // 2, len(path) // 2)
            }
            assert place in middles, (votes, reach)


@pytest.mark.parametrize("seed", range(5))
def test_galaxy_bisects_shortest_paths_class_after_class(seed, monkeypatch):
    rng = np.random.default_rng(seed)
    truth, probabilities = rng.integers(0, 3, 14), rng.dirichlet(np.ones(3), 14)
    lines = make_lines(truth, probabilities, [0, 1], monkeypatch)
    METHODS["galaxy"].ask_along(lines, 12, np.random.default_rng(seed))
    known, reach = {0: truth[0], 1: truth[1]}, 1
    for turn, image in enumerate(lines.asked):
        number = turn % 3
        leads = [row[number] - max(np.delete(row, number)) for row in probabilities]
        line = sorted(range(14), key=lambda i: -leads[i])
        votes = np.array([0 if i not in known else 1 if known[i] == number else -1 for i in line])
        if {1, -1} <= set(votes):
            while not (paths := shortest_paths(votes, reach)):
                reach += 1
            middles = {path[at] for path in paths for at in ((len(path) - 1) // 2, len(path) // 2)}
            assert line.index(image) in middles
        assert image not in known
        known[image] = truth[image]
    assert len(known) == 14


def test_direct_narrows_the_rare_classes_first_and_spends_the_rest_evenly(monkeypatch):
    truth = np.array([0] * 4 + [1] * 2 + [2] * 50)
    lines = make_lines(truth, np.random.default_rng(0).dirichlet(np.ones(3), 56), range(8), monkeypatch)
    narrowed, around = [], []

    def narrow(lines, number, budget, rng):
        narrowed.append((number, budget))
        lines.ask(20 + number)

    monkeypatch.setattr("fisher_al.method.separation.narrow_threshold", narrow)
    monkeypatch.setattr(
        "fisher_al.method.separation.ask_around_threshold",
        lambda lines, number, budget: around.append((number, budget)),
    )
    METHODS["direct"].ask_along(lines, 20, np.random.default_rng(0))
    assert narrowed == [(1, 3), (2, 3), (0, 3)]  # of classes with two labels each, the first
    assert sorted(number for number, _ in around) == [0, 1, 2]
    assert sorted(budget for _, budget in around) == [5, 6, 6]


def make_lines(truth, probabilities, labeled, monkeypatch):
    """Lines of a pool whose labels are known to the oracle alone."""
    monkeypatch.setattr(Iteration, "ask", lambda iteration, images: torch.from_numpy(truth)[images])
    images = Images(torch.zeros(len(truth), 28, 28, dtype=torch.uint8), None, 0.1307, 0.3081)
    network = seeded_network(LeNet, 3, 0)
    iteration = question(network, images, images, 1, 0, num_classes=3, scales=(), batch_size=100)
    return Lines(iteration, probabilities, torch.tensor(list(labeled)))


def naive_narrowing(truth, known, number, budget, rng):
    """Images asked for on one line in the order of places, by lists; as in algorithm 2 of the paper."""
    known, asked, count = dict(known), [], len(truth)
    is_class = {place: label == number for place, label in known.items()}
    foreign = [place for place in sorted(known) if not is_class[place]]
    ours = [place for place in sorted(known) if is_class[place]]
    first = max([p for p in ours if not foreign or p < foreign[0]], default=0)
    last = min([p for p in foreign if not ours or p > ours[-1]], default=count - 1)
    for left in range(budget, 0, -1):
        unknown = [place for place in range(first, last + 1) if place not in known]
        if not unknown:
            break
        place = unknown[rng.choice(len(unknown))]
        known[place] = truth[place]
        asked.append(place)
        unknown.remove(place)
        kept = np.ceil(len(unknown) ** (1 - 1 / left)) if left > 1 else len(unknown)

        def agreement(threshold):
            votes = [(place < threshold) == (label == number) for place, label in known.items()]
            return sum(votes) - (len(votes) - sum(votes))

        while len([place for place in unknown if first <= place <= last]) > kept:
            ends = agreement(first), agreement(last)
            if ends[0] < ends[1] or (ends[0] == ends[1] and rng.random() < 0.5):
                first += 1
            else:
                last -= 1
    return asked


@pytest.mark.parametrize("seed", range(20))
def test_narrowing_equals_lists(seed):
    rng = np.random.default_rng(seed)
    truth = np.where(np.arange(80) < rng.integers(10, 70), 0, 1)
    flipped = rng.choice(80, 8, replace=False)
    truth[flipped] = 1 - truth[flipped]
    known = {int(place): int(truth[place]) for place in rng.choice(80, 6, replace=False)}
    line = Line(truth, known)
    narrow_threshold(line, 0, 15, np.random.default_rng(seed))
    assert line.asked
    assert line.asked == naive_narrowing(truth, known, 0, 15, np.random.default_rng(seed))


def test_agreement_of_a_threshold_is_what_it_gets_right_less_what_it_gets_wrong():
    votes = np.random.default_rng(0).integers(-1, 2, 20)
    expected = [votes[:t].sum() - votes[t:].sum() for t in range(21)]
    assert agreements(votes).tolist() == expected


def test_interval_closes_in_on_the_threshold():
    truth = np.where(np.arange(1000) < 137, 0, 1)
    line = Line(truth, {0: 0, 999: 1})
    narrow_threshold(line, 0, 30, np.random.default_rng(0))
    asked = np.array(line.asked)
    assert 20 < len(asked) <= 30
    assert np.abs(asked[-10:] - 137).max() < np.abs(asked[:5] - 137).max() / 5
    threshold = agreements(line.votes(0)).argmax()
    assert abs(threshold - 137) < 10


def test_interval_lies_between_the_labels_that_are_pure_and_those_that_are_foreign():
    # the last label before which all are of class 0 is at 3, the first after which none is at 12
    line = Line(np.zeros(20, dtype=int), {1: 0, 3: 0, 5: 1, 8: 0, 12: 1, 15: 1})
    narrow_threshold(line, 0, 5, np.random.default_rng(1))
    assert line.asked
    assert all(3 < place < 12 for place in line.asked)


def test_all_that_is_open_in_the_interval_is_asked_once():
    line = Line(np.array([0, 0, 1, 1]), {0: 0, 3: 1})
    narrow_threshold(line, 0, 10, np.random.default_rng(0))
    assert sorted(line.asked) == [1, 2]


def test_nearest_to_the_threshold_are_asked_by_turns():
    line = Line(np.zeros(10, dtype=int), {0: 0, 3: 0, 5: 1, 9: 1})
    # the best threshold is the first of 4 and 5: on its left 3, 2, 1, on its right 4, 5, 6
    ask_around_threshold(line, 0, 5)
    assert line.asked == [4, 2, 1, 6, 7]


def test_margin_is_the_lead_over_the_best_other_class():
    probabilities = np.array([[0.5, 0.3, 0.2], [0.4, 0.4, 0.2]])
    assert margins(probabilities) == pytest.approx(np.array([[0.2, -0.2, -0.3], [0.0, 0.0, -0.2]]))


@pytest.mark.parametrize("name", ["galaxy", "direct"])
def test_oracle_is_asked_for_the_picks_alone(name, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(10, (300,), generator=generator)
    pixels = torch.randint(256, (300, 28, 28), dtype=torch.uint8, generator=generator)
    images = Images(pixels, None, 0.1307, 0.3081)  # whose labels nobody can look up
    asked: list[int] = []

    def ask(iteration, chosen):
        asked.extend(chosen.tolist())
        return truth[chosen]

    monkeypatch.setattr(Iteration, "ask", ask)
    network = seeded_network(LeNet, 10, 0)
    iteration = question(network, images, images, 40, 0, num_classes=10, scales=(), batch_size=100)
    labeled = torch.arange(20, 60)
    picks = METHODS[name].pick(iteration, labeled, Descriptors()).tolist()
    assert asked == [*labeled.tolist(), *picks]
    assert len(set(asked)) == 80
    random = METHODS["random"].pick(replace(iteration, batch=0), labeled, Descriptors())
    assert METHODS[name].pick(replace(iteration, batch=0), labeled, Descriptors()).tolist() == random.tolist()
