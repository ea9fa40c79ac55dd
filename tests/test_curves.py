"""Curves: what is read from checkpoints, summarised, written and drawn."""

from dataclasses import replace

import matplotlib.image
import numpy as np
import pytest
import torch
from conftest import call, read_csv

from fisher_al.chain import Chain
from fisher_al.errors import UserError
from fisher_al.experiment import parse_method
from fisher_al.files.layout import Layout
from fisher_al.results.curve_files import write_csv
from fisher_al.results.curves import Curve, collect_curves, missing_runs, results_header, results_table
from fisher_al.training.checkpoints import save_checkpoint
from fisher_al.training.fit import FitResult
from mnist.experiment import MNIST


def make_chain(folder, run="run0", token="random", iterations=3, ensemble_size=1):
    layout = Layout(folder / "MNIST", run, 100.0, ensemble_size=ensemble_size)
    return Chain.by_protocol(MNIST, layout, parse_method(token, MNIST), iterations=iterations)


def write_accuracy(chain, batch, accuracies, member=0):
    """Record the test accuracies of three epochs, the middle one being the best on validation."""
    best = max(accuracies)
    weights = {"weight": torch.zeros(1)}
    result = FitResult(weights, accuracies.index(best), best, accuracies[2], acc_val=accuracies[1])
    path = chain.layout.best_checkpoint(chain.method, batch, batch * chain.budget, member)
    save_checkpoint(result, chain.settings, path)


@pytest.fixture
def folder(tmp_path):
    """Three runs of random, the last one broken off; two of ours."""
    for number, offset in enumerate((0.0, 2.0, 7.0)):
        for batch in (1, 2, 3) if number < 2 else (1,):
            chain = make_chain(tmp_path, f"run{number}")
            write_accuracy(chain, batch, [10.0, 50.0 + batch + offset, 60.0 + batch + offset])
    for number in range(2):
        for batch in (1, 2, 3):
            chain = make_chain(tmp_path, f"run{number}", "gradFmap/80")
            write_accuracy(chain, batch, [90.0, 80.0, 70.0 + number])
    return tmp_path


def test_summary_by_hand(folder):
    chains = [make_chain(folder, run) for run in ("run0", "run1", "run2")]
    (curve,) = collect_curves(chains)
    assert curve.values[:, 0].tolist() == [61.0, 63.0, 68.0]
    assert curve.counts.tolist() == [3, 2, 2]
    assert curve.mean.tolist() == pytest.approx([64.0, 63.0, 64.0])
    assert curve.std.tolist() == pytest.approx([np.std([61, 63, 68], ddof=1), 2**0.5, 2**0.5])
    assert curve.percent.tolist() == [0.25, 0.5, 0.75]
    assert missing_runs([curve]) == ["missing: random: run2 b=2,3"]
    assert results_table([curve])[0][:3] == ["random", "3/3", "64.00±3.61"]


def test_metrics_and_ensembles(tmp_path):
    for member, offset in enumerate((0.0, 4.0)):
        chain = make_chain(tmp_path, token="varMC", iterations=1, ensemble_size=2)
        write_accuracy(chain, 1, [40.0 + offset, 30.0 + offset, 20.0 + offset], member)
    values = {metric: collect_curves([chain], metric)[0].values.item() for metric in ("best", "last", "val")}
    assert values == {"best": 42.0, "last": 22.0, "val": 32.0}


def test_missing_is_never_zero(tmp_path):
    chains = [make_chain(tmp_path, run) for run in ("run0", "run1")]
    write_accuracy(chains[0], 1, [55.0, 50.0, 50.0])
    (curve,) = collect_curves(chains)
    assert curve.mean[0] == 55.0
    assert np.isnan(curve.mean[1:]).all()
    assert np.isnan(curve.std).all()
    assert curve.missing == ["run0 b=2,3", "run1"]
    write_csv([curve], tmp_path / "curves.csv")
    rows = read_csv(tmp_path / "curves.csv")
    assert [row["mean"] for row in rows] == ["55.0000", "", ""]
    assert [row["run1"] for row in rows] == ["", "", ""]


