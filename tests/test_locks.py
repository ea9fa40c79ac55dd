"""Locks: between processes, released by a killed one."""

import subprocess
import sys

import pytest
from conftest import ROOT

from fisher_al.errors import UserError
from fisher_al.files.locks import BusyError, hold, hold_all, is_held

HOLDER = "import sys, time; from pathlib import Path; from fisher_al.files.locks import hold\n"
HOLDER += "with hold(Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"


def test_a_lock_excludes_other_processes_and_ends_with_a_killed_one(tmp_path):
    path = tmp_path / "log" / "x.lock"
    assert not is_held(path)
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, path], cwd=ROOT, stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    assert is_held(path)
    with pytest.raises(BusyError), hold_all([tmp_path / "a.lock", path]):
        pass
    assert not is_held(tmp_path / "a.lock")  # what was taken before the refusal is free again
    holder.kill()
    holder.wait()
    assert not is_held(path)
    with hold_all([path, tmp_path / "a.lock"]):
        assert is_held(path)
    assert not is_held(path)
    assert path.read_bytes() == b""


def test_a_place_without_locks_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way of a folder")
    path = tmp_path / "file" / "x.lock"
    with pytest.raises(UserError, match=r"x\.lock: cannot be locked: "), hold(path):
        pass
    assert not is_held(path)
