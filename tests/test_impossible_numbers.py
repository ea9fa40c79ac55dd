"""Numbers that no training can have led to: a broken file like any other."""

import zipfile

import pytest
import torch
from conftest import call
from test_errors import OURS, campaign, refused, step

from fisher_al.errors import UserError
from fisher_al.files.storage import load_tensors, save_tensors


@pytest.mark.parametrize(
    "wrong",
    [
        *({"acc": value} for value in (float("nan"), float("inf"), -1.0, 1e9, 10**400, "high")),
        *({"acc_val": float("nan")}, {"epoch": -1}, {"epoch": None}, {"index_list_crc32": 2.0**40}),
        *({"settings": {"seed": value}} for value in (float("nan"), 10**400, None, torch.zeros(3))),
        {"settings": {"milestones": (15, float("inf"))}},
    ],
    ids=range(15),
)
def test_impossible_numbers_in_a_checkpoint(folder, layout, wrong):
    path = layout.initial_checkpoint()
    save_tensors({**torch.load(path, weights_only=True), **wrong}, path)
    pattern = "init_unsup.*impossible content .*run.py --repair"
    refused(folder, pattern, "run.py", *campaign(folder, "--methods", "random"))
    refused(folder, pattern, "gen_descr.py", *step(folder))


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_weights_that_are_no_numbers_are_not_blamed_on_the_learning_rate(folder, layout, value):
    path = layout.initial_checkpoint()
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["state_dict"]["conv1.bias"][3] = value
    save_tensors(checkpoint, path)
    pattern = r"init_unsup.*impossible content \(conv1\.bias is NaN or infinite\)"
    refused(folder, pattern, "run.py", *campaign(folder, "--methods", "random"))


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_descriptors_that_are_no_numbers(folder, layout, split, value):
    assert call("gen_descr.py", *step(folder)).code == 0
    path = layout.descriptors(split, OURS)
    descriptors = torch.load(path, weights_only=True)
    descriptors[-1, 7, 1] = value
    save_tensors(descriptors, path)
    pattern = f"{split}_unsup.*NaN or infinite; delete it and run gen_descr.py -b 0 first"
    refused(folder, pattern, "main_descr.py", *step(folder))


def test_a_file_that_unpacks_to_more_than_itself(tmp_path):
    whole, packed = tmp_path / "whole.pt", tmp_path / "packed.pt"
    save_tensors(torch.zeros(10**6), whole)
    with zipfile.ZipFile(whole) as archive, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as bomb:
        for part in archive.infolist():
            bomb.writestr(part.filename, archive.read(part))
    assert packed.stat().st_size < 10**5
    with pytest.raises(UserError, match=r"packed\.pt: truncated or not a tensor file"):
        load_tensors(packed, "make it anew")


def test_containers_that_hold_each_other_many_times(tmp_path):
    nested = [torch.zeros(1)]
    for _ in range(60):
        nested = [nested, nested]
    save_tensors(nested, tmp_path / "x.pt")
    assert len(load_tensors(tmp_path / "x.pt", "make it anew")) == 2


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_quantized_tensors_are_refused(folder, layout):
    path = layout.initial_checkpoint(0)
    checkpoint = torch.load(path, weights_only=True)
    name = next(iter(checkpoint["state_dict"]))
    checkpoint["state_dict"][name] = torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)
    torch.save(checkpoint, path)
    refused(folder, "truncated or not a tensor file", "gen_descr.py", *step(folder))


@pytest.mark.parametrize("hidden_in", [lambda tensor: tensor, lambda tensor: {"x": [1, (tensor,)]}])
def test_a_tensor_that_repeats_few_numbers_without_end(tmp_path, hidden_in):
    path = tmp_path / "x.pt"
    save_tensors(hidden_in(torch.zeros(1).expand(10**9, 2)), path)
    assert path.stat().st_size < 10**4
    for mmap in (False, True):
        with pytest.raises(UserError, match=r"x\.pt: truncated or not a tensor file"):
            load_tensors(path, "make it anew", mmap)
