"""The whole path on scikit-learn's digits, through the scripts as a user calls them."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, call, read_csv, run, snapshot

from fisher_al.experiment import parse_method
from fisher_al.files.layout import Layout
from fisher_al.files.storage import checksum
from fisher_al.method.fisher_kernel import KernelMethod, NearestLabel
from fisher_al.method.registry import METHODS as ALL_METHODS
from fisher_al.training.checkpoints import load_checkpoint
from mnist.experiment import DIGITS

# every method of the registry that run.py runs, and between them every descriptor length of the LeNet
METHODS = ("random", "varMC", "entMC", "baldMC", "stdMC", "none/20", "gradAbl/20", "grad/10", "gradFmap/80")
METHODS += ("gradFmap/90", "gradGmap/30", "cor/20", "amiFull/30", "amiDiag/80", "coreset/80", "badge/20")
METHODS += ("margin", "entropy", "balanced", "typiclust/50", "similar", "galaxy", "direct")
METHODS += ("clue/20", "falcun", "gradShift/80")
ENSEMBLES = ("varMC", "entMC", "baldMC")
SIZE = ("--run-stop", 1, "--iterations", 3, "--augment-size", 15, "--epochs", 3)

METRICS = ("acc", "acc_last", "acc_val")


def campaign(folder, *extra):
    return ("--dataset", "DIGITS", "--datadir", folder, "--methods", *METHODS, "-smp", 8, *SIZE, *extra)


@pytest.fixture(scope="module")
def finished(digits_folder, tmp_path_factory):
    """A folder in which `run.py`, called from the shell, has run every method."""
    folder = tmp_path_factory.mktemp("campaign")
    shutil.copytree(digits_folder, folder, dirs_exist_ok=True)
    output = run("run.py", *campaign(folder))
    assert "0/3" in output  # the plan
    assert output.count("1/1") == len(METHODS)  # the results
    return folder


def layout_of(folder, **changes):
    return Layout(folder / "DIGITS", "run0", 10.0, **changes)


def test_initial_models(digits_folder):
    pretrained = torch.load(layout_of(digits_folder).initial_checkpoint(), weights_only=True)
    assert pretrained["state_dict"]["fc2.weight"].shape == (4, 50)
    assert 25 < pretrained["acc"] <= 100
    untrained = layout_of(digits_folder, pretrained=False).initial_checkpoint()
    untrained = torch.load(untrained, weights_only=True)
    assert untrained["state_dict"]["fc2.weight"].shape == (10, 50)
    assert untrained["epoch"] == 0


def test_pool_file(digits_folder):
    images, labels = torch.load(layout_of(digits_folder).pool(), weights_only=True)
    whole_images, whole_labels = torch.load(
        layout_of(digits_folder).processed("train-split"), weights_only=True
    )
    assert images.dtype == torch.uint8
    assert labels.dtype == torch.int64
    frequent = int((whole_labels < 5).sum())
    assert len(images) == len(labels) == frequent + frequent // 10
    known = {image.numpy().tobytes() for image in whole_images}
    assert all(image.numpy().tobytes() in known for image in images)
    _, validation = torch.load(layout_of(digits_folder).processed("val-split"), weights_only=True)
    assert validation.bincount().tolist() == [30] * 10


def test_every_method_and_length_is_in_the_campaign():
    methods = [parse_method(token, DIGITS) for token in METHODS]
    of_run_py = {name for name, method in ALL_METHODS.items() if not (method.scripts or method.asks_nothing)}
    assert {method.name for method in methods} == of_run_py
    assert {method.length for method in methods} - {0} == DIGITS.lengths.keys()


@pytest.mark.parametrize("token", METHODS)
def test_files_of_every_iteration(finished, token):
    layout, method = layout_of(finished), parse_method(token, DIGITS)
    pool_size = len(torch.load(layout.pool(), weights_only=True)[1])
    labeled = np.array([], dtype=np.int64)
    for batch in (1, 2, 3):
        indices = np.load(layout.index_list(method, batch, 15 * batch))
        assert indices.dtype == np.int64
        assert indices.shape == np.unique(indices).shape == (15 * batch,)
        assert np.array_equal(indices[: len(labeled)], labeled)
        assert 0 <= indices.min() <= indices.max() < pool_size
        labeled = indices
        checkpoint = load_checkpoint(layout.best_checkpoint(method, batch, 15 * batch), "")
        assert list(checkpoint["state_dict"]) == [
            f"{layer}.{part}" for layer in ("conv1", "conv2", "fc1", "fc2") for part in ("weight", "bias")
        ]
        assert 0 <= checkpoint["epoch"] <= 3
        assert 0 < checkpoint["acc_last"] <= checkpoint["acc"] <= 100
        assert 0 < checkpoint["acc_val"] <= checkpoint["acc"]
    if method.describes(1):
        train = torch.load(layout.descriptors("train", method), weights_only=True)
        assert train.dtype == torch.float32
        assert torch.isfinite(train).all()
        assert train.shape == ((pool_size, method.length, 2) if method.has_scales else (pool_size,))
    if isinstance(method, KernelMethod):
        validation = torch.load(layout.descriptors("val", method), weights_only=True)
        assert validation.shape == (300, method.length, 4 if isinstance(method, NearestLabel) else 2)
        if isinstance(method, NearestLabel):
            _, labels = torch.load(layout.processed("val-split"), weights_only=True)
            assert torch.equal(validation[:, 0, 3], labels.float())


def test_a_batch_starts_from_the_best_epoch_of_the_one_before(finished):
    layout = layout_of(finished)
    for token in METHODS:
        method = parse_method(token, DIGITS)
        first, second = (load_checkpoint(layout.best_checkpoint(method, b, 15 * b), "") for b in (1, 2))
        assert second["acc"] >= first["acc"]  # epoch 0 of the second is the best one of the first


def test_curves(finished):
    arguments = ("--dataset", "DIGITS", "--datadir", finished, "--run-stop", 2, "--iterations", 3)
    output = run("run_plot.py", *arguments, "--augment-size", 15, "--methods", *METHODS)
    assert "missing: random: run1" in output
    figures = finished / "DIGITS" / "figures"
    assert {path.suffix for path in figures.iterdir()} == {".png", ".pdf", ".csv", ".json"}
    rows = read_csv(figures / "DIGITS_ir_10.csv")
    assert len(rows) == 3 * len(METHODS)
    method = parse_method("random", DIGITS)
    checkpoint = load_checkpoint(layout_of(finished).best_checkpoint(method, 3, 45), "")
    assert float(rows[2]["run0"]) == pytest.approx(checkpoint["acc"], abs=1e-4)


def results(folder):
    """Every index list and every recorded accuracy."""
    lists = {path.name: np.load(path).tolist() for path in sorted((folder / "DIGITS/run0").glob("*.npy"))}
    checkpoints = sorted((folder / "DIGITS/run0/checkpoint").glob("best_*"))
    contents = {path.name: load_checkpoint(path, "") for path in checkpoints}
    accuracies = {name: [content[metric] for metric in METRICS] for name, content in contents.items()}
    assert len(lists) == len(accuracies) > 0
    return lists, accuracies


def test_same_seed_twice_and_resumed_gives_the_same(finished, digits_folder, tmp_path):
    shutil.copytree(digits_folder, tmp_path, dirs_exist_ok=True)
    # broken off: two iterations only, then one index list without its checkpoint
    run("run.py", *campaign(tmp_path, "--iterations", 2))
    layout, ours = layout_of(tmp_path), parse_method("gradFmap/80", DIGITS)
    layout.best_checkpoint(ours, 2, 30).unlink()
    run("run.py", *campaign(tmp_path))
    assert results(tmp_path) == results(finished)


def test_another_seed_picks_others(finished, tmp_path):
    changed = ("--seed", 1)
    common = ("--dataset", "DIGITS", "--datadir", tmp_path, *changed)
    assert call("run.py", *common, "--initial", "--run-stop", 1, "--epochs", 1).code == 0
    assert call("run.py", *campaign(tmp_path, "--methods", "random", "--iterations", 1, *changed)).code == 0
    name = layout_of(tmp_path).index_list(parse_method("random", DIGITS), 1, 15).relative_to(tmp_path)
    assert not np.array_equal(np.load(tmp_path / name), np.load(finished / name))


def test_finished_work_is_skipped_and_left_alone(finished):
    before = snapshot(finished / "DIGITS" / "run0")
    outcome = call("run.py", *campaign(finished))
    assert outcome.code == 0, outcome.err
    assert "3/3" in outcome.out
    assert snapshot(finished / "DIGITS" / "run0") == before


def test_single_stages_do_what_the_runner_does(finished, digits_folder, tmp_path):
    shutil.copytree(digits_folder, tmp_path, dirs_exist_ok=True)
    for batch in (0, 1):
        common = (
            "--dataset",
            "DIGITS",
            "--save-folder",
            tmp_path / "DIGITS",
            "-ir",
            10,
            "-r",
            "run0",
            "-b",
            batch,
        )
        common += ("-sub", "gradFmap", "-aug", "topKandPccFprGrad", "-dl", 80, "-ts", 15 * batch)
        run("gen_descr.py", *common)
        output = run("main_descr.py", *common, "-as", 15, "--epochs", 3)
    layout, method = layout_of(tmp_path), parse_method("gradFmap/80", DIGITS)
    path = layout.best_checkpoint(method, 2, 30)
    assert str(path) in output
    reference = layout_of(finished)
    expected = load_checkpoint(reference.best_checkpoint(method, 2, 30), "")
    found = load_checkpoint(path, "")
    assert [found[metric] for metric in METRICS] == [expected[metric] for metric in METRICS]
    assert np.array_equal(
        np.load(layout.index_list(method, 2, 30)), np.load(reference.index_list(method, 2, 30))
    )


def test_unsup_script_makes_both_initial_models(digits_folder, tmp_path):
    shutil.copytree(digits_folder / "DIGITS" / "processed", tmp_path / "DIGITS" / "processed")
    output = run(
        "unsup.py", "--dataset", "DIGITS", "--datadir", tmp_path, "-ir", 10, "-r", "run0", "--epochs", 2
    )
    for pretrained in (False, True):
        path = layout_of(tmp_path, pretrained=pretrained).initial_checkpoint()
        assert str(path) in output
        expected = torch.load(
            layout_of(digits_folder, pretrained=pretrained).initial_checkpoint(), weights_only=True
        )
        made = torch.load(path, weights_only=True)["state_dict"]
        assert all(torch.equal(made[name], weight) for name, weight in expected["state_dict"].items())


def test_random_start_ensembles_noise_and_no_imbalance_side_by_side(digits_folder, tmp_path):
    shutil.copytree(digits_folder / "DIGITS" / "processed", tmp_path / "DIGITS" / "processed")
    common = ("--dataset", "DIGITS", "--datadir", tmp_path, "-ir", 1, 4, "-nr", 0.2, "--run-stop", 1)
    run("run.py", *common, "--initial", "--epochs", 1, "-ens", 2, "--jobs", 2)
    size = ("--iterations", 2, "--augment-size", 10, "--epochs", 1, "-smp", 8)
    output = run(
        "run.py", *common, *size, "-unsup", 0, "-ens", 2, "--methods", *ENSEMBLES, "gradFmap/20", "--jobs", 2
    )
    assert "DIGITS, ir 4" in output
    for ratio in (1.0, 4.0):
        layout = Layout(tmp_path / "DIGITS", "run0", ratio, 0.2, pretrained=False, ensemble_size=2)
        assert layout.pool().parent.name == "data"
        for token in ENSEMBLES:
            uncertain = parse_method(token, DIGITS)
            for batch in (1, 2):
                members = [layout.best_checkpoint(uncertain, batch, 10 * batch, member) for member in (0, 1)]
                learned = [load_checkpoint(path, "")["index_list_crc32"] for path in members]
                kept = checksum(torch.from_numpy(np.load(layout.index_list(uncertain, batch, 10 * batch))))
                assert learned[1] == kept
                assert (learned[0] == kept) == (batch == 2)  # each draws a first batch of its own
            checkpoints = [layout.best_checkpoint(uncertain, 2, 20, member) for member in (0, 1)]
            weights = [load_checkpoint(path, "")["state_dict"]["fc1.weight"] for path in checkpoints]
            assert not torch.equal(*weights)
            statistics = torch.load(layout.descriptors("train", uncertain, 1), weights_only=True)
            assert statistics.shape[1:] == (10, 2)


@pytest.mark.parametrize("jobs", [1, 2])
def test_interrupted_by_ctrl_c_and_started_again(jobs, finished, digits_folder, tmp_path):
    shutil.copytree(digits_folder, tmp_path, dirs_exist_ok=True)
    arguments = campaign(tmp_path, "--jobs", jobs)
    command = [sys.executable, "run.py", *map(str, arguments)]
    process = subprocess.Popen(
        command,
        cwd=ROOT / "mnist",
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # what a shell starts in the background ignores Ctrl-C, and so would its children
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    checkpoints = tmp_path / "DIGITS" / "run0" / "checkpoint"
    deadline = time.monotonic() + 120
    while len(list(checkpoints.glob("best_*"))) < 4 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "interrupted: run the same command again" in errors
    assert "Traceback" not in errors
    count = len(list(checkpoints.glob("best_*")))
    assert 4 <= count < 3 * len(METHODS)
    time.sleep(1)
    assert len(list(checkpoints.glob("best_*"))) == count
    if jobs == 1:
        run("run.py", *arguments)
        assert results(tmp_path) == results(finished)


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
def test_workers_end_with_a_killed_parent(digits_folder, tmp_path):
    shutil.copytree(digits_folder, tmp_path, dirs_exist_ok=True)
    command = [sys.executable, "run.py", *map(str, campaign(tmp_path, "--jobs", 2))]
    process = subprocess.Popen(command, cwd=ROOT / "mnist", stderr=subprocess.DEVNULL, start_new_session=True)
    checkpoints = tmp_path / "DIGITS" / "run0" / "checkpoint"
    deadline = time.monotonic() + 120
    while not list(checkpoints.glob("best_*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.wait()
    while _members_of_group(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert _members_of_group(process.pid) == []
    assert 0 < len(list(checkpoints.glob("best_*"))) < 3 * len(METHODS)


def _members_of_group(group):
    """Processes of a group that are still running, zombies aside."""
    members = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # ended meanwhile
            state, _, its_group = path.read_text().rpartition(")")[2].split()[:3]
            members += [path.parent.name] if int(its_group) == group and state != "Z" else []
    return members


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("jobs", [1, 2])
def test_on_a_gpu(jobs, digits_folder, tmp_path):
    shutil.copytree(digits_folder, tmp_path, dirs_exist_ok=True)
    output = run("run.py", *campaign(tmp_path, "--gpu", 0, "--jobs", jobs))
    assert "no GPU" not in output
    assert output.count("1/1") == len(METHODS)
