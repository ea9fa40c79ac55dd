"""Runs x methods x iterations: plan them, skip what is done, run chains one by one or side by side."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from multiprocessing import active_children, get_context
from pathlib import Path

import torch
from tqdm import tqdm

from fisher_al.checkpoints import require_settings
from fisher_al.data import pool_size, prepare_pool
from fisher_al.distributed import is_main, process_count
from fisher_al.experiment import Experiment, Schedule
from fisher_al.layout import Layout
from fisher_al.memory import keep_freed_memory
from fisher_al.stages.chain import Chain
from fisher_al.stages.gen_descr import gen_descr
from fisher_al.stages.main_descr import main_descr_side_by_side, require_budget
from fisher_al.stages.unsup import initial_settings, unsup

OnProgress = Callable[[str], None]

PR_SET_PDEATHSIG = 1  # of Linux's prctl(2)


@dataclass(frozen=True)
class InitialModel:
    """One initial model to make: of one run, pool and ensemble member, pretrained or not."""

    experiment: Experiment
    layout: Layout
    member: int
    schedule: Schedule
    seed: int
    device: str

    @property
    def name(self) -> str:
        return f"{self.layout.name} member {self.member}"

    @property
    def kind(self) -> str:
        """What the plan calls it."""
        ensemble = f" E={self.layout.ensemble_size}" if self.layout.ensemble_size > 1 else ""
        return ("pretrained" if self.layout.pretrained else "random weights") + ensemble

    @property
    def size(self) -> int:
        return 1

    @property
    def total(self) -> int:
        return 1

    @property
    def done(self) -> int:
        return int(self.layout.initial_checkpoint(self.member).is_file())

    def prepare(self) -> None:
        """Make the pool, and see that a checkpoint that stands already was made alike."""
        prepare_pool(self.experiment, self.layout, self.seed, verify=True)
        if self.done:
            path = self.layout.initial_checkpoint(self.member)
            settings = initial_settings(self.experiment, self.layout, self.schedule, self.seed)
            require_settings(path, settings, "run the command again")

    def run(self, on_progress: OnProgress) -> None:
        def on_epoch(epoch: int, accuracy: float) -> None:
            on_progress(f"{self.name} {self.kind}: epoch {epoch}, rotations {accuracy:.1f}%")

        unsup(self.experiment, self.layout, self.member, self.schedule, self.seed, self.device, on_epoch)


@dataclass(frozen=True)
class ChainTask:
    """Chains to carry through to their last iteration: one, or the same one in several runs.

    Up to `replicas` networks, of different runs or members of an ensemble, are trained side by side.
    """

    chains: tuple[Chain, ...]
    replicas: int = 1

    @property
    def name(self) -> str:
        others = f" and {len(self.chains) - 1} more runs" if len(self.chains) > 1 else ""
        return self.chains[0].name + others

    @property
    def layout(self) -> Layout:
        return self.chains[0].layout

    @property
    def kind(self) -> str:
        """What the plan calls it."""
        return self.chains[0].kind

    @property
    def size(self) -> int:
        return len(self.chains)

    @property
    def total(self) -> int:
        return sum(chain.iterations for chain in self.chains)

    @property
    def done(self) -> int:
        """How many iterations are complete on disk."""
        return sum(map(_iterations_done, self.chains))

    def prepare(self) -> None:
        """See that what the chains continue from is there and was made alike, and make the pools."""
        for chain in self.chains:
            _prepare(chain)

    def run(self, on_progress: OnProgress) -> None:
        for batch in range(self.chains[0].iterations):
            ready = [chain for chain in self.chains if _iterations_done(chain) == batch]
            learners = [(chain, member) for chain in ready for member in chain.members]

            def on_epoch(epoch: int, accuracy: float, batch: int = batch) -> None:
                on_progress(f"{self.name}: b={batch + 1}, epoch {epoch}, {accuracy:.1f}%")

            for chain, member in learners:
                on_progress(f"{chain.name}: b={batch + 1}, descriptors")
                gen_descr(chain, batch, member)
            for start in range(0, len(learners), self.replicas):
                main_descr_side_by_side(learners[start : start + self.replicas], batch, on_epoch)


def _iterations_done(chain: Chain) -> int:
    batch = 0
    while batch < chain.iterations and all(path.is_file() for path in _files(chain, batch + 1)):
        batch += 1
    return batch


def _files(chain: Chain, batch: int) -> list[Path]:
    index_list = chain.layout.index_list(chain.method, batch, batch * chain.budget)
    return [index_list, *(chain.model_path(batch, member) for member in chain.members)]


def _prepare(chain: Chain) -> None:
    for member in chain.members:
        require_settings(chain.model_path(0, member), {"seed": chain.seed}, chain.initial_advice)
    for batch in range(1, chain.iterations + 1):
        for member in chain.members:
            path = chain.model_path(batch, member)
            if path.is_file():
                require_settings(path, chain.settings, "run the command again")
    prepare_pool(chain.experiment, chain.layout, chain.seed)
    require_budget(chain, pool_size(chain.experiment, chain.layout), chain.iterations)


Task = InitialModel | ChainTask


def run_tasks(tasks: Sequence[Task], jobs: int, unit: str) -> list[tuple[Task, Exception]]:
    """Run the tasks that are not complete, `jobs` processes side by side, with one progress bar.

    A task that fails does not stop the others; the failed ones come back with their errors.
    """
    todo = [task for task in tasks if task.done < task.total]
    total = sum(task.total for task in tasks)
    with tqdm(total=total, unit=unit, dynamic_ncols=True, miniters=0, disable=not is_main()) as bar:

        def on_progress(text: str = "") -> None:
            bar.set_postfix_str(text, refresh=False)
            bar.update(sum(task.done for task in tasks) - bar.n)  # the files tell how far each task is

        bar.initial = bar.n = sum(task.done for task in tasks)
        run = _run_in_turn if jobs == 1 else partial(_run_side_by_side, jobs=jobs)
        failed = run(todo, on_progress)
        on_progress()
    return failed


def _run_in_turn(todo: Sequence[Task], on_progress: OnProgress) -> list[tuple[Task, Exception]]:
    failed = []
    for task in todo:
        try:
            task.run(on_progress)
        except Exception as error:
            if process_count() > 1:  # the other processes are in the middle of this task
                raise
            failed.append((task, error))
    return failed


def _run_side_by_side(
    todo: Sequence[Task], on_progress: OnProgress, jobs: int
) -> list[tuple[Task, Exception]]:
    threads = max(1, torch.get_num_threads() // jobs)
    # spawn: a forked process would inherit torch's threads in an undefined state
    executor = ProcessPoolExecutor(
        jobs, mp_context=get_context("spawn"), initializer=_start_worker, initargs=(threads, os.getpid())
    )
    futures: dict[Future, Task] = {executor.submit(_run_quietly, task): task for task in todo}
    pending = set(futures)
    try:
        while pending:
            _, pending = wait(pending, timeout=1, return_when=FIRST_COMPLETED)
            on_progress(f"{jobs} side by side")
    except KeyboardInterrupt:
        executor.shutdown(wait=False, cancel_futures=True)
        for worker in active_children():
            worker.terminate()
        raise
    executor.shutdown()
    return [(task, future.exception()) for future, task in futures.items() if future.exception()]


def _start_worker(threads: int, parent: int) -> None:
    keep_freed_memory()
    _end_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends the workers
    torch.set_num_threads(threads)


def _end_with_parent(parent: int) -> None:
    """Where it is Linux, have the system end this process with its parent, however that ends.

    A worker left behind would go on writing the files of a chain that the next run.py takes up.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it was gone before that
        os.kill(os.getpid(), signal.SIGTERM)


def _run_quietly(task: Task) -> None:
    task.run(lambda text: None)
