"""GALAXY, DIRECT and SIMILAR against their definitions, by hand and by brute force."""

from dataclasses import dataclass, field, replace
from itertools import combinations, product

import numpy as np
import pytest
import torch
from torch import nn

from fisher_al.data.images import Images
from fisher_al.method.base import Descriptors, Iteration
from fisher_al.method.network import seeded_network
from fisher_al.method.question import question
from fisher_al.method.registry import METHODS
from fisher_al.method.separation import (
    UNKNOWN,
    agreements,
    ask_around_threshold,
    bisect,
    margins,
    narrow_threshold,
)
from fisher_al.method.submodular import gradient_directions, greedy_mutual_information
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


def mutual_information(similarity: np.ndarray, picks, weight: float) -> float:
    """FL2MI of some candidates, from its definition."""
    chosen = similarity[:, list(picks)]
    return chosen.max(1).sum() + weight * chosen.max(0).sum()


def naive_picks(similarity: np.ndarray, budget: int, weight: float) -> list[int]:
    picks: list[int] = []
    for _ in range(budget):
        gains = [
            -np.inf if j in picks else mutual_information(similarity, [*picks, j], weight)
            for j in range(similarity.shape[1])
        ]
        picks.append(int(np.argmax(gains)))
    return picks


def similarities(targets: int, count: int, seed: int) -> torch.Tensor:
    return torch.rand(targets, count, dtype=torch.double, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_greedy_picks_are_those_of_the_definition(weight):
    table = similarities(30, 3000, 0)
    picks = greedy_mutual_information(lambda rows: table[:, rows], 3000, 25, weight)
    assert picks.tolist() == naive_picks(table.numpy(), 25, weight)


@pytest.mark.parametrize("seed", range(20))
def test_greedy_picks_come_close_to_the_best_of_ten(seed):
    table = similarities(6, 10, seed)
    picks = greedy_mutual_information(lambda rows: table[:, rows], 10, 3)
    values = [mutual_information(table.numpy(), some, 1.0) for some in combinations(range(10), 3)]
    reached = mutual_information(table.numpy(), picks.tolist(), 1.0)
    assert max(values) >= reached >= (1 - 1 / np.e) * max(values)


def test_greedy_picks_by_hand():
    # the first is most similar to both targets together; then the third, as the second adds only its own 0.6
    table = torch.tensor([[0.6, 0.6, 0.0, 0.9], [0.6, 0.5, 0.8, 0.0]])
    assert greedy_mutual_information(lambda rows: table[:, rows], 4, 3).tolist() == [0, 3, 2]


def confident_network(factor):
    """A LeNet whose logits are `factor` times those of its initial weights."""
    network = seeded_network(LeNet, 10, 0).eval()
    with torch.no_grad():
        for weights in (network.fc2.weight, network.fc2.bias):
            weights *= factor
    return network


@pytest.mark.parametrize("factor", [1, 100])
def test_similarity_of_two_images_is_the_cosine_of_their_gradients(factor):
    generator = torch.Generator().manual_seed(0)
    network = confident_network(factor)
    pixels = torch.randint(256, (8, 28, 28), dtype=torch.uint8, generator=generator)
    labels = torch.randint(10, (8,), generator=generator)
    images = Images(pixels, labels, 0.1307, 0.3081)
    labels[4:] = network(images[:][0]).argmax(1)[4:]
    factors = gradient_directions(network, images, 4, labels)
    assert torch.equal(
        gradient_directions(network, images.subset(torch.arange(4, 8)), 8)[0], factors[0][4:]
    )  # the predicted labels by default

    exact = confident_network(factor).double()
    gradients = []
    for image, label in zip(images[:][0].double(), labels, strict=True):
        loss = nn.functional.cross_entropy(exact(image[None]), label[None])
        parts = torch.autograd.grad(loss, (exact.fc2.weight, exact.fc2.bias))
        gradients.append(torch.cat([part.flatten() for part in parts]))
    gradients = nn.functional.normalize(torch.stack(gradients), eps=1e-300)
    cosines = (factors[0] @ factors[0].T) * (factors[1] @ factors[1].T)
    assert torch.allclose(cosines.double(), gradients @ gradients.T, atol=1e-3)


def test_similar_picks_what_is_like_the_misclassified_validation_images():
    generator = torch.Generator().manual_seed(1)
    network = seeded_network(LeNet, 10, 0)
    pixels = torch.randint(256, (40, 28, 28), dtype=torch.uint8, generator=generator)
    pool = Images(pixels, None, 0.1307, 0.3081)
    predicted = network.eval()(pool[:][0]).argmax(1)
    labels = predicted.clone()
    labels[[3, 8]] = (labels[[3, 8]] + 1) % 10  # the only targets
    validation = Images(pixels, labels, 0.1307, 0.3081)
    iteration = question(network, pool, validation, 5, 0, num_classes=10, scales=(), batch_size=100)
    picks = METHODS["similar"].pick(iteration, torch.tensor([3]), Descriptors())

    query = gradient_directions(network, validation, 100, labels)
    rows = gradient_directions(network, pool, 100, predicted)
    table = (query[0][[3, 8]] @ rows[0].T) * (query[1][[3, 8]] @ rows[1].T)
    table = table.clamp_min(0).double().numpy()
    table[:, 3] = -1  # labeled
    assert picks.tolist() == naive_picks(table, 5, 1.0)
