"""Files: atomic writes, and loads that execute nothing."""

import os
import pickle

import numpy as np
import pytest
import torch

from fisher_al.errors import UserError
from fisher_al.storage import atomic_write, load_indices, load_tensors, save_indices, save_tensors


class Payload:
    """Unpickling this makes a folder, as proof that code ran."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


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
        with pytest.raises(UserError, match=r"x\.pt: truncated or not a tensor file"):
            load_tensors(path, "run it")


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
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(UserError, match="truncated"):
        load_indices(path, 3, 4, "run it")
