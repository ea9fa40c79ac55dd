"""Results that were made with other settings, samples, seeds or ensembles are refused, and never mixed."""

import numpy as np
import pytest
import torch
from conftest import call, refused

from fisher_al.experiment import parse_method
from fisher_al.files.storage import checksum, save_indices, save_tensors
from fisher_al.running.tasks import ChainTask
from mnist.experiment import DIGITS


def campaign(folder, *extra):
    return ("--dataset", "DIGITS", "--datadir", folder, "--run-stop", 1, "--epochs", 1, *extra)


def test_results_of_other_settings_are_not_taken_over(folder):
    methods = ("--methods", "random", "--iterations", 1)
    assert call("run.py", *campaign(folder, *methods)).code == 0
    refused(folder, "made with epochs 1, now 2", "run.py", *campaign(folder, *methods, "--epochs", 2))
    refused(folder, "made with seed 0, now 7", "run.py", *campaign(folder, *methods, "--seed", 7))
    refused(folder, "made with epochs 2, now 1", "run.py", *campaign(folder, "--initial", "--epochs", 1))


@pytest.mark.parametrize(
    ("token", "told", "changed"),
    [
        ("varMC", "mc_samples 6, now 8", ("-smp", 8, "-gbs", 64)),
        ("varMC", "gen_batch_size 64, now 32", ("-smp", 6, "-gbs", 32)),
        ("cor/20", "mc_samples 6, now 8", ("-smp", 8, "-gbs", 64)),
    ],
)
def test_results_of_other_samples_are_not_taken_over(folder, token, told, changed):
    chain = campaign(folder, "--methods", token, "--iterations", 1)
    assert call("run.py", *chain, "-smp", 6, "-gbs", 64).code == 0
    refused(folder, f"made with {told}", "run.py", *chain, *changed)


def test_an_ensemble_of_another_size_does_not_overwrite(folder, monkeypatch):
    common = ("--dataset", "DIGITS", "--datadir", folder, "--run-stop", 1)
    assert call("run.py", *common, "--initial", "--epochs", 2, "-ens", 3).code == 0
    varmc = (*common, "--epochs", 1, "--methods", "varMC", "--iterations", 1, "-smp", 6)
    assert call("run.py", *varmc, "-ens", 2).code == 0
    refused(folder, "made with ensemble_size 2, now 3", "run.py", *varmc, "-ens", 3)
    refused(folder, "-ens 1 2 3: ensembles of several sizes share", "run.py", *varmc, "-ens", 1, 2, 3)
    checkpoints = {path: path.read_bytes() for path in folder.rglob("best_*.pt")}
    check, early = ChainTask.check, iter([lambda task: None])  # as if that had run since the plan was made
    monkeypatch.setattr(ChainTask, "check", lambda task: next(early, check)(task))
    outcome = call("run.py", *varmc, "-ens", 3)
    assert outcome.code == 2
    assert "made with ensemble_size 2, now 3" in outcome.err
    assert {path: path.read_bytes() for path in folder.rglob("best_*.pt")} == checkpoints


def test_a_pool_of_another_seed_is_not_taken_over(folder, layout):
    layout.initial_checkpoint().unlink()
    pattern = "train_ir_10_nr_0.0.pt: not the pool of --seed 7"
    refused(folder, pattern, "run.py", *campaign(folder, "--initial", "--seed", 7))
    common = ("--dataset", "DIGITS", "--datadir", folder, "-ir", 10)
    refused(folder, pattern, "unsup.py", *common, "--seed", 7, "--epochs", 1)


def test_a_seed_that_no_checkpoint_would_be_read_with(folder):
    refused(folder, "from 0 to 1,000,000", "run.py", *campaign(folder, "--initial", "--seed", 10**19))


def test_models_of_another_seed_are_not_gone_on_with(folder):
    step = ("--dataset", "DIGITS", "--datadir", folder, "-ir", 10, "-dl", 20, "--seed", 7)
    for script in ("gen_descr.py", "main_descr.py"):
        refused(folder, "init_unsup.*made with seed 0, now 7", script, *step)


def test_repair_with_another_seed_leaves_a_broken_pool_to_the_right_one(folder, layout):
    chain = campaign(folder, "--methods", "random", "--iterations", 1)
    assert call("run.py", *chain).code == 0
    pool = DIGITS.source.pool_path(layout)
    whole = pool.read_bytes()
    middle = len(whole) // 2
    pool.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    refused(folder, "made with seed 0, now 7", "run.py", *chain, "--repair", "--seed", 7)
    assert call("run.py", *chain, "--repair").code == 0
    assert pool.read_bytes() == whole


def test_a_batch_that_another_one_led_to_is_not_gone_on_from(folder, layout):
    chain = campaign(folder, "--methods", "random", "--iterations", 2)
    assert call("run.py", *chain).code == 0
    random = parse_method("random", DIGITS)
    path, checkpoint = layout.index_list(random, 1, 20), layout.best_checkpoint(random, 1, 20)
    other = torch.from_numpy(np.load(path)).flip(0)  # as another machine may have picked
    save_indices(other, path)
    content = torch.load(checkpoint, weights_only=True) | {"index_list_crc32": checksum(other)}
    save_tensors(content, checkpoint)
    told = "batch_2_size_40.*: does not begin with the labels of batch 1; delete the files of batch 2"
    refused(folder, told, "run.py", *chain)
