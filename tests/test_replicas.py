"""Runs and ensemble members side by side in one batched step, from the command line; CUDA graphs."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import call
from test_curves import make_chain
from test_training import make_images

from fisher_al.commands.plan import plan_chains
from fisher_al.errors import UserError
from fisher_al.files.layout import Layout
from fisher_al.method.network import seeded_network
from fisher_al.method.registry import parse_method
from fisher_al.training.checkpoints import load_checkpoint
from fisher_al.training.steps import Trainer
from mnist.experiment import DIGITS, MNIST

ITERATIONS, SIZE = 2, 10


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory):
    """Initial models of two runs, single networks and ensembles of two."""
    folder = tmp_path_factory.mktemp("replicas")
    outcome = call("run.py", *common(folder), "--initial", "--epochs", 1)
    assert outcome.code == 0, outcome.err
    return folder


def common(folder):
    return ("--dataset", "DIGITS", "--datadir", folder, "--run-stop", 2, "-ens", 2)


def campaign(folder, replicas):
    outcome = call(
        *("run.py", *common(folder), "--methods", "gradFmap/80", "varMC", "-smp", 4, "--epochs", 4),
        *("--iterations", ITERATIONS, "--augment-size", SIZE, "--replicas", replicas),
    )
    assert outcome.code == 0, outcome.err
    return outcome.out


def results(folder, run, token, ensemble_size, batch):
    layout, method = (
        Layout(folder / "DIGITS", run, 10.0, ensemble_size=ensemble_size),
        parse_method(token, DIGITS),
    )
    labeled = np.load(layout.index_list(method, batch, batch * SIZE))
    paths = [layout.best_checkpoint(method, batch, batch * SIZE, e) for e in range(ensemble_size)]
    return labeled, [load_checkpoint(path, "")["acc"] for path in paths]


def test_side_by_side_ends_like_one_after_another(two_runs, tmp_path):
    for replicas in (1, 3):
        shutil.copytree(two_runs, tmp_path / str(replicas))
        output = campaign(tmp_path / str(replicas), replicas)
        assert "0/4" in output  # the plan counts iterations of both runs
    for run in ("run0", "run1"):
        for token, ensemble_size in (("gradFmap/80", 1), ("varMC", 2)):
            alone, together = (results(tmp_path / str(r), run, token, ensemble_size, 1) for r in (1, 3))
            assert np.array_equal(alone[0], together[0])  # picked before anything was trained
            assert together[1] == pytest.approx(alone[1], abs=1)
            assert len(set(results(tmp_path / "3", run, token, ensemble_size, 2)[0])) == 2 * SIZE


def test_a_broken_off_group_goes_on(two_runs, tmp_path):
    shutil.copytree(two_runs, tmp_path, dirs_exist_ok=True)
    campaign(tmp_path, 2)
    before = results(tmp_path, "run1", "gradFmap/80", 1, 2)
    layout = Layout(tmp_path / "DIGITS", "run1", 10.0)
    layout.best_checkpoint(parse_method("gradFmap/80", DIGITS), 2, 2 * SIZE).unlink()
    campaign(tmp_path, 2)
    after = results(tmp_path, "run1", "gradFmap/80", 1, 2)
    assert np.array_equal(before[0], after[0])
    assert after[1] == pytest.approx(before[1], abs=1)  # alone this time: sums may round otherwise


def test_networks_that_cannot_are_refused():
    def normalised(num_classes):
        return torch.nn.Sequential(torch.nn.BatchNorm2d(1), MNIST.network(num_classes))

    chain = make_chain(Path())
    chain = replace(chain, experiment=replace(MNIST, network=normalised))
    with pytest.raises(UserError, match=r"--replicas 2: .* batch-norm"):
        plan_chains([chain], 2)
    assert plan_chains([chain, chain], None)[0].replicas == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("count", [1, 3])
def test_a_recorded_step_equals_an_eager_one(count):
    images = make_images(25, 0)
    inputs, labels = (part.cuda() for part in images[:])

    def train(record):
        networks = [seeded_network(MNIST.network, 10, seed).cuda() for seed in range(count)]
        trainer = Trainer(networks, MNIST.training)
        step = trainer.step if record else trainer.step._step
        for number in range(10):
            trainer.set_learning_rate(0.05 if number < 7 else 0.005)
            size = 25 if number % 4 else 10
            batch = inputs[:size], labels[:size]
            step(*batch) if count == 1 else step(*(torch.stack([part] * count) for part in batch))
        return [weight for network in networks for weight in network.parameters()]

    for recorded, eager in zip(train(True), train(False), strict=True):
        torch.testing.assert_close(recorded, eager, atol=1e-5, rtol=1e-4)