def test_legend_tells_the_recorded_number_of_passes(tmp_path):
    chain = make_chain(tmp_path, token="varMC", iterations=1)
    write_accuracy(replace(chain, mc_samples=16), 1, [10.0, 20.0, 30.0])
    assert collect_curves([chain])[0].label == "varR, E=1, K=16"


def test_runs_that_were_made_otherwise_are_not_averaged(tmp_path):
    chains = [make_chain(tmp_path, run, "varMC", 1) for run in ("run0", "run1")]
    write_accuracy(chains[0], 1, [10.0, 20.0, 30.0])
    write_accuracy(replace(chains[1], mc_samples=16), 1, [10.0, 20.0, 30.0])
    with pytest.raises(UserError, match=r"run1/.*made with mc_samples 16, and .*run0/.* with 128"):
        collect_curves(chains)
    assert collect_curves(chains, unreadable=chains[1:])[0].counts.tolist() == [1]
    of_four = make_chain(tmp_path, token="varMC", iterations=1, ensemble_size=4)
    for member in of_four.members:
        write_accuracy(of_four, 1, [10.0, 20.0, 30.0], member)
    with pytest.raises(UserError, match=r"_E_0.*one of an ensemble of 4, not of 2"):
        collect_curves([make_chain(tmp_path, token="varMC", iterations=1, ensemble_size=2)])


def test_labels_are_the_papers(tmp_path):
    def label(token, **changes):
        chain = make_chain(tmp_path, token=token)
        return Curve(
            replace(chain, layout=replace(chain.layout, **changes)), ("run0",), np.zeros((1, 1))
        ).label

    assert label("random") == "random"
    assert label("varMC") == "varR, E=1, K=128"
    assert label("varMC", ensemble_size=4) == "varR, E=4, K=32"
    assert label("none/20") == "$R_z$, L=20"
    assert label("gradFmap/80") == r"ours, $S=\hat{p}(y,z)$, L=80"
    assert label("gradAbl/20", pretrained=False) == "$S=y$, L=20, random init"


def test_run_plot_writes_picture_numbers_and_table(folder):
    arguments = ("-ir", 100, "--datadir", folder, "--run-stop", 3, "--iterations", 3)
    outcome = call("run_plot.py", *arguments, "--methods", "random", "gradFmap/80", "grad/20")
    assert outcome.code == 0, outcome.err
    figures = folder / "MNIST" / "figures"
    names = [f"MNIST_ir_100.{suffix}" for suffix in ("csv", "json", "pdf", "png")]
    assert sorted(path.name for path in figures.iterdir()) == names
    assert all(str(figures / name) in outcome.out for name in names)
    picture = matplotlib.image.imread(figures / names[3])
    assert picture.shape[0] > 500
    assert picture[..., :3].std() > 0.05
    assert (figures / names[2]).read_bytes().startswith(b"%PDF")

    curves = collect_curves([make_chain(folder, run, "random") for run in ("run0", "run1", "run2")])
    assert " ".join(results_table(curves)[0]) in " ".join(outcome.out.split())
    assert results_header(curves) == ["method", "runs", "b=1", "b=2", "b=3"]
    for line in ("random: run2 b=2,3", "gradFmap/80: run2", "grad/20: run0, run1, run2"):
        assert f"missing: {line}" in outcome.out
    rows = read_csv(figures / names[0])
    assert [row["method"] for row in rows] == ["random"] * 3 + ["gradFmap/80"] * 3
    expected = {"labels": "125", "pool_percent": "0.25", "runs": "3", "mean": "64.0000", "std": "3.6056"}
    expected |= {"ir": "100", "nr": "0.0", "run0": "61.0000", "run1": "63.0000", "run2": "68.0000"}
    assert {name: rows[0][name] for name in expected} == expected

    outcome = call(
        "run_plot.py", *arguments, "--methods", "gradFmap/80", "--metric", "last", "--out", folder / "x"
    )
    assert outcome.code == 0, outcome.err
    assert (folder / "x" / "MNIST_ir_100_last.png").is_file()
    assert "70.50" in outcome.out
