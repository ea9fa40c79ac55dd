"""Every mistake ends with one clear line and exit code 2, and nothing is overwritten."""

import os
import re
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from conftest import ROOT, call, call_main, refused, snapshot
from torchvision import datasets

import fisher_al.commands.stages
from fisher_al.commands.scripts import run_script
from fisher_al.experiment import parse_method
from fisher_al.files.storage import save_indices, save_tensors
from mnist.experiment import DIGITS

OURS = parse_method("gradFmap/20", DIGITS)


def step(folder, *extra):
    return ("--dataset", "DIGITS", "--datadir", folder, "-ir", 10, "-dl", 20, *extra)


def campaign(folder, *extra):
    return ("--dataset", "DIGITS", "--datadir", folder, "--run-stop", 1, "--epochs", 1, *extra)


def test_no_data_and_no_network(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])
    expected = "no complete MNIST.*put these files into that folder"
    refused(tmp_path, expected, "unsup.py", "--datadir", tmp_path)
    refused(tmp_path, "no complete MNIST", "run.py", "--datadir", tmp_path, "--initial", "--run-stop", 1)


def test_truncated_idx_file(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03")
    refused(tmp_path, "train-images-idx3-ubyte: truncated or altered", "unsup.py", "--datadir", tmp_path)


@pytest.mark.parametrize("allocate", [lambda: torch.empty(2**60), lambda: np.empty(2**50)])
def test_memory_that_is_not_there_is_one_line(allocate):
    outcome = call_main(lambda arguments: allocate())
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert re.match("error: out of memory .*; choose smaller sizes", outcome.err)


def test_other_errors_of_torch_are_bugs():
    with pytest.raises(RuntimeError, match="size"):
        run_script(lambda arguments: torch.zeros(2).view(3), [])


def test_a_pipe_in_place_of_data_is_not_waited_for(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    os.mkfifo(raw / "train-images-idx3-ubyte")
    refused(tmp_path, "train-images-idx3-ubyte: not a regular file", "unsup.py", "--datadir", tmp_path)


def test_missing_initial_model_says_what_to_run(folder, layout):
    layout.initial_checkpoint().unlink()
    for script, arguments in (
        ("run.py", campaign(folder)),
        ("gen_descr.py", step(folder)),
        ("main_descr.py", step(folder, "-sub", "none", "-aug", "random")),
    ):
        refused(folder, "init_unsup.*not found; run run.py --initial", script, *arguments)


def test_missing_batch_or_descriptors_say_what_to_run(folder):
    refused(
        folder, r"best_unsup_batch_2.*not found; run batch 2 first", "gen_descr.py", *step(folder, "-b", 2)
    )
    refused(folder, r"val_unsup.*not found; run gen_descr.py -b 0 first", "main_descr.py", *step(folder))


def test_broken_checkpoint(folder, layout):
    path = layout.initial_checkpoint()
    whole = torch.load(path, weights_only=True)
    path.write_bytes(path.read_bytes()[:-5000])
    refused(folder, "init_unsup.*truncated", "run.py", *campaign(folder))
    for content in (
        {"weights": 1},
        {**whole, "state_dict": {"fc1.weight": 3}},
        {**whole, "settings": None},
        7,
    ):
        save_tensors(content, path)
        refused(folder, "init_unsup.*not a checkpoint", "gen_descr.py", *step(folder))


def test_checkpoint_of_another_network(folder, layout):
    path = layout.initial_checkpoint()
    checkpoint = torch.load(path, weights_only=True)
    state = checkpoint["state_dict"]
    save_tensors({**checkpoint, "state_dict": {**state, "conv2.weight": torch.zeros(32, 10, 5, 5)}}, path)
    refused(folder, r"another network: conv2\.weight is \(32, 10, 5, 5\)", "gen_descr.py", *step(folder))
    save_tensors({**checkpoint, "state_dict": {"layer1.weight": torch.zeros(3)}}, path)
    refused(folder, "another network: conv1.bias is absent", "main_descr.py", *step(folder, "-sub", "varMC"))


def test_descriptors_of_another_size(folder, layout):
    assert call("gen_descr.py", *step(folder)).code == 0
    for split, shape in (("train", (500, 20, 2)), ("val", (300, 20, 2)), ("val", (300, 80, 4))):
        path = layout.descriptors(split, OURS)
        kept = path.read_bytes()
        save_tensors(torch.zeros(shape), path)
        wrong = re.escape(str(shape))
        refused(folder, f"{split}_unsup.*another network or pool: {wrong}", "main_descr.py", *step(folder))
        path.write_bytes(kept)
    save_tensors({"not": "a tensor"}, layout.descriptors("val", OURS))
    refused(folder, "another network or pool: dict", "main_descr.py", *step(folder))


def test_missing_or_wrong_index_list(folder, layout):
    assert call("gen_descr.py", *step(folder)).code == 0
    assert call("main_descr.py", *step(folder, "-as", 3, "--epochs", 1)).code == 0
    path = layout.index_list(OURS, 1, 3)
    path.unlink()
    second = step(folder, "-b", 1, "-as", 3)
    refused(folder, "index_list_unsup_batch_1.*not found; run batch 1 first", "main_descr.py", *second)
    save_indices(torch.tensor([1, 2, 2]), path)
    refused(folder, "holds other than 3 distinct", "main_descr.py", *second)


def test_broken_pool_or_split(folder, layout):
    path = layout.pool()
    path.write_bytes(path.read_bytes()[:1000])
    refused(folder, "train_ir_10_nr_0.0.pt: truncated", "run.py", *campaign(folder))
    save_tensors(torch.zeros(3), path)
    refused(folder, "train_ir_10_nr_0.0.pt: expected a pair", "gen_descr.py", *step(folder))
    images, labels = DIGITS.source.load_split(layout.processed("train-split"))
    for wrong in (
        (images[:, :20], labels),
        (images, labels + 1),
        (images.float(), labels),
        (images[:9], labels),
    ):
        save_tensors(wrong, path)
        refused(folder, "expected a pair of uint8 images of 28x28", "run.py", *campaign(folder))


def test_budget_larger_than_the_pool(folder):
    # refused before the first iteration, not when the pool runs out in the last
    arguments = campaign(folder, "--augment-size", 200, "--iterations", 4, "--methods", "random")
    refused(folder, "--augment-size 200: 4 iterations need 800 labels but .* has 5", "run.py", *arguments)
    arguments = step(folder, "-sub", "none", "-aug", "random", "-as", 5000)
    refused(folder, "--augment-size 5000", "main_descr.py", *arguments)


def test_half_of_the_validation_split_is_not_replaced(folder, layout):
    before = snapshot(folder / "DIGITS" / "processed")
    # our own half, as a killed process leaves it: the other one is made anew
    layout.processed("val-split").unlink()
    assert call("gen_descr.py", *step(folder)).code == 0
    assert snapshot(folder / "DIGITS" / "processed") == before
    layout.processed("val-split").unlink()
    images, labels = DIGITS.source.load_split(layout.processed("train-split"))
    save_tensors((images, labels.flip(0)), layout.processed("train-split"))
    refused(folder, "train-split.pt: its other half is missing", "gen_descr.py", *step(folder))


def test_descriptors_of_an_earlier_batch_are_refused(folder, layout):
    for script in ("gen_descr.py", "main_descr.py"):
        assert call(script, *step(folder, *(("--epochs", 1) if "main" in script else ()))).code == 0
    refused(folder, "older than the model.*run gen_descr.py -b 1", "main_descr.py", *step(folder, "-b", 1))


def test_descriptors_of_a_later_batch_are_refused(folder):
    for script in ("gen_descr.py", "main_descr.py"):
        assert call(script, *step(folder, *(("--epochs", 1) if "main" in script else ()))).code == 0
    assert call("gen_descr.py", *step(folder, "-b", 1)).code == 0
    told = "val_unsup.*describes the images at batch 1, not 0; run gen_descr.py -b 0 first"
    refused(folder, told, "main_descr.py", *step(folder))


def test_descriptors_of_another_budget_or_of_other_samples_are_refused(folder):
    for budget in (50, 40):
        for script in ("gen_descr.py", "main_descr.py"):  # the initial model is that of every budget
            extra = ("--epochs", 1) if "main" in script else ()
            assert call(script, *step(folder, "-as", budget, *extra)).code == 0
    assert call("gen_descr.py", *step(folder, "-b", 1, "-as", 50)).code == 0
    told = "val_unsup.*describes the images at augment_size 50, not 40; run gen_descr.py -b 1 first"
    refused(folder, told, "main_descr.py", *step(folder, "-b", 1, "-as", 40))
    sampled = ("-sub", "cor", "-as", 50)
    assert call("gen_descr.py", *step(folder, *sampled, "-smp", 2)).code == 0
    told = "describes the images at mc_samples 2, not 3"
    refused(folder, told, "main_descr.py", *step(folder, *sampled, "-smp", 3))


def test_descriptors_whose_writer_was_killed_before_it_was_through_say_what_they_are(folder, monkeypatch):
    sampled = ("-sub", "cor", "-as", 50)
    assert call("gen_descr.py", *step(folder, *sampled, "-smp", 3)).code == 0
    written = fisher_al.commands.stages.gen_descr

    def killed(*arguments, **more):
        written(*arguments, **more)
        raise KeyboardInterrupt

    monkeypatch.setattr("fisher_al.commands.stages.gen_descr", killed)
    assert call("gen_descr.py", *step(folder, *sampled, "-smp", 2)).code == 130
    refused(folder, "at mc_samples 2, not 3", "main_descr.py", *step(folder, *sampled, "-smp", 3))


def test_a_model_whose_time_lies_ahead_can_be_gone_on_from(folder, layout):
    ahead = time.time() + 3600
    os.utime(layout.initial_checkpoint(), (ahead, ahead))
    assert call("run.py", *campaign(folder, "--methods", "none/20", "--iterations", 1)).code == 0


def test_a_refusal_leaves_an_empty_folder_empty(tmp_path):
    refused(tmp_path, "init_unsup.*run run.py --initial first", "run.py", *campaign(tmp_path))
    refused(tmp_path, "init_unsup.*run run.py --initial first", "gen_descr.py", *step(tmp_path))
    assert not list(tmp_path.iterdir())


def test_a_file_where_a_folder_belongs(tmp_path):
    (tmp_path / "data").write_text("not a folder")
    refused(tmp_path, "data", "unsup.py", "--datadir", tmp_path / "data")
    raw = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    raw.mkdir(parents=True)
    refused(tmp_path, "train-images-idx3-ubyte: Is a directory", "unsup.py", "--datadir", tmp_path)


def test_exit_code_and_one_line_from_the_shell(tmp_path):
    command = [sys.executable, "run.py", "--datadir", str(tmp_path), "--methods", "fisher"]
    done = subprocess.run(command, cwd=ROOT / "mnist", capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --methods fisher")
    assert done.stderr.count("\n") == 1


def test_no_results_to_plot(folder):
    refused(
        folder,
        "no results of these runs, or none with that accuracy; run run.py first",
        "run_plot.py",
        *campaign(folder)[:6],
    )


@pytest.mark.parametrize(
    ("script", "arguments", "pattern"),
    [
        ("run.py", ("--methods", "fisher"), "unknown method 'fisher', choose from random, varMC"),
        (
            "run.py",
            ("--methods", "gradFmap/33"),
            "gradFmap/33: MNIST's network has no .* length 33; choose 10, 20",
        ),
        ("run.py", ("--methods", "gradFmap/x"), "'x' is not a descriptor length"),
        ("run.py", ("--methods", "gradFmap/" + "9" * 5000), "is not a descriptor length"),
        ("run.py", ("--methods", "random/20"), "random has no descriptors"),
        ("run.py", ("--methods",), "--methods: expected at least one argument"),
        ("run_plot.py", ("--methods", "nothing"), "unknown method 'nothing'"),
        ("run_plot.py", ("--metric", "worst"), "--metric: invalid choice"),
        ("gen_descr.py", ("-sub", "gradient"), "unknown method '-sub gradient'"),
        ("gen_descr.py", ("-sub", "grad", "-aug", "random"), "unknown method '-sub grad -aug random'"),
        (
            "gen_descr.py",
            ("-sub", "none"),
            "add -aug random or topKandPcc or margin or entropy or balanced or coreSet or badge",
        ),
        ("main_descr.py", ("-dl", "33"), "-dl 33: MNIST's network has no descriptors of length 33"),
        ("run.py", ("--methods", "gradFmap/²"), "'²' is not a descriptor length"),
        ("main_descr.py", ("-b", "2", "-ts", "125"), "-ts 125: batch 2 with a budget of 62 has 124"),
        ("gen_descr.py", ("-b", "2", "-ts", "10", "-as", "6"), "-ts 10: batch 2 .* has 12 labeled"),
        ("main_descr.py", ("-b", "-1"), "'-1' is not a whole number of at least 0"),
        ("main_descr.py", ("-ens", "2"), "gradFmap/80 has no ensembles"),
        ("unsup.py", ("-e", "1"), "-e 1: -ens 1 has members 0 to 0"),
        ("unsup.py", ("--lr", "nan"), "'nan' is not a positive learning rate"),
        ("unsup.py", ("-r", "../run0"), "is not the name of a folder"),
        ("unsup.py", ("--nonsense",), "unrecognized arguments: --nonsense"),
        ("run.py", ("-ir", "0.5"), "'0.5' is not a ratio of at least 1"),
        ("run.py", ("-nr", "2"), "'2' is not a share from 0 to 1"),
        ("run.py", ("--run-start", "3", "--run-stop", "3"), "no run in that range"),
        ("run.py", ("-smp", "10000000"), "'10000000' is not a whole number from 1 to 10,000"),
        ("run_plot.py", ("--iterations", "300000"), "'300000' is not a whole number from 1 to 10,000"),
        ("run.py", ("--jobs", "0"), "'0' is not a whole number from 1 to 1,000,000,000,000"),
        ("run.py", ("--dataset", "CIFAR"), "invalid choice: 'CIFAR'"),
    ],
)
def test_malformed_options(tmp_path, script, arguments, pattern):
    refused(tmp_path, pattern, script, "--datadir", tmp_path, *arguments)


def test_half_of_torchruns_variables_is_told(tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "mnist" / "run.py", "--datadir", tmp_path, "--status"],
        env={**os.environ, "WORLD_SIZE": "2"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert re.fullmatch(r"error: WORLD_SIZE is set, but not all that torchrun sets \(.*RANK.*\n", done.stderr)
