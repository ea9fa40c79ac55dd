"""What scripts say where it cannot be said: closed pipes, full devices, terminals of few letters."""

import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT


def run_py(*arguments, script="run.py", stdout=subprocess.PIPE, **environment):
    """A script, on a terminal whose encoding takes nothing but text."""
    return subprocess.run(
        [sys.executable, script, *map(os.fsencode, arguments)],
        cwd=ROOT / "mnist",
        env={**os.environ, "PYTHONIOENCODING": "utf-8:strict", **environment},
        stdout=stdout,
        stderr=subprocess.PIPE,
        timeout=120,
    )


def status(folder):
    return "--dataset", "DIGITS", "--datadir", str(folder), "--status"


def test_a_closed_pipe_is_quiet(tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    done = run_py(*status(tmp_path), stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_device_is_told(tmp_path):
    with open("/dev/full", "wb") as full:
        done = run_py(*status(tmp_path), stdout=full)
    assert (done.returncode, done.stderr) == (2, b"error: output: No space left on device\n")


def test_a_terminal_without_plus_minus(digits_folder):
    path = str(ROOT / "images" / "mnist-fig2.json")
    arguments = ("--figure", "fig2", "--data", path, "--out", str(digits_folder / "few letters"))
    done = run_py(*arguments, script="run_plot.py", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert re.search(rb"\d\\xb1\d", done.stdout)


@pytest.mark.parametrize(
    ("option", "folder", "told"),
    [
        ("-r", b"", rb"-r/--run-folder: '\\udcff' is not the name of a folder"),
        ("--save-folder", b"nowhere/", rb"\\udcff[^\n]*not found; run run.py --initial first"),
        ("--datadir", b"nowhere/", rb"\\udcff[^\n]*not found; run run.py --initial first"),
    ],
)
def test_names_that_are_no_text_are_refused_or_used(tmp_path, option, folder, told):
    where = ("--dataset", "DIGITS", "--datadir", str(tmp_path))
    done = run_py(*where, option, folder + b"\xff", script="gen_descr.py")
    assert done.returncode == 2
    assert re.match(rb"error: [^\n]*" + told, done.stderr), done.stderr
    assert done.stderr.count(b"\n") == 1
    assert not list(tmp_path.iterdir())


def test_figures_go_to_a_folder_whose_name_is_no_text(tmp_path):
    path, out = str(ROOT / "images" / "mnist-fig2.json"), os.fsencode(tmp_path) + b"/\xff"
    done = run_py("--figure", "fig2", "--data", path, "--out", out, script="run_plot.py")
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(out)) == [b"mnist-fig2.csv", b"mnist-fig2.pdf", b"mnist-fig2.png"]
