"""Processes and machines that share cores, GPUs and a log."""

import sys
from types import SimpleNamespace

import pytest
import torch

import imagenet.experiment as module
from fisher_al.commands.options import DataOptions
from fisher_al.commands.scripts import choose_device
from fisher_al.errors import UserError
from fisher_al.files import run_log
from fisher_al.files.run_log import append
from fisher_al.running.cluster import Cluster
from imagenet.experiment import IMAGENET


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
