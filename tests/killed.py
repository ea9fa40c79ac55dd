"""Run a script that ends itself by SIGKILL at a chosen moment of its work.

    python3 killed.py MOMENT COUNT SHARE script.py ...

The process dies when MOMENT comes for the COUNT-th time; where bytes are being written, after SHARE of them;
at the moment `time`, SHARE x 10 seconds after the work began.
"""

import io
import os
import runpy
import signal
import sys
import threading

import numpy as np
import torch

from fisher_al.files import locks, run_log
from fisher_al.running import tasks
from fisher_al.training import fit

MOMENTS = (
    *("writing tensors", "writing indices", "writing the log", "before a rename", "after a rename"),
    *("descriptors", "picks and training", "training", "time"),
)


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


class Countdown:
    """Calls `die(*arguments)` the COUNT-th time that it is called."""

    def __init__(self, count):
        self.left = count

    def __call__(self, then=die):
        self.left -= 1
        if self.left == 0:
            then()


def arm(moment, count, share):
    countdown = Countdown(count)

    def before(module, name, also_after=False):
        original = getattr(module, name)

        def replacement(*arguments, **options):
            if not also_after:
                countdown()
            result = original(*arguments, **options)
            if also_after:
                countdown()
            return result

        setattr(module, name, replacement)

    def half_written(module, name, find_file):
        original = getattr(module, name)

        def replacement(*arguments, **options):
            def write_a_part():
                file, content = find_file(*arguments), io.BytesIO()
                original(*(content if argument is file else argument for argument in arguments), **options)
                if not hasattr(file, "write"):
                    file = open(file, "wb")  # noqa: SIM115 - this process has no later
                file.write(content.getvalue()[: int(share * len(content.getvalue()))])
                file.flush()
                die()

            countdown(write_a_part)
            return original(*arguments, **options)

        setattr(module, name, replacement)

    def half_a_line(path, event, **facts):
        def write_a_part():
            with open(path, "ab") as file:
                file.write(
                    b'{"time": "2020-01-01T00:00:00+00:00", "event": "unsup", "acc": 1'[: int(60 * share)]
                )
            die()

        countdown(write_a_part)

    if moment == "writing tensors":
        half_written(torch, "save", lambda content, file: file)
    elif moment == "writing indices":
        half_written(np, "save", lambda path, content: path)
    elif moment == "writing the log":
        original = run_log.append
        run_log.append = lambda *a, **facts: (half_a_line(*a, **facts), original(*a, **facts))
    elif moment in ("before a rename", "after a rename"):
        before(os, "replace", also_after=moment.startswith("after"))
    elif moment == "descriptors":
        before(tasks, "gen_descr")
    elif moment == "picks and training":
        before(tasks, "main_descr")
    elif moment == "training":
        before(fit.EpochSelection, "consider")
    else:

        def timed(path):
            threading.Timer(10 * share, die).start()
            tasks.hold = locks.hold
            return locks.hold(path)

        tasks.hold = timed


if __name__ == "__main__":
    moment, count, share, script, *arguments = sys.argv[1:]
    assert moment in MOMENTS
    arm(moment, int(count), float(share))
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name="__main__")
