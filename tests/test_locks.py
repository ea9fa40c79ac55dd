"""Locks: between processes, released by a killed one."""

import subprocess
import sys

import pytest
from conftest import ROOT

from fisher_al.errors import UserError
from fisher_al.files.locks import BusyError, hold, hold_all, is_held, sole_writer

HOLDER = "import sys, time; from pathlib import Path; from fisher_al.files.locks import hold\n"
HOLDER += "with hold(Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"
WAITER = "import sys; from pathlib import Path; from fisher_al.files.locks import sole_writer\n"
WAITER += "print('asks', flush=True)\nwith sole_writer([Path(sys.argv[1])]): pass"


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


def test_who_draws_a_figure_waits_for_others_and_removes_what_killed_ones_left(tmp_path):
    path = tmp_path / "figures" / "x.png"
    left, of_others = (path.with_name(f".{stem}.0123456789ab.tmp.png") for stem in ("x", "y"))
    with sole_writer([path, path.with_suffix(".pdf")]):
        for temporary in (left, of_others):
            temporary.touch()
        waiting = [sys.executable, "-c", WAITER, path]
        waiter = subprocess.Popen(waiting, cwd=ROOT, stdout=subprocess.PIPE)
        assert waiter.stdout.readline() == b"asks\n"
        with pytest.raises(subprocess.TimeoutExpired):
            waiter.wait(0.5)
        assert left.exists()
    assert waiter.wait(20) == 0
    assert list(path.parent.iterdir()) == [of_others]


def test_where_no_file_can_be_written_nothing_is_held(tmp_path):
    (tmp_path / "file").write_text("in the way of a folder")
    with sole_writer([tmp_path / "file" / "x.png"]):
        pass
