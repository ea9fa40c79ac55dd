"""Carry out many tasks: in turn, side by side in processes, or on a cluster; skip what is done."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context
from pickle import PicklingError
from typing import Protocol

import torch
from tqdm import tqdm

from fisher_al.distributed import end_with_parent, is_main
from fisher_al.errors import UserError, reason_of
from fisher_al.memory import keep_freed_memory
from fisher_al.running.tasks import OnProgress, Outcome, Task, attempt

# Seconds until a task that another process works on is tried again, and between counts of what is done;
# and until workers told to end are killed.
PAUSE, GRACE = 1, 3

KILLED = "its process was killed twice, alone the second time: perhaps for memory; "
KILLED += "give it more, or a smaller --gen-batch-size"

# What sending a task raises; what goes wrong in a task comes back as an outcome.
CANNOT_BE_SENT = (PicklingError, AttributeError, TypeError)
STAY_HERE = "define readers and networks at the top of a module, or give --jobs 1"

Failures = list[tuple[Task, Outcome]]


def prepare(tasks: Sequence[Task]) -> tuple[list[Task], Failures]:
    """Check what the tasks start from, and make the data that is missing.

    Returns: the tasks that can be done, and those that cannot, with the reasons.
    Raises: UserError if the dataset, which all share, cannot be made.
    """
    failed: Failures = []

    def passing(tasks: Sequence[Task], step: Callable[[Task], None]) -> list[Task]:
        passed = []
        for task in tasks:
            try:
                step(task)
                passed.append(task)
            except UserError as error:
                failed.append((task, Outcome(error=str(error), refused=True)))
        return passed

    sound = passing(tasks, lambda task: task.check())
    if sound:
        sound[0].work.experiment.source.prepare_splits(sound[0].work.layout)
    return passing(sound, lambda task: task.prepare()), failed


class Workers(Protocol):
    """Where tasks are carried out, `slots` of them at a time.

    The future of `submit` raises BrokenProcessPool if a process was killed: then there is only one slot left.
    """

    slots: int
    description: str

    def submit(self, task: Task) -> Future[Outcome]: ...

    def stop(self, now: bool) -> None:
        """End the processes, at once if told so."""


class InTurn:
    """Carries out a task in this process when it is submitted."""

    slots, description = 1, ""

    def __init__(self, on_progress: OnProgress):
        self._on_progress = on_progress

    def submit(self, task: Task) -> Future[Outcome]:
        future: Future[Outcome] = Future()
        future.set_result(attempt(task, self._on_progress))
        return future

    def stop(self, now: bool) -> None:
        pass


class Processes:
    """Carries out tasks in processes of this machine, which share its cores."""

    def __init__(self, jobs: int):
        self._threads = max(1, torch.get_num_threads() // jobs)
        self._start(jobs)

    def _start(self, slots: int) -> None:
        self.slots, self.description = slots, f"{slots} side by side"
        # spawn: a forked process would inherit torch's threads in an undefined state
        self._executor = ProcessPoolExecutor(
            slots,
            mp_context=get_context("spawn"),
            initializer=_start_worker,
            initargs=(self._threads, os.getpid()),
        )

    def submit(self, task: Task) -> Future[Outcome]:
        try:
            return self._executor.submit(_attempt_quietly, task)
        except BrokenProcessPool:
            self._executor.shutdown()
            self._start(1)
            return self._executor.submit(_attempt_quietly, task)

    def stop(self, now: bool) -> None:
        self._executor.shutdown(wait=not now, cancel_futures=now)
        if now:
            workers = active_children()
            for worker in workers:
                worker.terminate()
            deadline = time.monotonic() + GRACE
            for worker in workers:
                worker.join(max(0, deadline - time.monotonic()))
                worker.kill()


def run_tasks(tasks: Sequence[Task], jobs: int, unit: str, cluster: Workers | None = None) -> Failures:
    """Carry out the tasks that are not complete, with one progress bar: `jobs` at a time, or on a cluster.

    A task that fails does not stop the others; the failed ones come back with their outcomes. A task on which
    another process works is taken up when that one is through with it.
    """
    todo = [task for task in tasks if task.done < task.total]
    if not todo:
        return []
    total = sum(task.total for task in tasks)
    # smoothed, the pace of a unit would be that of the last look at the files
    with tqdm(
        total=total, unit=unit, dynamic_ncols=True, miniters=0, smoothing=0, disable=not is_main()
    ) as bar:

        def count() -> int:
            return sum(task.done for task in tasks)  # as the files tell

        bar.initial = bar.n = count()
        counted = time.monotonic()

        def on_progress(text: str) -> None:
            nonlocal counted
            bar.set_postfix_str(text, refresh=False)
            if time.monotonic() - counted > PAUSE:
                bar.update(count() - bar.n)
                counted = time.monotonic()
            else:
                bar.update(0)  # shows the text

        workers = cluster or (InTurn(on_progress) if jobs == 1 else Processes(jobs))
        try:
            failed = _run(todo, workers, on_progress)
        except BaseException:
            workers.stop(now=True)
            raise
        workers.stop(now=False)
        bar.set_postfix_str("", refresh=False)
        bar.update(count() - bar.n)
    return failed


def _run(todo: Sequence[Task], workers: Workers, on_progress: OnProgress) -> Failures:
    waiting: deque[Task] = deque(todo)
    failed: Failures = []
    busy: list[Task] = []
    killed_once: list[Task] = []
    running: dict[Future[Outcome], Task] = {}
    last_try = time.monotonic()
    while waiting or busy or running:
        if busy and time.monotonic() - last_try > PAUSE:
            waiting.extend(busy)
            busy, last_try = [], time.monotonic()
        while waiting and len(running) < workers.slots:
            task = waiting.popleft()
            running[workers.submit(task)] = task
        if not running:
            on_progress(f"another process works on {busy[0].name}: waiting")
            time.sleep(PAUSE)
            continue
        done, _ = wait(running, timeout=PAUSE, return_when=FIRST_COMPLETED)
        killed = []
        for future in done:
            task, outcome = running.pop(future), _outcome(future)
            if outcome is None:
                killed.append(task)
            elif outcome.busy:
                busy.append(task)
            elif outcome.error:
                failed.append((task, outcome))
        failed += [(task, Outcome(error=KILLED)) for task in killed if task in killed_once]
        again = [task for task in killed if task not in killed_once]
        if again:
            killed_once += again
            waiting.extendleft(reversed(again))
            names = ", ".join(task.name for task in again)
            tqdm.write(f"a process was killed, perhaps for memory, during {names}: once more, one at a time")
        if workers.description:
            on_progress(workers.description)
    return failed


def _outcome(future: Future[Outcome]) -> Outcome | None:
    """The outcome; None if the process was killed."""
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, BrokenProcessPool):
        return None
    reason = reason_of(error)
    if isinstance(error, CANNOT_BE_SENT):
        return Outcome(error=f"no other process can take it ({reason}); {STAY_HERE}")
    return Outcome(error=f"lost with its process or machine ({reason})")


def _start_worker(threads: int, parent: int) -> None:
    end_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends the workers
    signal.signal(signal.SIGTERM, _end)
    set_up_worker(threads)


def set_up_worker(threads: int) -> None:
    """What run.py sets for itself and a process that works for it needs as well."""
    keep_freed_memory()
    torch.backends.cudnn.deterministic = True
    torch.set_num_threads(threads)


def _end(*_: object) -> None:
    raise SystemExit


def _attempt_quietly(task: Task) -> Outcome:
    """`attempt` in a process that was made for it."""
    try:
        return attempt(task, lambda text: None)
    except SystemExit:  # told to end: what was being written is removed, and the pool has nothing to say
        os._exit(1)
