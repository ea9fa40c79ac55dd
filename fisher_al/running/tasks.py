"""What run.py works on: initial models and chains, each with its files, lock and log."""

from __future__ import annotations

import contextlib
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from fisher_al.chain import Chain
from fisher_al.distributed import is_main, process_count
from fisher_al.errors import UserError, as_user_error
from fisher_al.experiment import Variant
from fisher_al.files.locks import BusyError, hold
from fisher_al.files.run_log import GEN_DESCR, MAIN_DESCR, UNSUP, append, log_start, logged
from fisher_al.files.storage import remove_abandoned
from fisher_al.stages.gen_descr import gen_descr
from fisher_al.stages.main_descr import load_labeled, main_descr, require_budget
from fisher_al.stages.unsup import InitialModel, unsup
from fisher_al.training.checkpoints import require_pool, require_settings

OnProgress = Callable[[str], None]


@dataclass(frozen=True)
class Task(ABC):
    """A piece of work that one process carries out at a time: an initial model or a chain."""

    work: InitialModel | Chain

    @property
    def log(self) -> Path:
        return self.work.log

    @property
    def lock(self) -> Path:
        return self.log.with_suffix(".lock")

    @property
    @abstractmethod
    def title(self) -> str:
        """What the plan calls it."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The same with its run and pool."""

    @property
    @abstractmethod
    def total(self) -> int:
        """Number of its iterations, or 1 for a model."""

    @property
    @abstractmethod
    def done(self) -> int:
        """How many of them are complete on disk."""

    @property
    def budget(self) -> int | None:
        """Labels per iteration, where the log may have those of another budget, too."""
        return None

    @property
    @abstractmethod
    def files(self) -> list[Path]:
        """What only the holder of the lock writes."""

    @abstractmethod
    def check(self) -> None:
        """See that what it continues from is there, whole, and was made alike."""

    @abstractmethod
    def prepare(self) -> None:
        """Make the pool if it is missing, and see that it fits."""

    @abstractmethod
    def run(self, on_progress: OnProgress) -> None:
        """Carry it through from where it is."""


@dataclass(frozen=True)
class InitialTask(Task):
    """One initial model to make."""

    work: InitialModel

    @property
    def name(self) -> str:
        return f"{self.work.layout.name} member {self.work.member} {self.title}"

    @property
    def title(self) -> str:
        ensemble = f" E={self.work.layout.ensemble_size}" if self.work.layout.ensemble_size > 1 else ""
        return ("pretrained" if self.work.layout.pretrained else "random weights") + ensemble

    @property
    def total(self) -> int:
        return 1

    @property
    def done(self) -> int:
        return int(self.work.path.is_file())

    @property
    def files(self) -> list[Path]:
        return [self.work.path]

    def check(self) -> None:
        if self.done:
            require_settings(self.work.path, self.work.settings, "run the command again")
            pool = self.work.experiment.source.pool_path(self.work.layout)
            require_pool(pool, self.work.path, "run the command again")

    def prepare(self) -> None:
        """Make the pool if it is missing, and see that one that stands already was drawn from this seed."""
        self.work.experiment.source.prepare_pool(self.work.layout, self.work.seed, verify=True)

    def run(self, on_progress: OnProgress) -> None:
        def on_epoch(epoch: int, accuracy: float) -> None:
            on_progress(f"{self.name}: epoch {epoch}, rotations {accuracy:.1f}%")

        with logged(self.log, UNSUP, member=self.work.member) as note:
            note["acc"] = unsup(self.work, on_epoch)


