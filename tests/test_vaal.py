"""VAAL's scripts end to end on the digits, resumed, refused, and its curve beside the others'."""

import re
import shutil

import numpy as np
import pytest
import torch
from conftest import call, call_main, read_csv, require_one_line, snapshot

import vaal.main
import vaal.results
import vaal.run
from fisher_al.experiment import parse_method
from fisher_al.files.layout import Layout
from fisher_al.files.storage import save_tensors
from fisher_al.training.checkpoints import load_checkpoint
from mnist.experiment import DIGITS
from vaal.protocol import Protocol

METHOD = parse_method("vaal", DIGITS)
SIZE = ("--run-stop", 1, "--iterations", 3, "--augment-size", 15)


def options(folder, *extra):
    return ("--dataset", "DIGITS", "--datadir", folder, *extra)


def run_vaal(folder, *extra):
    return call_main(vaal.run.main, *options(folder, *SIZE, "--train-iterations", 12, *extra))


@pytest.fixture(scope="module")
def finished(digits_folder, tmp_path_factory):
    """A folder in which run.py has run all rounds without a stop."""
    folder = tmp_path_factory.mktemp("vaal")
    shutil.copytree(digits_folder, folder, dirs_exist_ok=True)
    outcome = run_vaal(folder)
    assert outcome.code == 0, outcome.err
    assert "0/3" in outcome.out
    assert "1/1" in outcome.out
    return folder


def results(folder):
    layout = Layout(folder / "DIGITS", "run0", 10.0)
    lists = [np.load(layout.index_list(METHOD, b, 15 * b)).tolist() for b in (1, 2, 3)]
    checkpoints = [load_checkpoint(layout.best_checkpoint(METHOD, b, 15 * b), "") for b in (1, 2, 3)]
    return lists, [[c[key] for key in ("acc", "acc_last", "acc_val", "epoch")] for c in checkpoints]


def test_files_of_every_round(finished):
    layout, labeled = Layout(finished / "DIGITS", "run0", 10.0), []
    pool_size = len(torch.load(layout.pool(), weights_only=True)[1])
    for b, (indices, row) in enumerate(zip(*results(finished), strict=True), start=1):
        assert indices[: len(labeled)] == labeled
        assert len(set(indices)) == len(indices) == 15 * b
        labeled = indices
        assert row[0] >= max(row[1:3]) > 0
        assert row[3] in Protocol(train_iterations=12).tested
        checkpoint = load_checkpoint(layout.best_checkpoint(METHOD, b, 15 * b), "")
        assert checkpoint["settings"]["train_iterations"] == 12
        picks = checkpoint["picks"].tolist()
        assert len(set(picks) - set(labeled)) == 15
        assert all(0 <= index < pool_size for index in picks)
        if b < 3:
            assert results(finished)[0][b][15 * b :] == picks


def test_resumed_run_and_single_rounds_end_alike(finished, folder):
    assert run_vaal(folder, "--iterations", 2).code == 0
    layout = Layout(folder / "DIGITS", "run0", 10.0)
    layout.best_checkpoint(METHOD, 2, 30).unlink()  # as if broken off before the last file
    single = options(folder, "-as", 15, "--train-iterations", 12, "-ir", 10)
    outcome = call_main(vaal.main.main, *single, "-b", 1, "-ts", 15)
    assert outcome.code == 0, outcome.err
    assert "best iteration" in outcome.out
    outcome = run_vaal(folder)
    assert "2/3" in outcome.out
    assert results(folder) == results(finished)
    before = snapshot(folder)
    assert "3/3" in run_vaal(folder).out
    assert snapshot(folder) == before


def test_the_curve_is_shown_beside_others(folder, finished):
    shutil.copytree(finished, folder, dirs_exist_ok=True)
    assert call("run.py", *options(folder, *SIZE, "--epochs", 1, "--methods", "random")).code == 0
    outcome = call("run_plot.py", *options(folder, *SIZE, "--methods", "random", "vaal"))
    assert outcome.code == 0, outcome.err
    rows = [row for row in read_csv(folder / "DIGITS/figures/DIGITS_ir_10.csv") if row["method"] == "vaal"]
    accuracies = [row[0] for row in results(finished)[1]]
    assert [float(row["run0"]) for row in rows] == pytest.approx(accuracies, abs=1e-4)
    printed = call_main(vaal.results.main, *options(folder, *SIZE)).out
    assert all(f"{accuracy:.2f}" in printed.split("run0")[1] for accuracy in accuracies)


