"""Scripts that die by SIGKILL again and again, and are called again until their work is done."""

import hashlib
import os
import random
import runpy
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

import killed
import torch
from conftest import ROOT

from fisher_al.files.storage import load_tensors

TIME = "time"
MOMENTS = (TIME, *(moment for moment in killed.MOMENTS if moment.startswith(("writing", "before", "after"))))

# One thread, as another number may round differently; no date in a PDF.
os.environ.update(OMP_NUM_THREADS="1", SOURCE_DATE_EPOCH="0", PYTHONPATH=str(ROOT))
torch.set_num_threads(1)

Command = tuple[object, ...]
FOLDER = "<folder>"  # in a command, where the work is done

# Forked, a script finds imported what takes seconds to import: kills meet its work.
forked = get_context("fork")


@dataclass(frozen=True)
class Work:
    """Commands of the scripts in `where`, one after the other, each a script and its options.

    prepare : makes, in a folder, what they start from. damage : breaks some of that before every series.
    kills : how many of a thousand. moments : to be killed at. alone : whether one process does it all.
    """

    name: str
    where: str
    commands: tuple[Command, ...]
    kills: int
    prepare: Callable[[Path], None] = lambda folder: None
    damage: Callable[[Path, random.Random], None] = lambda folder, rng: None
    moments: tuple[str, ...] = MOMENTS
    alone: bool = True


def start(where: str, command: Command, folder: Path, *kill: object) -> BaseProcess:
    """A command as a process; with `kill`, the arguments of `killed.arm`, it dies at that moment."""
    process = forked.Process(target=_become, args=(where, command, folder, kill))
    process.start()
    return process


def _become(where: str, command: Command, folder: Path, kill: tuple) -> None:
    os.setsid()
    output = os.open(folder.with_suffix(".out"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(ROOT / where)
    if kill:
        killed.arm(*kill)
    script, *options = map(str, (*command, "--datadir", FOLDER))
    sys.argv = [script, *(option.replace(FOLDER, str(folder)) for option in options)]
    runpy.run_path(script, run_name="__main__")


def run_to_end(where: str, command: Command, folder: Path) -> float:
    """Seconds that a command takes."""
    process, begin = start(where, command, folder), time.monotonic()
    process.join()
    assert process.exitcode == 0, folder.with_suffix(".out").read_text()
    return time.monotonic() - begin


def contents(folder: Path) -> dict[str, str]:
    """Checksum of every file but logs, locks and temporaries."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in (".jsonl", ".lock") and not path.name.startswith(".")
    }


def logs(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*.jsonl")}


@dataclass
class Rehearsal:
    """A work that nothing happened to: what it has to end with, and all that its files may hold meanwhile."""

    work: Work
    folder: Path
    versions: dict[str, set[str]] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._begun = self.folder.with_suffix(".begun")
        self._begun.mkdir(parents=True)
        self.work.prepare(self._begun)
        self._begin()
        for command in self.work.commands:
            self.seconds.append(run_to_end(self.work.where, command, self.folder))
            self._allow(contents(self.folder))
        self.reference = contents(self.folder)

    def _begin(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self._begun, self.folder)

    def _allow(self, found: dict[str, str]) -> None:
        for name, checksum in found.items():
            self.versions.setdefault(name, set()).add(checksum)

    def lost(self) -> int:
        """How many files are missing or different at the end."""
        found = contents(self.folder)
        return sum(found.get(name) != checksum for name, checksum in self.reference.items())

    def series(self, rng: random.Random, most: int) -> int:
        """Do the work from its beginning while it is killed, up to `most` times; how often it was.

        Raises: AssertionError if it does not survive.
        """
        self._begin()
        self.work.damage(self.folder, rng)
        self._allow(contents(self.folder))
        kills = 0
        for command, seconds in zip(self.work.commands, self.seconds, strict=True):
            while kills < most and self._killed(command, seconds, rng):
                kills += 1
            if kills == most:
                run_to_end(self.work.where, command, self.folder)
        assert self.lost() == 0
        assert contents(self.folder) == self.reference
        assert list(self.folder.rglob(".*.tmp*")) == []
        return kills

    def _killed(self, command: Command, seconds: float, rng: random.Random) -> bool:
        """Let a command go on, and kill it; False if it was through before."""
        before, noted = contents(self.folder), logs(self.folder)
        moment, count, share = rng.choice(self.work.moments), rng.randint(1, 5), rng.random()
        kill = () if moment == TIME else (moment, count, share)
        process = start(self.work.where, command, self.folder, *kill)
        if moment == TIME:
            # early ones are as good and cost less, but processes of their own first import for seconds
            process.join(max(seconds, 1) * (share**2 if self.work.alone else 0.4 + 0.6 * share))
            if process.is_alive():
                family = _family(process.pid)
                os.kill(process.pid if self.work.alone else rng.choice(family), signal.SIGKILL)
                _require_end(family)
        process.join()
        output = self.folder.with_suffix(".out").read_text()
        died = (-signal.SIGKILL,) if self.work.alone else (-signal.SIGKILL, 1)
        assert process.exitcode in (0, *died), output
        self._require_whole(before, noted)
        return process.exitcode != 0

    def _require_whole(self, before: dict[str, str], noted: dict[Path, bytes]) -> None:
        """Assert that every file is whole, and that what was there is there."""
        found = contents(self.folder)
        for name, checksum in found.items():
            if checksum not in self.versions.get(name, ()):
                assert "/descr/" in name, name  # which every iteration makes anew
                load_tensors(self.folder / name, "")
        gone = before.keys() - found.keys()
        assert not gone or "--repair" in self.work.commands[0], gone
        assert all(path.read_bytes().startswith(content) for path, content in noted.items())


def _require_end(pids: list[int]) -> None:
    """Assert that processes end, within the time that PyTorch's workers need to notice."""
    deadline = time.monotonic() + 20
    while any(map(_lives, pids)):
        assert time.monotonic() < deadline, "processes left behind"
        time.sleep(0.01)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _family(parent: int) -> list[int]:
    """A process and its children."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text()
    return [parent, *map(int, children.split())]
