"""What run.py works on: initial models and chains, each with its files, locks and log."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fisher_al.chain import Chain
from fisher_al.data.in_memory import pool_size, prepare_pool
from fisher_al.distributed import is_main, process_count
from fisher_al.errors import UserError
from fisher_al.experiment import Experiment, Schedule
from fisher_al.files.layout import Layout
from fisher_al.files.locks import BusyError, hold_all
from fisher_al.files.run_log import GEN_DESCR, MAIN_DESCR, UNSUP, append, log_start, logged
from fisher_al.files.storage import remove_abandoned
from fisher_al.stages.gen_descr import gen_descr
from fisher_al.stages.main_descr import load_labeled, main_descr_side_by_side, require_budget
from fisher_al.stages.unsup import initial_settings, unsup
from fisher_al.training.checkpoints import require_settings
from fisher_al.training.fit import divergence

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
        return f"{self.layout.name} member {self.member} {self.kind}"

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

    @property
    def parts(self) -> list[Task]:
        return [self]

    @property
    def logs(self) -> list[Path]:
        return [self.layout.initial_log(self.member)]

    @property
    def open_logs(self) -> list[Path]:
        """Those of what is left to do."""
        return [] if self.done else self.logs

    @property
    def files(self) -> list[Path]:
        """What only the holder of the lock writes."""
        return [self.layout.initial_checkpoint(self.member)]

    def check(self) -> None:
        """See that a checkpoint that stands already is whole and was made alike."""
        if self.done:
            path = self.layout.initial_checkpoint(self.member)
            settings = initial_settings(self.experiment, self.layout, self.schedule, self.seed)
            require_settings(path, settings, "run the command again")

    def prepare(self) -> None:
        """Make the pool if it is missing, and see that one that stands already was drawn from this seed."""
        prepare_pool(self.experiment, self.layout, self.seed, verify=True)

    def run(self, on_progress: OnProgress) -> None:
        def on_epoch(epoch: int, accuracy: float) -> None:
            on_progress(f"{self.name}: epoch {epoch}, rotations {accuracy:.1f}%")

        if self.done:
            return  # another process made it meanwhile
        with logged(self.logs, UNSUP, member=self.member) as [result]:
            arguments = self.experiment, self.layout, self.member, self.schedule, self.seed, self.device
            result["acc"] = unsup(*arguments, on_epoch)


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
    def experiment(self) -> Experiment:
        return self.chains[0].experiment

    @property
    def layout(self) -> Layout:
        return self.chains[0].layout

    @property
    def device(self) -> str:
        return self.chains[0].device

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
        return sum(chain.iterations_done for chain in self.chains)

    @property
    def parts(self) -> list[Task]:
        """The chains one by one."""
        return [replace(self, chains=(chain,)) for chain in self.chains]

    @property
    def _open(self) -> list[Chain]:
        return [chain for chain in self.chains if chain.iterations_done < chain.iterations]

    @property
    def logs(self) -> list[Path]:
        return [chain.log for chain in self.chains]

    @property
    def open_logs(self) -> list[Path]:
        """Those of what is left to do."""
        return [chain.log for chain in self._open]

    @property
    def files(self) -> list[Path]:
        """What only the holder of the locks writes."""
        return [path for chain in self._open for path in chain.files]

    def check(self) -> None:
        """See that what the chains continue from is there, whole, and was made alike."""
        for chain in self.chains:
            for member in chain.members:
                require_settings(chain.model_path(0, member), {"seed": chain.seed}, chain.initial_advice)
            for batch in range(1, min(chain.iterations, chain.iterations_done + 1) + 1):
                for member in chain.members:
                    path = chain.model_path(batch, member)
                    if path.is_file():
                        require_settings(path, chain.settings, "run the command again")

    def prepare(self) -> None:
        """Make the pools that are missing, and see that they last for all iterations and fit the labels."""
        for chain in self.chains:
            prepare_pool(chain.experiment, chain.layout, chain.seed)
            size = pool_size(chain.experiment, chain.layout)
            require_budget(chain, size, chain.iterations)
            for batch in range(1, chain.iterations_done + 1):
                load_labeled(chain, batch, size)

    def run(self, on_progress: OnProgress) -> None:
        diverged = []
        for batch in range(self.chains[0].iterations):
            ready = [chain for chain in self.chains if chain.iterations_done == batch]
            learners = [(chain, member) for chain in ready for member in chain.members]

            def on_epoch(epoch: int, accuracy: float, batch: int = batch) -> None:
                on_progress(f"{self.name}: b={batch + 1}, epoch {epoch}, {accuracy:.1f}%")

            for chain, member in learners:
                on_progress(f"{chain.name}: b={batch + 1}, descriptors")
                with logged([chain.log], GEN_DESCR, batch=batch, member=member):
                    gen_descr(chain, batch, member)
            for start in range(0, len(learners), self.replicas):
                diverged += self._train(learners[start : start + self.replicas], batch, on_epoch)
        if diverged:
            raise UserError("; ".join(diverged))

    def _train(self, learners: list[tuple[Chain, int]], batch: int, on_epoch: Callable) -> list[str]:
        """Advance the learners by one batch; what to tell of those that diverged."""
        messages = []
        paths = [chain.log for chain, _ in learners]
        with logged(paths, MAIN_DESCR, batch=batch) as notes:
            results = main_descr_side_by_side(learners, batch, on_epoch)
            for (chain, member), note, result in zip(learners, notes, results, strict=True):
                note["member"] = member
                if result.diverged:
                    note["diverged_in"] = result.diverged_in
                    messages.append(divergence(f"{chain.name} b={batch + 1}", result, chain.training))
                else:
                    note.update(result.accuracies)
        return messages


Task = InitialModel | ChainTask


def join(parts: Sequence[Task]) -> Task:
    """The task whose `parts` these are, or some of them."""
    if len(parts) == 1:
        return parts[0]
    return replace(parts[0], chains=tuple(chain for part in parts for chain in part.chains))


@dataclass(frozen=True)
class Outcome:
    """How an attempt at a task ended: well, not at all as another process works on it, or with an error;
    `refused` as what it starts from is not fit.

    trace : the traceback, if the error was not the user's.
    """

    busy: bool = False
    refused: bool = False
    error: str = ""
    trace: str = ""


def attempt(task: Task, on_progress: OnProgress) -> Outcome:
    """Carry a task through, as the only process that works on it, or with those that share the work."""
    if process_count() > 1:
        return _attempt_together(task, on_progress)
    try:
        with hold_all(log.with_suffix(".lock") for log in task.open_logs):
            remove_abandoned(task.files)
            return _attempt(task, on_progress)
    except BusyError:
        return Outcome(busy=True)
    except UserError as error:
        return Outcome(error=str(error))


def _attempt_together(task: Task, on_progress: OnProgress) -> Outcome:
    """Carry a task through, step by step with the other processes; the main one holds the locks for all.

    Errors end them all: each is in the middle of the task.
    """
    try:
        with hold_all(log.with_suffix(".lock") for log in task.open_logs if is_main()):
            if is_main():
                remove_abandoned(task.files)
            outcome = _attempt(task, on_progress)
    except BusyError as error:
        raise UserError(f"{task.name}: another run.py works on it; wait until it is through") from error
    if outcome.error:
        raise RuntimeError(outcome.trace) if outcome.trace else UserError(outcome.error)
    return outcome


def _attempt(task: Task, on_progress: OnProgress) -> Outcome:
    try:
        task.check()  # again, as another process may have held the locks since
        for log in task.open_logs:
            log_start(log, task.device)
        task.run(on_progress)
        return Outcome()
    except UserError as error:
        outcome = Outcome(error=str(error))
    except Exception as error:
        outcome = Outcome(error=repr(error), trace=traceback.format_exc())
    for log in task.open_logs:
        with contextlib.suppress(UserError):  # a full disk, which is told already
            append(log, "failed", error=outcome.error)
    return outcome
