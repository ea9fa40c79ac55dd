"""SIMILAR against its definition, and greedy picks against the best ones."""

from itertools import combinations

import numpy as np
import pytest
import torch
from torch import nn

from fisher_al.data.images import Images
from fisher_al.method.base import Descriptors
from fisher_al.method.network import seeded_network
from fisher_al.method.question import question
from fisher_al.method.registry import METHODS
from fisher_al.method.submodular import gradient_directions, greedy_mutual_information
from mnist.custom_models.lenet import LeNet


def mutual_information(similarity: np.ndarray, picks) -> float:
    """FL2MI of some candidates, from its definition."""
    chosen = similarity[:, list(picks)]
    return chosen.max(1).sum() + chosen.max(0).sum()


def naive_picks(similarity: np.ndarray, budget: int) -> list[int]:
    picks: list[int] = []
    for _ in range(budget):
        gains = [
            -np.inf if j in picks else mutual_information(similarity, [*picks, j])
            for j in range(similarity.shape[1])
        ]
        picks.append(int(np.argmax(gains)))
    return picks


def similarities(targets: int, count: int, seed: int) -> torch.Tensor:
    return torch.rand(targets, count, dtype=torch.double, generator=torch.Generator().manual_seed(seed))


def test_greedy_picks_are_those_of_the_definition():
    table = similarities(30, 3000, 0)
    picks = greedy_mutual_information(lambda rows: table[:, rows], 3000, 25)
    assert picks.tolist() == naive_picks(table.numpy(), 25)


@pytest.mark.parametrize("kind", ["zero", "copies", "few differ"])
def test_of_equal_candidates_the_first_is_picked(kind):
    table = similarities(3, 300, 0)
    table *= {"zero": 0, "copies": 1, "few differ": torch.arange(300) % 100 == 7}[kind]
    if kind == "copies":
        table = table[:, torch.arange(300) // 150]
    picks = greedy_mutual_information(lambda rows: table[:, rows], 300, 70)
    assert picks.tolist() == naive_picks(table.numpy(), 70)


@pytest.mark.parametrize("seed", range(20))
def test_greedy_picks_come_close_to_the_best_of_ten(seed):
    table = similarities(6, 10, seed)
    picks = greedy_mutual_information(lambda rows: table[:, rows], 10, 3)
    values = [mutual_information(table.numpy(), some) for some in combinations(range(10), 3)]
    reached = mutual_information(table.numpy(), picks.tolist())
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
    assert picks.tolist() == naive_picks(table, 5)
