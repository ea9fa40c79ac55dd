"""minimal.py is the method of the package: same picks, same training; and it beats random picks."""

import copy
import subprocess
import sys

import pytest
import torch
from conftest import ROOT
from torch import Tensor

import minimal
from fisher_al.data.images import Images
from fisher_al.method.acquisition import k_centre, kernel_features, match
from fisher_al.method.descriptors import describe
from fisher_al.method.predictions import predict
from fisher_al.method.pseudo_labels import nearest_validation_label, true_label
from fisher_al.training.fit import Replica, fit
from mnist.custom_models.lenet import LeNet
from mnist.experiment import DIGITS

SCALES = DIGITS.scales[80]
SEED = 5


@pytest.fixture(scope="module")
def digits():
    """Pool, validation and 100 test digits, each (x, y), in float64: no near-tie is decided by rounding."""
    torch.manual_seed(SEED)
    x, y = minimal.read_digits()
    pool, validation, test = minimal.biased_split(y)
    return [(x[indices].double(), y[indices]) for indices in (pool, validation, test[:100])]


@pytest.fixture(scope="module")
def network(digits):
    """A network trained on 40 random pool images: wrong about half of the validation images."""
    (x, y), _, test = digits
    network = minimal.LeNet().double()
    some = torch.randperm(len(y))[:40]
    minimal.train(network, x[some], y[some], *test)
    return network


def of_package(network: minimal.LeNet) -> LeNet:
    same = LeNet().double()
    same.load_state_dict(network.state_dict())
    return same


def images(x: Tensor, y: Tensor) -> Images:
    return Images(x.squeeze(1), y, DIGITS, "cpu")


def package_picks(network: LeNet, pool: Images, validation: Images, budget: int) -> Tensor:
    """Picks of gradFmap/80, by the package's functions as stages gen_descr and main_descr combine them."""
    network.requires_grad_(False)
    widths = [network.scales[name] for name in SCALES]
    described = describe(network, validation, SCALES, 100, lambda p, y: p.scores(true_label(p, y)))
    rule = nearest_validation_label(described[..., 0], validation.labels, widths)
    candidates = describe(network, pool, SCALES, 100, lambda p, y: p.scores(rule(p, y)))
    wrong = predict(network, validation) != validation.labels
    centres = kernel_features(described[wrong] if wrong.any() else described, widths)
    if budget < len(centres):
        centres = centres[k_centre(centres, budget, torch.Generator().manual_seed(SEED))]
    return match(centres, kernel_features(candidates, widths), budget)


@pytest.mark.parametrize("budget", [20, 60, 250])
def test_picks_are_those_of_the_package(network, digits, budget):
    (x_pool, y_pool), (x_val, y_val), _ = digits
    targets = int((network(x_val)[0].argmax(1) != y_val).sum())
    assert 60 < targets < 250  # so that the first two budgets need k-centre, and the last one does not
    torch.manual_seed(SEED)  # the first centre
    picks = minimal.acquire(network, x_pool, x_val, y_val, budget)
    assert len(picks.unique()) == budget
    expected = package_picks(of_package(network), images(x_pool, y_pool), images(x_val, y_val), budget)
    assert picks.tolist() == expected.tolist()


def test_picks_where_no_validation_image_is_misclassified(network, digits):
    (x_pool, y_pool), (x_val, _), _ = digits
    predicted = network(x_val)[0].argmax(1)
    torch.manual_seed(SEED)
    picks = minimal.acquire(network, x_pool, x_val, predicted, 20)
    expected = package_picks(of_package(network), images(x_pool, y_pool), images(x_val, predicted), 20)
    assert picks.tolist() == expected.tolist()


def test_training_is_that_of_the_package(network, digits):
    (x, y), _, test = digits
    chosen = torch.arange(len(y))[-60:]
    trained = copy.deepcopy(network)
    torch.manual_seed(SEED)
    accuracy = minimal.train(trained, x[chosen], y[chosen], *test)
    generator = torch.Generator().manual_seed(SEED)
    replica = Replica(of_package(network), images(x, y), chosen, generator)
    [result] = fit([replica], images(*test), DIGITS.training)
    assert accuracy == pytest.approx(result.acc, abs=1e-3)
    torch.testing.assert_close(dict(trained.state_dict()), result.state_dict)


def test_pool_is_biased_and_validation_is_not():
    _, y = minimal.read_digits()
    torch.manual_seed(SEED)
    pool, validation, test = minimal.biased_split(y)
    frequent = int((y[pool] < 5).sum())
    assert len(pool) == frequent + frequent // 10
    assert y[validation].bincount().tolist() == [30] * 10
    assert y[test].bincount().min() > 30
    together = torch.cat([pool, validation, test])
    assert len(together.unique()) == len(together)


def test_a_seed_decides_the_result(monkeypatch):
    monkeypatch.setattr(minimal, "ITERATIONS", 1)
    assert torch.equal(minimal.run("ours", 1), minimal.run("ours", 1))


def test_from_the_shell_ours_beats_random():
    """Over 20 seeds ours is better by 14.3 points (s.d. 6.2) and has 3.7 times the labels of rare classes.

    Three seeds, always the same, are averaged here, so the bounds below are far from chance.
    """
    done = subprocess.run(
        [sys.executable, "minimal.py"], cwd=ROOT, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    header, *rows = done.stdout.split("\n\n")[1].splitlines()[1:]
    assert header.split() == ["labels", "random", "(rare)", "ours", "(rare)"]
    table = torch.tensor([[float(cell) for cell in row.split()] for row in rows])
    assert table[:, 0].tolist() == [20, 40, 60, 80, 100]
    _, random, random_rare, ours, ours_rare = table[-1].tolist()
    assert random > 50  # it learns
    assert ours > random + 5
    assert ours_rare > 2 * random_rare
