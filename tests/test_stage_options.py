"""Options of single stages and of figures reach the chains that they are of."""

import sys
from dataclasses import replace

import pytest
from conftest import call, refused, require_one_line

import fisher_al.commands.stages
from fisher_al.chain import MAX_BATCH_SIZE, Chain
from fisher_al.commands.options import CampaignOptions
from fisher_al.commands.plan import campaign_chains, chosen_ratios, make_initial_models
from fisher_al.commands.plot import PlotOptions, _figure_name
from fisher_al.experiment import Variant, parse_method
from fisher_al.files.layout import Layout
from mnist.experiment import DIGITS, MNIST


def test_every_option_of_a_stage_reaches_its_chain(folder, monkeypatch):
    asked = []

    def fake(chain, batch, member, on_epoch):
        asked.append((chain, batch, member))
        return {"acc": 2.0, "acc_last": 1.0}

    prepared = []
    monkeypatch.setattr(fisher_al.commands.stages, "main_descr", fake)
    monkeypatch.setattr(
        fisher_al.commands.stages, "prepare_iteration", lambda *args: prepared.append(args[1:])
    )
    options = ("-ir", 10, "-nr", 0.25, "-sub", "varMC", "-ens", 3, "-e", 1, "-unsup", 0, "-b", 2, "-as", 7)
    options += ("-smp", 6, "-gbs", 64, "--test-batch-size", 9, "--batch-size", 3, "--lr", 0.5, "--epochs", 4)
    options += ("--validation-images", 2, "--keep", "last", "--seed", 5)
    outcome = call("main_descr.py", "--dataset", "DIGITS", "--datadir", folder, *options)
    assert outcome.code == 0, outcome.err
    assert "best epoch 2.00%, last epoch 1.00%" in outcome.out
    layout = Layout(folder / "DIGITS", "run0", 10.0, 0.25, False, 3, "val_2_keep_last")
    training = replace(DIGITS.training, batch_size=3, learning_rate=0.5, epochs=4)
    method, variant = parse_method("varMC", DIGITS), Variant(2, False, "last")
    expected = Chain(DIGITS, layout, method, training, 3, 7, 6, 64, 9, 5, "cpu", variant)
    assert asked == [(expected, 2, 1)]
    assert prepared == [(2, 1)]


def test_stages_choose_no_epoch_by_what_they_learn(folder):
    options = ("--dataset", "DIGITS", "--datadir", folder, "--train-on-validation", "--keep", "validation")
    refused(folder, "--keep validation: ", "main_descr.py", *options)


@pytest.mark.parametrize("script", ["unsup.py", "gen_descr.py", "main_descr.py"])
def test_a_stage_takes_the_largest_ratio(script, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        fisher_al.commands.stages, "Layout", lambda *layout: asked.append(layout) or sys.exit(3)
    )
    assert call(script, "--datadir", tmp_path).code == 3
    assert asked[0][2] == 100


def test_what_is_described_at_once_is_bounded(layout):
    chain = Chain.by_protocol(DIGITS, layout, parse_method("random", DIGITS), gen_batch_size=10**9)
    assert chain.iteration(0).describe_batch_size == MAX_BATCH_SIZE


def test_a_figure_says_which_chains_it_shows(tmp_path):
    later = CampaignOptions(datadir=tmp_path, figure="later")
    assert {chain.variant.keep for chain in campaign_chains(MNIST, later)} == {"last"}
    assert chosen_ratios(MNIST, CampaignOptions(figure="fig1")) == [1]
    second = CampaignOptions(datadir=tmp_path, figure="fig2")
    models = make_initial_models(MNIST, second, MNIST.pretraining, 0, "cpu")
    assert {model.layout.ensemble_size for model in models} == {1, 4}


def test_no_two_figures_share_a_name():
    options = [
        *({}, {"noisy_ratio": 0.1}, {"unsupervised": (0,)}, {"unsupervised": (0, 1)}, {"keep": "last"}),
        *({"figure": "fig2"}, {"figure": "fig2", "imbalance_ratio": (100.0,)}, {"metric": ("val",)}),
        *({"figure": "later"}, {"figure": "later", "keep": "best"}),
    ]
    names = [_figure_name(MNIST, 100.0, PlotOptions(**own)) for own in options]
    assert len(set(names)) == len(names)


def test_one_ratio_is_looked_at(tmp_path):
    require_one_line(call("visualize_tsne.py", "--datadir", tmp_path, "-ir", 1, 10), "-ir 1 10: one ratio")
