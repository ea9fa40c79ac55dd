"""Results that were made with other settings, samples, seeds or ensembles are refused, and never mixed."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from conftest import call, refused

import fisher_al.data.source
from fisher_al.errors import UserError
from fisher_al.experiment import parse_method
from fisher_al.files import storage
from fisher_al.files.storage import checksum, save_indices, save_tensors
from fisher_al.running.tasks import ChainTask
from mnist.experiment import DIGITS

RANDOM = parse_method("random", DIGITS)


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
    path, checkpoint = layout.index_list(RANDOM, 1, 20), layout.best_checkpoint(RANDOM, 1, 20)
    other = torch.from_numpy(np.setdiff1d(np.arange(60), np.load(layout.index_list(RANDOM, 2, 40)))[:20])
    save_indices(other, path)  # as another machine may have picked
    content = torch.load(checkpoint, weights_only=True) | {"index_list_crc32": checksum(other)}
    save_tensors(content, checkpoint)
    told = "batch_2_size_40.*: lacks labels of batch 1; delete the files of batch 2"
    refused(folder, told, "run.py", *chain)


def test_later_batches_of_other_settings_are_not_overwritten_where_an_earlier_one_is_missing(folder, layout):
    chain = campaign(folder, "--methods", "random", "--iterations", 2)
    assert call("run.py", *chain).code == 0
    for path in (layout.index_list(RANDOM, 1, 20), layout.best_checkpoint(RANDOM, 1, 20)):
        path.unlink()
    refused(folder, "batch_2.*made with epochs 1, now 2", "run.py", *chain, "--epochs", 2)
    assert call("run.py", *chain).code == 0


def as_published(folder):
    """Rewrite a campaign as the published code writes one: no settings, and indices in another order."""
    for path in folder.rglob("*.pt"):
        if path.name.startswith(("init_", "best_")):
            content = torch.load(path, weights_only=True)
            save_tensors({name: content[name] for name in ("state_dict", "acc", "epoch")}, path)
    for path in folder.rglob("index_list_*.npy"):
        save_indices(torch.from_numpy(np.load(path)).flip(0), path)


def test_published_runs_are_gone_on_with(folder):
    chain = campaign(folder, "--methods", "random", "none/20")
    assert call("run.py", *chain, "--iterations", 2).code == 0
    as_published(folder)
    results = {path: path.read_bytes() for path in folder.rglob("best_*.pt")}
    outcome = call("run.py", *chain, "--iterations", 3)
    assert outcome.code == 0, outcome.err
    assert results.items() <= {path: path.read_bytes() for path in folder.rglob("best_*.pt")}.items()


def test_the_pool_of_a_published_run_is_not_drawn_anew(folder, layout):
    chain = campaign(folder, "--methods", "random")
    assert call("run.py", *chain, "--iterations", 1).code == 0
    as_published(folder)
    pool = DIGITS.source.pool_path(layout)
    whole = pool.read_bytes()
    pool.write_bytes(whole[:-1000])
    told = "does not tell the seed that it was drawn from; put"
    refused(folder, f"train_ir_10.*broken.*{told}", "run.py", *chain, "--iterations", 2, "--repair")
    pool.unlink()
    step = ("--dataset", "DIGITS", "--datadir", folder, "-ir", 10, "-sub", "none", "-aug", "random")
    for script in (("run.py", *chain, "--repair"), ("run.py", *chain, "--initial"), ("main_descr.py", *step)):
        refused(folder, f"train_ir_10.*not found.*{told}", *script)


def test_the_first_of_two_pools_of_different_seeds_stays(folder, layout, monkeypatch):
    pool = DIGITS.source.pool_path(layout)
    pool.unlink()
    held = fisher_al.data.source.hold

    @contextmanager
    def after_another(path, wait):
        monkeypatch.setattr("fisher_al.data.source.hold", held)
        DIGITS.source.prepare_pool(layout, 7)
        with held(path, wait):
            yield

    monkeypatch.setattr("fisher_al.data.source.hold", after_another)
    with pytest.raises(UserError, match="not the pool of --seed 0"):
        DIGITS.source.prepare_pool(layout, 0, verify=True)
    DIGITS.source.prepare_pool(layout, 7, verify=True)


def test_a_lost_pool_of_a_published_run_is_told(folder, layout):
    path = layout.initial_checkpoint()
    content = torch.load(path, weights_only=True)
    storage.save_tensors({name: content[name] for name in ("state_dict", "acc", "epoch")}, path)
    DIGITS.source.pool_path(layout).unlink()
    common = ("--dataset", "DIGITS", "--datadir", folder, "--run-stop", 1, "--methods", "random")
    refused(folder, "train_ir_10.*not found.*does not tell the seed", "run.py", *common)
