"""A small campaign of digits to break and to mend, and what it has to end with."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from conftest import ROOT, Outcome, call

from fisher_al.experiment import parse_method
from fisher_al.files.layout import Layout
from fisher_al.files.run_log import read
from fisher_al.files.storage import load_tensors
from fisher_al.training.checkpoints import load_checkpoint
from mnist.experiment import DIGITS

METHODS = ("random", "varMC", "none/20", "gradFmap/80")
ITERATIONS, BUDGET = 3, 15
COMMON = ("--dataset", "DIGITS", "--run-stop", 1)
INITIAL = (*COMMON, "--initial", "--epochs", 1)
SIZE = ("--iterations", ITERATIONS, "--augment-size", BUDGET, "--epochs", 2, "-smp", 4)
CHAINS = (*COMMON, "--methods", *METHODS, *SIZE)

# One thread, as another number may round differently.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(ROOT)}
HERE = Path(__file__).parent


@dataclass
class Campaign:
    """The folder of a campaign, and the results of the same campaign that nothing happened to."""

    folder: Path
    reference: dict[str, object]

    @property
    def layout(self) -> Layout:
        return Layout(self.folder / "DIGITS", "run0", 10.0)

    def index_list(self, token: str, batch: int) -> Path:
        return self.layout.index_list(parse_method(token, DIGITS), batch, batch * BUDGET)

    def checkpoint(self, token: str, batch: int) -> Path:
        return self.layout.best_checkpoint(parse_method(token, DIGITS), batch, batch * BUDGET)

    def call(self, *extra: object, options=CHAINS) -> Outcome:
        """run.py in this process."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return call("run.py", *options, "--datadir", self.folder, *extra)
        finally:
            torch.set_num_threads(threads)

    def start(self, *extra: object, options=CHAINS, prefix=(), **settings) -> subprocess.Popen:
        """run.py as a process of its own, in a process group of its own."""
        command = [sys.executable, *prefix, "run.py", *options, "--datadir", self.folder, *extra]
        return subprocess.Popen(
            list(map(str, command)),
            cwd=ROOT / "mnist",
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **settings,
        )

    def run_to_end(self, options) -> str:
        """run.py as a process of its own; what it printed."""
        process = self.start(options=options)
        output, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
        return output

    def wait_for_checkpoints(self, count: int, process: subprocess.Popen) -> None:
        while len(list(self.folder.rglob("best_*.pt"))) < count and process.poll() is None:
            time.sleep(0.01)

    def kill(self, moment: str, rng: random.Random) -> bool:
        """Run on, and die at the moment; False if the work was through before that came."""
        initial = len(list(self.folder.rglob("init_*.pt"))) < 2
        counts = {"training": 4, "before a rename": 5, "after a rename": 5, "writing tensors": 4}
        prefix = (HERE / "killed.py", moment, rng.randint(1, counts.get(moment, 2)), rng.random() / 2)
        process = self.start(options=INITIAL if initial else CHAINS, prefix=prefix)
        _, errors = process.communicate(timeout=300)
        assert process.returncode in (0, -signal.SIGKILL), errors
        return process.returncode != 0

    def results(self) -> dict[str, object]:
        """Every index list and every recorded accuracy, by file."""
        run = self.folder / "DIGITS" / "run0"
        lists = {path.name: np.load(path).tolist() for path in run.glob("[!.]*.npy")}
        contents = {path.name: load_checkpoint(path, "") for path in run.glob("checkpoint/[!.]*.pt")}
        return lists | {name: [c["acc"], c.get("acc_last"), c.get("acc_val")] for name, c in contents.items()}

    def lost(self) -> int:
        """How many index lists and accuracies are missing or differ from the reference."""
        found = self.results()
        return sum(found.get(name) != value for name, value in self.reference["results"].items())

    def require_whole_files(self) -> None:
        """Assert that whatever carries its final name is whole."""
        for path in self.folder.rglob("*.pt"):
            if ".tmp" not in path.name:
                load_tensors(path, "")
        for path in self.folder.rglob("index_list_*.npy"):
            np.load(path)

    def require_survival(self) -> None:
        """Assert that the campaign, run to its end, is as if nothing had happened to it."""
        assert self.call(options=INITIAL).code == 0
        outcome = self.call()
        assert outcome.code == 0, outcome.err
        assert self.lost() == 0
        assert self.results() == self.reference["results"]
        assert table_of(outcome.out) == self.reference["table"]
        assert [path for path in self.folder.rglob(".*") if ".tmp" in path.name or path.is_dir()] == []

    def stages_done(self) -> list[tuple]:
        """What the logs say was done: log, stage, batch."""
        logs = sorted(self.folder.rglob("*_aug_*.jsonl"))
        entries = [(log, entry) for log in logs for entry in read(log) if "seconds" in entry]
        return [(log.stem, entry["event"], entry.get("batch")) for log, entry in entries]

    def copy(self, folder: Path) -> "Campaign":
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        return Campaign(folder, self.reference)

    def clear(self) -> None:
        shutil.rmtree(self.folder)
        self.folder.mkdir()


def table_of(output: str) -> str:
    """The results that run.py printed at its end."""
    return output.partition("DIGITS, ir 10")[2]


def prepare_campaign(folder: Path) -> Campaign:
    """Initial models in a folder of `folder`, and the results of the campaign without any fault."""
    begun = Campaign(folder / "begun", {})
    begun.run_to_end(INITIAL)
    whole = begun.copy(folder / "whole")
    output = whole.run_to_end(CHAINS)
    begun.reference.update(results=whole.results(), table=table_of(output))
    return begun


def some_iterations(campaign: Campaign, rng: random.Random, up_to: int = ITERATIONS) -> tuple[str, int]:
    """Some iterations of all chains; a method, and how many its chain has."""
    batch = rng.randint(1, up_to)
    assert campaign.call("--iterations", batch).code == 0
    return rng.choice(METHODS), batch


def require_refusal(outcome: Outcome, pattern: str) -> None:
    """Assert that run.py ended with one line that matches, and exit code 2."""
    assert outcome.code == 2, outcome.err
    last_line = outcome.err.strip().splitlines()[-1]
    assert "Traceback" not in outcome.err
    assert last_line.startswith("error: ")
    assert re.search(pattern, last_line), outcome.err
