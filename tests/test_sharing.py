"""Processes, machines and chains that share cores, GPUs, logs and files."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import call, refused
from test_runner import OneSlot, tasks_named

import imagenet.experiment as module
from fisher_al.chain import Chain
from fisher_al.commands.options import DataOptions
from fisher_al.commands.run import refused_chains, report_failures
from fisher_al.commands.scripts import choose_device
from fisher_al.errors import UserError
from fisher_al.experiment import parse_method
from fisher_al.files import run_log, storage
from fisher_al.files.layout import Layout
from fisher_al.files.locks import hold
from fisher_al.files.run_log import append
from fisher_al.running import runner
from fisher_al.running.cluster import Cluster
from fisher_al.running.repair import _delete
from fisher_al.running.runner import Processes, prepare
from fisher_al.running.status import task_state
from fisher_al.running.tasks import ChainTask, Outcome, attempt
from imagenet.experiment import IMAGENET
from mnist.experiment import DIGITS


def test_workers_share_the_cores(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    assert Processes(3)._threads == 2


def test_the_bar_tells_what_is_done_meanwhile(monkeypatch, capsys):
    monkeypatch.setattr(runner, "PAUSE", 0)

    class Works(OneSlot):
        description = "working"

        def submit(self, task):
            future = super().submit(task)
            task.done = 1
            return future

    counted = []
    monkeypatch.setattr(runner.tqdm, "update", lambda bar, n: counted.append(n))
    runner.run_tasks(tasks_named("a", "b"), 1, "chain", Works({"a": [Outcome()], "b": [Outcome()]}))
    assert counted[0] == 1


@pytest.mark.parametrize(
    ("has", "asked", "device", "given"), [(2, None, "cuda:0", 1.0), (0, None, "cpu", 0), (2, 0.0, "cpu", 0)]
)
def test_tasks_on_a_cluster_get_what_they_ask_for(monkeypatch, has, asked, device, given):
    told = {}
    node = {"Resources": {"CPU": 4, "GPU": has}, "Alive": True}
    lost = {"Resources": {"CPU": 64, "GPU": 8}, "Alive": False}
    ray = SimpleNamespace(
        init=lambda **_: None,
        nodes=lambda: [node, lost],
        remote=lambda **own: told.update(own) or (lambda f: f),
    )
    monkeypatch.setitem(sys.modules, "ray", ray)
    cluster = Cluster("auto", 3, asked)
    assert (cluster.device, told["num_cpus"], told["num_gpus"], cluster._cpus) == (device, 3, given, 3)
    for wrong in ((5, None), (1, has + 1)):
        with pytest.raises(UserError, match="the largest machine of auto has 4 CPU cores"):
            Cluster("auto", *wrong)


def test_every_process_has_a_gpu_of_its_own(monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert (choose_device(0), chosen) == ("cuda:1", [1])
    with pytest.raises(UserError, match="--gpu 2: this machine's GPUs are 0 to 1"):
        choose_device(1)


def test_one_process_of_several_writes_the_log(tmp_path, monkeypatch):
    monkeypatch.setattr(run_log, "is_main", lambda: False)
    append(tmp_path / "x.jsonl", "start")
    assert list(tmp_path.iterdir()) == []


def test_processes_share_the_cores_that_decode(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setattr(module.os, "cpu_count", lambda: 8)
    data = DataOptions("ImageNet", tmp_path)
    adapted = [module._adapt(IMAGENET, module.ImageNetOptions(workers=own), data) for own in (None, 7)]
    assert [experiment.source.workers for experiment in adapted] == [2, 7]


def test_status_is_of_what_happened_last(tmp_path):
    chain = Chain.by_protocol(
        DIGITS, Layout(tmp_path / "DIGITS", "run0", 10.0), parse_method("random", DIGITS)
    )
    for path in chain.batch_files(1):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    append(chain.log, "start", pid=1, host="before")
    append(chain.log, "failed", error="no room", augment_size=20)
    append(chain.log, "start", pid=2, host="now")
    assert task_state(ChainTask(chain)) == ("begun", "")
    with hold(ChainTask(chain).lock):
        state, told = task_state(ChainTask(chain))
    assert (state, told.startswith("process 2 on now since ")) == ("running", True)


def test_repair_of_an_initial_model_waits_for_chains_that_start_from_it(folder, layout):
    layout.initial_checkpoint().write_bytes(b"broken")
    with hold(layout.chain_log(parse_method("random", DIGITS)).with_suffix(".lock")):
        outcome = call(
            "run.py", "--dataset", "DIGITS", "--datadir", folder, "--run-stop", 1, "--initial", "--repair"
        )
    assert "not checked, as another process works on it: run0 ir 10 member 0 pretrained" in outcome.out
    assert layout.initial_checkpoint().read_bytes() == b"broken"


def test_what_relies_on_a_broken_file_is_deleted_before_it(monkeypatch):
    order = []
    monkeypatch.setattr(Path, "unlink", lambda path, missing_ok: order.append(path.name))
    _delete([Path("broken"), Path("later")], lambda text: None)
    assert order == ["later", "broken"]


def test_a_lost_pool_of_a_published_run_is_told(folder, layout):
    path = layout.initial_checkpoint()
    content = torch.load(path, weights_only=True)
    storage.save_tensors({name: content[name] for name in ("state_dict", "acc", "epoch")}, path)
    DIGITS.source.pool_path(layout).unlink()
    common = ("--dataset", "DIGITS", "--datadir", folder, "--run-stop", 1, "--methods", "random")
    refused(folder, "train_ir_10.*not found.*does not tell the seed", "run.py", *common)


def test_what_is_not_fit_to_start_from_is_left_out_of_the_results(folder, layout):
    chain = Chain.by_protocol(DIGITS, layout, parse_method("random", DIGITS))
    chain.model_path(1, 0).write_bytes(b"broken")
    ready, failed = prepare([ChainTask(chain)])
    assert (ready, refused_chains(failed)) == ([], [chain])
    assert attempt(ChainTask(chain), lambda text: None).refused


def test_many_causes_are_counted():
    failed = [(SimpleNamespace(name="x"), Outcome(error=str(number))) for number in range(5)]
    with pytest.raises(UserError, match=r"x: 2; and 2 more$"):
        report_failures(failed)


def test_rows_that_have_no_room_are_told_before_they_are_filled(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage, "MAPPED_BYTES", 0)
    monkeypatch.setattr(storage.os, "posix_fallocate", full)
    with pytest.raises(UserError, match=r"x\.pt: cannot be written: No space left"):
        storage.save_rows([torch.ones(2)], 2, tmp_path / "x.pt")
    assert list(tmp_path.iterdir()) == []
