"""Runs x methods x iterations: plan them, skip what is done, run chains one by one or side by side."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch
from tqdm import tqdm

from fisher_al.checkpoints import load_checkpoint, require_settings
from fisher_al.data import load_split, prepare_pool
from fisher_al.experiment import Experiment, Schedule
from fisher_al.layout import Layout
from fisher_al.stages.chain import Chain
from fisher_al.stages.gen_descr import gen_descr
from fisher_al.stages.main_descr import main_descr, require_budget
from fisher_al.stages.unsup import initial_settings, unsup

OnProgress = Callable[[str], None]


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
        kind = "pretrained" if self.layout.pretrained else "random weights"
        return f"{self.layout.run} {kind}"

    @property
    def total(self) -> int:
        return 1

    @property
    def done(self) -> int:
        return int(self.layout.initial_checkpoint(self.member).is_file())

    def prepare(self) -> None:
        """Make the pool, and see that a checkpoint that stands already was made alike."""
        prepare_pool(self.experiment, self.layout, self.seed)
        if self.done:
            path = self.layout.initial_checkpoint(self.member)
            require_settings(path, initial_settings(self.layout, self.schedule, self.seed))

    def run(self, on_progress: OnProgress) -> None:
        def on_epoch(epoch: int, accuracy: float) -> None:
            on_progress(f"{self.name}: epoch {epoch}, rotations {accuracy:.1f}%")

        unsup(self.experiment, self.layout, self.member, self.schedule, self.seed, self.device, on_epoch)


@dataclass(frozen=True)
class ChainTask:
    """One chain to carry through to its last iteration."""

    chain: Chain

    @property
    def name(self) -> str:
        return self.chain.name

    @property
    def total(self) -> int:
        return self.chain.iterations

    @property
    def done(self) -> int:
        """How many iterations are complete on disk."""
        batch = 0
        while batch < self.chain.iterations and all(path.is_file() for path in self._files(batch + 1)):
            batch += 1
        return batch

    def _files(self, batch: int) -> list[Path]:
        layout, method, size = self.chain.layout, self.chain.method, batch * self.chain.budget
        checkpoints = [layout.best_checkpoint(method, batch, size, member) for member in self.chain.members]
        return [layout.index_list(method, batch, size), *checkpoints]

    def prepare(self) -> None:
        """Make the pool, and see that what the chain continues from is there and was made alike."""
        chain = self.chain
        prepare_pool(chain.experiment, chain.layout, chain.seed)
        _, labels = load_split(chain.layout.pool(), mmap=True)
        require_budget(chain, len(labels), chain.iterations)
        for member in chain.members:
            path = chain.layout.initial_checkpoint(member)
            load_checkpoint(path, chain.initial_advice)
            require_settings(path, {"seed": chain.seed})
        for batch in range(1, self.done + 1):
            for path in self._files(batch)[1:]:
                require_settings(path, chain.settings)

    def run(self, on_progress: OnProgress) -> None:
        for batch in range(self.done, self.chain.iterations):

            def on_epoch(epoch: int, accuracy: float, batch: int = batch) -> None:
                on_progress(f"{self.name}: b={batch + 1}, epoch {epoch}, {accuracy:.1f}%")

            on_progress(f"{self.name}: b={batch + 1}, descriptors")
            for member in self.chain.members:
                gen_descr(self.chain, batch, member)
            for member in self.chain.members:
                main_descr(self.chain, batch, member, on_epoch)


Task = InitialModel | ChainTask


def run_tasks(tasks: Sequence[Task], jobs: int, unit: str) -> list[tuple[Task, Exception]]:
    """Run the tasks that are not complete, `jobs` processes side by side, with one progress bar.

    A task that fails does not stop the others; the failed ones come back with their errors.
    """
    todo = [task for task in tasks if task.done < task.total]
    with tqdm(total=sum(task.total for task in tasks), unit=unit, dynamic_ncols=True) as bar:

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
            failed.append((task, error))
    return failed


def _run_side_by_side(
    todo: Sequence[Task], on_progress: OnProgress, jobs: int
) -> list[tuple[Task, Exception]]:
    # spawn: a forked process would inherit torch's threads in an undefined state
    with ProcessPoolExecutor(
        jobs, mp_context=get_context("spawn"), initializer=_use_threads, initargs=(jobs,)
    ) as executor:
        futures: dict[Future, Task] = {executor.submit(_run_quietly, task): task for task in todo}
        pending = set(futures)
        try:
            while pending:
                _, pending = wait(pending, timeout=1, return_when=FIRST_COMPLETED)
                on_progress(f"{jobs} side by side")
        except KeyboardInterrupt:
            executor.shutdown(wait=False, cancel_futures=True)
            raise
    return [(task, future.exception()) for future, task in futures.items() if future.exception()]


def _use_threads(jobs: int) -> None:
    torch.set_num_threads(max(1, available_cores() // jobs))


def _run_quietly(task: Task) -> None:
    task.run(lambda text: None)


def available_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
