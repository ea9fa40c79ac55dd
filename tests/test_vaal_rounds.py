"""Rounds of VAAL, one after another, without the training inside."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from conftest import call_main
from test_curves import make_chain, write_accuracy

import vaal.results
from fisher_al.chain import Chain
from fisher_al.errors import UserError
from fisher_al.experiment import parse_method
from fisher_al.files import storage
from fisher_al.training.fit import FitResult
from mnist.experiment import DIGITS
from vaal import chain as module
from vaal import solver
from vaal.chain import VaalChain, pool_images
from vaal.model import VAE, Discriminator
from vaal.options import ProtocolOptions, chosen_curves
from vaal.protocol import PROTOCOLS


def vaal_chain(layout, budget=15):
    chain = Chain.by_protocol(DIGITS, layout, parse_method("vaal", DIGITS), budget=budget)
    return VaalChain(**vars(chain), protocol=PROTOCOLS["DIGITS"])


def test_every_round_of_vaal_starts_anew_and_draws_anew(layout, monkeypatch):
    chain, started = vaal_chain(layout), []
    path = chain.model_path(1, 0)
    start = chain.load_model(0, 0).state_dict()
    learned = {name: weight + 1 for name, weight in start.items()}
    first, following = torch.arange(15), torch.arange(20, 35)
    storage.save_indices(first, chain.batch_files(1)[0])
    module.save_checkpoint(FitResult(learned, 0, 1.0, 1.0), chain.settings, path, first, {"picks": following})

    def fake(network, adversaries, pool, images, labeled, selection, protocol, generator_of, on_iteration):
        drawn = [generator_of(name).initial_seed() for name in ("crops", "noise")]
        started.append((network.conv1.weight.clone(), *drawn, labeled.tolist()))
        raise StopIteration

    monkeypatch.setattr(module, "train_round", fake)
    images = module.pool_images(chain)
    for batch in (0, 1):
        with pytest.raises(StopIteration):
            module.run_round(chain, batch, images)
    (weight, *_, _), (again, *_, labeled) = started
    assert torch.equal(weight, start["conv1.weight"])
    assert torch.equal(again, start["conv1.weight"])
    assert len({seed for _, *seeds, _ in started for seed in seeds}) == 4
    assert labeled == [*first.tolist(), *following.tolist()]
    module.save_checkpoint(FitResult(learned, 0, 1.0, 1.0), chain.settings, path, first, {"picks": first})
    with pytest.raises(UserError, match="holds no 15 unlabeled images to pick"):
        module.run_round(chain, 1, images)
    size = len(images)
    with pytest.raises(UserError, match=f"--augment-size {size}: batch 1 labels all of"):
        module.run_round(vaal_chain(layout, size), 0, images)


def test_a_round_of_vaal_reports_all_along(layout, monkeypatch):
    chain, told = vaal_chain(layout), []
    protocol = replace(chain.protocol, train_iterations=4, batch_size=4)
    monkeypatch.setattr(solver.Adversaries, "step_vae", lambda *_: None)
    monkeypatch.setattr(solver.Adversaries, "step_discriminator", lambda *_: None)
    data = chain.load_data()
    players = solver.Adversaries(VAE(1, 32, 2, 2), Discriminator(2, 2), protocol, torch.Generator())
    result = FitResult({}, 0, 9.0, 9.0)
    selection = SimpleNamespace(result=result, consider=lambda *_: None)
    solver.train_round(
        chain.load_model(0, 0),
        players,
        data.pool,
        pool_images(chain),
        torch.arange(9),
        selection,
        protocol,
        lambda *_: torch.Generator(),
        lambda iteration, accuracy: told.append((iteration, accuracy)),
    )
    assert told == [(number, 9.0) for number in (1, 2, 3, 4)]


def test_vaals_protocol_is_the_datasets():
    assert ProtocolOptions(beta=2.0).protocol("DIGITS") == replace(PROTOCOLS["DIGITS"], beta=2.0)


def test_vaal_starts_from_both_initial_models():
    assert [curve.pretrained for curve in chosen_curves(DIGITS, (0, 1, 0))] == [False, True]


def test_vaals_results_are_of_the_accuracy_that_is_named(tmp_path):
    write_accuracy(make_chain(tmp_path, "run0", "vaal"), 1, [90.0, 80.0, 70.0])
    common = ("--dataset", "MNIST", "--datadir", tmp_path, "--run-stop", 1, "--iterations", 1, "-ir", 100)
    for metric, shown in (("last", "70.00"), ("val", "80.00")):
        out = call_main(vaal.results.main, *common, "--metric", metric).out
        assert (shown in out, "90.00" in out) == (True, False)


def test_vaals_task_network_takes_no_linear_layer_over():
    assert VaalChain.fresh_layers(None, DIGITS.network(10)) == ("fc1", "fc2")
