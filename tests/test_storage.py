"""Files: atomic writes, and loads that execute nothing."""

import errno
import os
import pickle
import zipfile
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from conftest import Payload

from fisher_al.errors import MachineError, UserError
from fisher_al.files import storage
from fisher_al.files.storage import (
    atomic_write,
    checksum,
    load_indices,
    load_tensors,
    remove_abandoned,
    save_indices,
    save_tensors,
)


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.pt"
    save_tensors(torch.ones(3), path)

    def interrupted_write():
        with atomic_write(path) as temporary:
            temporary.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted_write()
    assert torch.equal(load_tensors(path, ""), torch.ones(3))
    assert os.listdir(tmp_path) == ["file.pt"]


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    calls, sync, rename = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (calls.append("fsync"), sync(file)))
    monkeypatch.setattr(os, "replace", lambda *paths: (calls.append("replace"), rename(*paths)))
    save_tensors(torch.ones(3), tmp_path / "x.pt")
    assert calls == ["fsync", "replace"]


def test_an_unwritable_place_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way of a folder")
    with pytest.raises(UserError, match="cannot be written"):
        save_tensors(torch.ones(3), tmp_path / "file" / "x.pt")


def test_loading_executes_nothing(tmp_path):
    proof = tmp_path / "proof"
    for name, save in (
        ("a.pt", torch.save),
        ("b.pt", lambda content, path: path.write_bytes(pickle.dumps(content))),
    ):
        save({"state_dict": Payload(proof)}, tmp_path / name)
        with pytest.raises(UserError, match="not a tensor file"):
            load_tensors(tmp_path / name, "make it again")
    np.save(tmp_path / "c.npy", np.array([Payload(proof)], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match=r"not a \.npy file"):
        load_indices(tmp_path / "c.npy", 1, 10, "make it again")
    assert not proof.exists()


def test_broken_tensor_files_are_named(tmp_path):
    path = tmp_path / "x.pt"
    with pytest.raises(UserError, match=r"x\.pt: not found; run it"):
        load_tensors(path, "run it")
    save_tensors(torch.rand(1000), path)
    for content in (b"", b"garbage", path.read_bytes()[:2000]):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"x\.pt: truncated or not a tensor file.*run.py --repair"):
            load_tensors(path, "run it")


def test_every_flipped_bit_is_found_or_harmless(tmp_path):
    path, content = tmp_path / "x.pt", {"state": torch.rand(20), "acc": 71.5}
    save_tensors(content, path)
    whole = path.read_bytes()
    for position in range(len(whole)):
        broken = bytearray(whole)
        broken[position] ^= 1 << position % 8
        path.write_bytes(broken)
        try:
            found = load_tensors(path, "run it")
        except UserError:
            continue
        assert found["acc"] == content["acc"]
        assert torch.equal(found["state"], content["state"])


