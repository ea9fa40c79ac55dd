"""Runs, members and starts have seeds, models and files of their own."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from test_curves import make_chain

from fisher_al.chain import Chain
from fisher_al.errors import UserError
from fisher_al.experiment import Variant, parse_method
from fisher_al.files.layout import Layout
from fisher_al.files.run_log import append
from fisher_al.results.cost import collect_costs
from fisher_al.results.curves import collect_curves
from fisher_al.stages import cross_fitting, main_descr, unsup
from fisher_al.stages.unsup import InitialModel
from fisher_al.training.fit import FitResult
from imagenet.experiment import IMAGENET
from mnist.experiment import DIGITS, MNIST
from svhn.experiment import SVHN


def test_runs_and_members_differ_in_head_and_validation_images(folder, layout):
    shutil.copytree(layout.run_folder, layout.run_folder.with_name("run1"))
    drawn = []
    for run in ("run0", "run1"):
        chain = Chain.by_protocol(
            DIGITS, replace(layout, run=run), parse_method("random", DIGITS), variant=Variant(3)
        )
        drawn.append(chain.load_data().validation[:][0])
    assert not torch.equal(*drawn)
    both = replace(layout, ensemble_size=2)
    for member in (0, 1):
        shutil.copy(layout.initial_checkpoint(), both.initial_checkpoint(member))
    chain = Chain.by_protocol(DIGITS, both, parse_method("varMC", DIGITS))
    assert not torch.equal(*(chain.load_model(0, member).fc2.weight for member in (0, 1)))


def test_cross_fitting_starts_from_the_initial_model_and_tests_nothing(layout, monkeypatch):
    changes = {"variant": Variant(2, True)}
    chain = Chain.by_protocol(DIGITS, layout, parse_method("gradFmap/80", DIGITS), **changes)
    started, ends = [], iter([False, True])

    def fake_fit(network, *rest, keep="best", **options):
        started.append((network.conv1.weight, keep))
        return SimpleNamespace(diverged=next(ends), diverged_in=1)

    monkeypatch.setattr(cross_fitting, "fit", fake_fit)
    with pytest.raises(UserError, match="cross-fitting at b=1"):
        cross_fitting.cross_fitted_predictions(chain, 1, torch.arange(7))
    expected = chain.load_model(0, 0).conv1.weight
    assert all(torch.equal(weight, expected) and keep == "last" for weight, keep in started)
    assert len(started) == 2


def test_initial_models_differ_by_run_and_member(folder, layout, monkeypatch):
    shutil.copytree(layout.run_folder, layout.run_folder.with_name("run1"))
    found = []

    def fake_fit(network, pool, chosen, schedule, generator, *rest, **options):
        found.append((network.fc1.weight.sum().item(), generator.initial_seed()))
        return FitResult(network.state_dict(), 0, 1.0, 1.0)

    monkeypatch.setattr(unsup, "fit", fake_fit)
    for run, member in (("run0", 0), ("run0", 1), ("run1", 0)):
        of_two = replace(layout, run=run, ensemble_size=2)
        unsup.unsup(InitialModel(DIGITS, of_two, member, DIGITS.pretraining, 0, "cpu"))
    assert [len(set(column)) for column in zip(*found, strict=True)] == [3, 3]


def test_members_learn_in_orders_of_their_own(folder, layout, monkeypatch):
    both, seeds = replace(layout, ensemble_size=2), []

    def fake_fit(network, images, chosen, schedule, generator, *rest, **options):
        seeds.append(generator.initial_seed())
        return FitResult(network.state_dict(), 0, 1.0, 1.0)

    monkeypatch.setattr(main_descr, "fit", fake_fit)
    chain = Chain.by_protocol(DIGITS, both, parse_method("varMC", DIGITS))
    for member in (0, 1):
        shutil.copy(layout.initial_checkpoint(), both.initial_checkpoint(member))
        main_descr.main_descr(chain, 0, member)
    assert len(set(seeds)) == 2


def test_no_two_chains_share_a_log():
    single, method = Layout(Path("MNIST"), "run3", 100.0), parse_method("varMC", MNIST)
    changes = {"pretrained": False}, {"ensemble_size": 4}, {"imbalance_ratio": 1.0}, {"noisy_ratio": 0.1}
    logs = [replace(single, **own).chain_log(method) for own in ({}, *changes)]
    assert len(set(logs)) == len(logs)


def test_an_ensemble_starts_from_models_of_its_own(tmp_path):
    single, method = Layout(tmp_path, "run0", 10.0), parse_method("varMC", DIGITS)
    files = {}
    for layout in (single, replace(single, ensemble_size=2)):
        files[layout] = {layout.index_list(method, 1, 20), layout.best_checkpoint(method, 1, 20)}
        for path in files[layout]:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    assert all(set(layout.batches_from_initial()) == found for layout, found in files.items())


def test_what_starts_or_ends_otherwise_is_another_curve(tmp_path):
    chain = make_chain(tmp_path)
    changes = {"pretrained": False}, {"imbalance_ratio": 1.0}, {"ensemble_size": 2}
    chains = [chain, *(replace(chain, layout=replace(chain.layout, **own)) for own in changes)]
    assert [curve.chain for curve in collect_curves(chains)] == chains


def test_costs_of_pools_are_told_apart(tmp_path):
    chain = make_chain(tmp_path)
    chains = [chain, replace(chain, layout=replace(chain.layout, imbalance_ratio=1.0))]
    for number, one in enumerate(chains):
        append(one.log, "main_descr", batch=0, seconds=number + 1)
    assert [cost.total for cost in collect_costs(chains)] == [1, 2]


def test_protocols_normalise_and_step_as_published(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    sources = [experiment.source for experiment in (MNIST, SVHN, IMAGENET)]
    assert [(source.mean, source.std) for source in sources] == [
        (0.1307, 0.3081),
        ((0.5,) * 3, (0.5,) * 3),
        ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ]
    assert IMAGENET.step_settings("cuda:0") == {"autocast": torch.bfloat16, "replay": False}
    assert MNIST.step_settings("cuda:0") == {"autocast": None, "replay": True}