@dataclass(frozen=True)
class ChainTask(Task):
    """A chain to carry through to its last iteration."""

    work: Chain

    @property
    def name(self) -> str:
        return self.work.name

    @property
    def title(self) -> str:
        return self.work.curve_name

    @property
    def budget(self) -> int:
        return self.work.budget

    @property
    def total(self) -> int:
        return self.work.iterations

    @property
    def done(self) -> int:
        return self.work.iterations_done

    @property
    def files(self) -> list[Path]:
        return self.work.files

    def check(self) -> None:
        chain = self.work
        for member in chain.members:
            initial, advice = chain.model_path(0, member), chain.initial_advice
            require_settings(initial, {"seed": chain.seed}, advice)
            require_pool(chain.pool_path, initial, advice)
        for batch in range(1, chain.iterations + 1):
            for member in chain.members:
                path = chain.model_path(batch, member)
                if path.is_file():
                    require_settings(path, chain.settings, "run the command again", asdict(Variant()))

    def prepare(self) -> None:
        """Make the pool if it is missing, and see that it is large enough and that the index lists fit it."""
        chain = self.work
        chain.experiment.source.prepare_pool(chain.layout, chain.seed)
        size = chain.experiment.source.count(chain.pool_path)
        require_budget(chain, size, chain.iterations)
        before = load_labeled(chain, 0, size)
        for batch in range(1, chain.iterations_done + 1):
            labeled = load_labeled(chain, batch, size)
            if not torch.isin(before, labeled).all():  # in any order: the published code sorts them by a hash
                raise UserError(
                    f"{chain.batch_files(batch)[0]}: lacks labels of batch {batch - 1}; delete the files of "
                    f"batch {batch} and later ones, and run the command again"
                )
            before = labeled

    def run(self, on_progress: OnProgress) -> None:
        chain = self.work
        for batch in range(chain.iterations_done, chain.iterations):

            def on_epoch(epoch: int, accuracy: float, batch: int = batch) -> None:
                on_progress(f"{self.name}: b={batch + 1}, epoch {epoch}, {accuracy:.1f}%")

            on_progress(f"{self.name}: b={batch + 1}, descriptors")
            for member in chain.members:
                with logged(chain.log, GEN_DESCR, **chain.log_facts(batch, member)):
                    gen_descr(chain, batch, member)
            for member in chain.members:
                with logged(chain.log, MAIN_DESCR, **chain.log_facts(batch, member)) as note:
                    note.update(main_descr(chain, batch, member, on_epoch))


@dataclass(frozen=True)
class Outcome:
    """How an attempt at a task ended; nothing is set if it ended well.

    busy : another process works on it. refused : what it starts from is not fit. error : what to tell.
    trace : the traceback, if the error was not the user's.
    """

    busy: bool = False
    refused: bool = False
    error: str = ""
    trace: str = ""


def attempt(task: Task, on_progress: OnProgress) -> Outcome:
    """Carry a task through, as the only process that works on it.

    Several processes may share the work step by step. Then the main one holds the lock for all, and an error
    ends them all, as each is in the middle of the task: it is raised.
    """
    try:
        with hold(task.lock) if is_main() else contextlib.nullcontext():
            outcome = _attempt_with_lock(task, on_progress)
    except BusyError:
        outcome = Outcome(busy=True)
    except UserError as error:  # of the lock
        outcome = Outcome(error=str(error))
    if process_count() > 1 and outcome != Outcome():
        if outcome.busy:
            raise UserError(f"{task.name}: another run.py works on it; wait until it is through")
        raise RuntimeError(outcome.trace) if outcome.trace else UserError(outcome.error)
    return outcome


def _attempt_with_lock(task: Task, on_progress: OnProgress) -> Outcome:
    is_fit = False
    try:
        if is_main():
            remove_abandoned(task.files)
        task.check()  # again, as another process may have held the lock since
        is_fit = True
        if task.done < task.total:
            log_start(task.log, task.work.device)
            task.run(on_progress)
        return Outcome()
    except UserError as error:
        outcome = Outcome(refused=not is_fit, error=str(error))
    except Exception as error:
        told = as_user_error(error)
        outcome = (
            Outcome(error=str(told)) if told else Outcome(error=repr(error), trace=traceback.format_exc())
        )
    facts = {} if task.budget is None else {"augment_size": task.budget}
    with contextlib.suppress(UserError):  # a full disk, which is told already
        append(task.log, "failed", error=outcome.error, **facts)
    return outcome