@pytest.mark.parametrize("mmap", [False, True])
def test_a_flipped_byte_in_tensor_data_is_named(mmap, tmp_path):
    path = tmp_path / "x.pt"
    save_tensors(torch.zeros(1000, 10), path)
    broken = bytearray(path.read_bytes())
    broken[len(broken) // 2] ^= 1
    path.write_bytes(broken)
    assert torch.load(path, weights_only=True).count_nonzero() == 1  # torch itself does not see it
    with pytest.raises(UserError, match=r"x\.pt: altered \(checksum of .*/data/0\).*run.py --repair"):
        load_tensors(path, "run it", mmap)


def test_a_file_is_read_once_to_verify_it(tmp_path, monkeypatch):
    path, verified = tmp_path / "x.pt", []
    save_tensors(torch.zeros(10), path)
    testzip = zipfile.ZipFile.testzip
    monkeypatch.setattr(zipfile.ZipFile, "testzip", lambda archive: verified.append(1) or testzip(archive))
    for _ in range(3):
        load_tensors(path, "run it", mmap=True)
    assert len(verified) == 1
    save_tensors(torch.ones(10), path)
    load_tensors(path, "run it")
    assert len(verified) == 2


@pytest.mark.parametrize("mmap", [False, True])
def test_the_format_before_torch_1_6_is_read(mmap, tmp_path):
    torch.save(torch.arange(3), tmp_path / "x.pt", _use_new_zipfile_serialization=False)
    assert load_tensors(tmp_path / "x.pt", "run it", mmap).tolist() == [0, 1, 2]


def test_what_killed_writers_left_is_removed(tmp_path):
    path = tmp_path / "train_ir_10_nr_0.0.pt"
    for target in (path, tmp_path / "other.pt", tmp_path / "noextension"):
        with atomic_write(target) as temporary:
            temporary.write_bytes(b"half")
            os.link(temporary, tmp_path / f"{temporary.name}.kept")
        os.rename(tmp_path / f"{temporary.name}.kept", temporary)  # as a killed writer leaves it
    assert len(os.listdir(tmp_path)) == 6
    remove_abandoned([path])
    left = os.listdir(tmp_path)
    assert len(left) == 5
    assert not any(name.startswith(".train_ir") for name in left)
    remove_abandoned([tmp_path / "noextension", tmp_path / "other.pt"])
    assert sorted(os.listdir(tmp_path)) == ["noextension", "other.pt", path.name]


@pytest.mark.parametrize(
    "lack",
    [OSError(errno.EMFILE, "Too many open files"), RuntimeError("DefaultCPUAllocator: can't allocate")],
)
def test_a_file_that_cannot_be_read_now_is_not_called_broken(lack, tmp_path, monkeypatch):
    save_tensors(torch.ones(3), tmp_path / "x.pt")
    monkeypatch.setattr(torch, "load", Mock(side_effect=lack))
    with pytest.raises(MachineError, match=r"x\.pt: cannot be read now: "):
        load_tensors(tmp_path / "x.pt", "")


def test_index_lists_are_checked(tmp_path):
    path = tmp_path / "x.npy"
    save_indices(torch.tensor([3, 1, 2]), path)
    assert np.load(path).dtype == np.int64
    assert load_indices(path, 3, 4, "").tolist() == [3, 1, 2]
    for size, pool_size in ((2, 4), (3, 3)):
        with pytest.raises(UserError, match="holds other than"):
            load_indices(path, size, pool_size, "run it")
    save_indices(torch.tensor([1, 1, 2]), path)
    with pytest.raises(UserError, match="distinct"):
        load_indices(path, 3, 4, "run it")
    save_indices(torch.tensor([0, 1, 2]), path)
    assert load_indices(path, 3, 4, "run it", checksum(torch.tensor([0, 1, 2]))).tolist() == [0, 1, 2]
    with pytest.raises(UserError, match=r"x\.npy: altered \(checksum\).*run.py --repair"):
        load_indices(path, 3, 4, "run it", checksum(torch.tensor([2, 1, 0])))
    np.save(path, np.array([0.5, 1.5, 2.5]))
    with pytest.raises(UserError, match="of integers"):
        load_indices(path, 3, 4, "run it")
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(UserError, match="truncated"):
        load_indices(path, 3, 4, "run it")


@pytest.mark.parametrize("load", [load_tensors, lambda path, advice: load_indices(path, 1, 1, advice)])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(load, tmp_path):
    os.mkfifo(tmp_path / "x.pt")
    with pytest.raises(UserError, match=r"x\.pt: not found; make it anew"):
        load(tmp_path / "x.pt", "make it anew")


def test_rows_that_have_no_room_are_told_before_they_are_filled(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage, "MAPPED_BYTES", 0)
    monkeypatch.setattr(storage.os, "posix_fallocate", full)
    with pytest.raises(UserError, match=r"x\.pt: cannot be written: No space left"):
        storage.save_rows([torch.ones(2)], 2, tmp_path / "x.pt")
    assert list(tmp_path.iterdir()) == []