def refused(main, pattern, folder, *arguments):
    before = snapshot(folder)
    require_one_line(call_main(main, *options(folder, *arguments)), re.escape(pattern))
    assert snapshot(folder) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--beta", "-1"), "'-1' is not a weight of at least 0"),
        (("--precision", "fp8"), "--precision: invalid choice: 'fp8'"),
        (("--batch-size", "1"), "'1' is not a whole number from 2 to 100,000"),
        (("--batch-size", "1000000000000"), "is not a whole number from 2 to 100,000"),
        (("--latent", "1000000000"), "is not a whole number from 1 to 100,000"),
        (("--vae-width", "100000"), "is not a whole number from 1 to 4,096"),
        (("--discriminator-width", "100000000"), "is not a whole number from 1 to 100,000"),
        (("--vae-steps", "1000000000000"), "is not a whole number from 1 to 1,000"),
        (("--discriminator-steps", "1001"), "is not a whole number from 1 to 1,000"),
        (("--pool-size", "9"), "unrecognized arguments: --pool-size"),
        (("--dataset", "CIFAR"), "invalid choice: 'CIFAR'"),
        (("--dataset", "SVHN", "--pool-size", "9"), "only with --allow-unverified-data"),
        (("--augment-size", "200", "--iterations", "4"), "4 iterations need 800 labels"),
    ],
)
def test_wrong_options(folder, arguments, message):
    refused(vaal.run.main, message, folder, "--run-stop", 1, *arguments)


def test_diverged_adversaries_are_refused(folder):
    arguments = ("--run-stop", 1, "--iterations", 1, "-as", 15, "--lr", 1, "--train-iterations", 30)
    before = snapshot(folder)
    outcome = call_main(vaal.run.main, *options(folder, *arguments))
    assert outcome.code == 2
    assert "the auto-encoder or the discriminator became NaN or infinite" in outcome.err.splitlines()[-1]
    assert {name for name in snapshot(folder).keys() - before.keys() if "/log/" not in name} == set()


def test_a_diverged_task_network_ends_the_round(folder):
    path = Layout(folder / "DIGITS", "run0", 10.0).initial_checkpoint()
    checkpoint = load_checkpoint(path, "")
    checkpoint["state_dict"]["conv1.weight"].fill_(1e38)
    save_tensors(checkpoint, path)
    arguments = ("--run-stop", 1, "--iterations", 1, "-as", 15, "--train-iterations", 30)
    outcome = call_main(vaal.run.main, *options(folder, *arguments))
    assert outcome.code == 2
    first = min(Protocol(train_iterations=30).tested)
    assert first < 30
    assert f"became NaN or infinite by iteration {first} at learning rate" in outcome.err.splitlines()[-1]


def test_missing_files_and_other_settings(folder, finished, tmp_path):
    refused(vaal.main.main, "run batch 1 first (main.py -b 0", folder, "-b", 1)
    shutil.copytree(finished, folder, dirs_exist_ok=True)
    other = (*SIZE, "--train-iterations", 13)
    refused(vaal.run.main, "made with train_iterations 12, now 13", folder, *other)
    layout = Layout(folder / "DIGITS", "run0", 10.0)
    refused(vaal.main.main, "made with seed 0, now 5", folder, "-b", 1, "-as", 15, "--seed", 5)
    path = layout.best_checkpoint(METHOD, 1, 15)
    save_tensors({**load_checkpoint(path, ""), "picks": torch.zeros(15, dtype=torch.long)}, path)
    refused(vaal.main.main, "holds no 15 unlabeled images", folder, "-b", 1, "-as", 15)
    layout.initial_checkpoint().unlink()
    refused(vaal.run.main, "not found; run run.py --initial in the dataset's folder", folder, "--run-stop", 1)


def test_a_round_without_an_initial_model_writes_nothing(tmp_path):
    (tmp_path / "data").mkdir()
    refused(vaal.main.main, "not found; run run.py --initial", tmp_path / "data")


def test_scripts_of_the_datasets_point_here(folder):
    outcome = call("run.py", *options(folder, *SIZE, "--methods", "random", "vaal"))
    assert outcome.code == 2
    assert outcome.err == (
        "error: --methods vaal: it has a run.py of its own: cd ../vaal && python3 run.py --dataset DIGITS\n"
    )
    outcome = call("run.py", "--figure", "fig2", "--datadir", folder, "--dry-run", "--run-stop", 1)
    assert outcome.code == 0
    assert "left out: vaal" in outcome.out
    assert "gradFmap/80" in outcome.out
    outcome = call("main_descr.py", *options(folder, "-sub", "none", "-aug", "vaal"))
    assert "use main.py in vaal/" in outcome.err


@pytest.mark.parametrize("main", [vaal.main.main, vaal.run.main])
def test_several_processes_are_refused(main, folder, monkeypatch):
    monkeypatch.setattr("vaal.chain.process_count", lambda: 2)
    refused(main, "start it by python3, not by torchrun", folder)
