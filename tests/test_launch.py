"""Several processes of one machine: how they are started, fail and are ended."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT

# Starts itself as two processes: the main one waits for the other, which does what the argument says.
PROGRAM = """
import os, sys, time
import torch.distributed as dist
from fisher_al.commands.scripts import run_script
from fisher_al.distributed import process_count, process_rank
from fisher_al.errors import UserError
from fisher_al.running.launcher import launch

def main(arguments):
    if process_count() == 1:
        return launch(2, [sys.executable, *sys.argv])
    pids = [None] * 2
    dist.all_gather_object(pids, os.getpid())
    print(*pids, flush=True)
    if process_rank() == 1:
        exec(arguments[0])
    dist.barrier()

run_script(main)
"""


def start(folder, other_does):
    """Start the program, as with nohup."""
    (folder / "program.py").write_text(PROGRAM)

    def set_signals():
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # what a shell starts in the background ignores it
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    return subprocess.Popen(
        [sys.executable, folder / "program.py", other_does],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=set_signals,
    )


def told(errors):
    """The lines on stderr, but for what torch says where no name server can be reached."""
    return [line for line in errors.splitlines() if "hostname of the client socket" not in line]


@pytest.mark.parametrize(
    ("other_does", "code", "message"),
    [
        ("pass", 0, []),
        ("raise UserError('no such file')", 2, ["error: no such file"]),
        ("os.kill(os.getpid(), 9)", 1, ["error: process 1 was ended by signal 9"]),
        ("os._exit(3)", 3, ["error: process 1 was ended with exit code 3"]),
    ],
)
def test_what_ends_one_process_ends_the_other_and_is_told_once(other_does, code, message, tmp_path):
    process = start(tmp_path, other_does)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == code
    assert told(errors) == message
    assert output.count("\n") == 1  # the main process alone has output


def test_ctrl_c_ends_all_and_a_lost_terminal_does_not_under_nohup(tmp_path):
    process = start(tmp_path, "time.sleep(600)")
    pids = [int(word) for word in process.stdout.readline().split()]
    os.killpg(process.pid, signal.SIGHUP)
    time.sleep(1)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert told(errors) == ["interrupted: run the same command again to go on"]
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_no_process_outlives_the_one_that_started_it(tmp_path):
    process = start(tmp_path, "time.sleep(600)")
    pids = [int(word) for word in process.stdout.readline().split()]
    process.kill()
    process.communicate(timeout=20)
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)
