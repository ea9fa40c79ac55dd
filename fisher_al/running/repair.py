"""Find files that are broken, delete them with what was computed from them, for the run to make anew."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from fisher_al.chain import Chain
from fisher_al.data.source import ImageSource
from fisher_al.errors import MachineError, UserError
from fisher_al.files.layout import Layout
from fisher_al.files.locks import BusyError, hold, hold_all
from fisher_al.files.storage import load_rows, remove_abandoned
from fisher_al.running.tasks import ChainTask, InitialTask, Task
from fisher_al.stages.gen_descr import gen_descr
from fisher_al.stages.main_descr import load_labeled
from fisher_al.stages.unsup import InitialModel
from fisher_al.training.checkpoints import load_checkpoint, records_seed, require_pool, require_settings

Report = Callable[[str], None]


def repair(tasks: Iterable[Task], report: Report) -> None:
    """Check every file of the tasks, and of what they start from; delete what is broken or relies on that.

    A chain's later batches rely on its earlier ones, and all of them on the initial model. Splits and pools
    are drawn exactly as before, so nothing is deleted with them.
    Raises: UserError if the seed is not that of the initial models, before anything is deleted; if a pool is
    broken whose initial model does not tell its seed; or if a model is that the tasks start from but do not
    make.
    """
    tasks = list(tasks)
    for path, seed in dict.fromkeys(start for task in tasks for start in _starts(task.work)):
        _require_seed(path, seed)
    for layout in dict.fromkeys(task.work.layout for task in tasks):
        _repair_data(tasks[0].work.experiment.source, layout, report)
    broken_starts = []
    for task in tasks:
        try:
            with hold_all(_locks(task)):
                remove_abandoned(task.files)
                if isinstance(task, InitialTask):
                    _repair_initial(task.work, report)
                elif isinstance(task, ChainTask):
                    broken_starts += _repair_chain(task.work, report)
        except BusyError:
            report(f"not checked, as another process works on it: {task.name}")
    if broken_starts:
        names = ", ".join(map(str, dict.fromkeys(broken_starts)))
        raise UserError(f"{names}: broken; run.py --initial --repair makes it anew")


def _starts(work: InitialModel | Chain) -> list[tuple[Path, int]]:
    """The initial models of a task, with the seed that they should have."""
    if isinstance(work, InitialModel):
        return [(work.path, work.seed)]
    return [(work.model_path(0, member), work.seed) for member in work.members]


def _require_seed(path: Path, seed: int) -> None:
    """Raise UserError if a whole initial model was made with another seed: so were pools that are broken."""
    if path.is_file() and not _is_broken(path, load_checkpoint, ""):
        require_settings(path, {"seed": seed}, "")


def _locks(task: Task) -> set[Path]:
    if not task.work.layout.run_folder.is_dir():
        return set()
    # an initial model needs those of all chains of the run, as they may rely on it
    others = task.work.layout.run_folder.rglob("log/*.lock") if isinstance(task, InitialTask) else ()
    return {task.lock, *others}


def _repair_data(source: ImageSource, layout: Layout, report: Report) -> None:
    pool, initial = source.pool_path(layout), layout.initial_checkpoint(0)
    for path in dict.fromkeys([*source.split_paths(layout), pool]):
        if not _is_broken(path, source.count):
            continue
        is_whole = initial.is_file() and not _is_broken(initial, load_checkpoint, "")
        if path == pool and is_whole and not records_seed(load_checkpoint(initial, "")):
            raise UserError(
                f"{path}: broken, and {initial} does not tell the seed that it was drawn from; put a whole "
                "copy of that pool in its place"
            )
        own_lock = path == pool and layout.pool_is_biased
        with hold(layout.lock_of(path) if own_lock else layout.processed_lock(), wait=True):
            if _is_broken(path, source.count):  # another process may have made it anew meanwhile
                _delete([path], report)


def _repair_initial(model: InitialModel, report: Report) -> None:
    if _is_broken(model.path, load_checkpoint, ""):
        _delete([model.path, *model.layout.batches_from_initial()], report)


def _repair_chain(chain: Chain, report: Report) -> list[Path]:
    """Repair one chain.

    Returns: the broken ones among the initial models that it starts from.
    """
    starts = [chain.model_path(0, member) for member in chain.members]
    broken_starts = [path for path in starts if _is_broken(path, load_checkpoint, "")]
    if not broken_starts:
        require_pool(chain.pool_path, starts[0], "")
    if _existing(chain, 1):
        _repair_batches(chain, report)
    descriptors = [p for p in chain.descriptor_files if _is_broken(p, load_rows, "run gen_descr.py")]
    if descriptors and chain.iterations_done == chain.iterations:
        report(f"broken, to be made anew: {', '.join(map(str, descriptors))}")
        for member in chain.members:  # in their place, so that one who is killed now finds them broken again
            gen_descr(chain, chain.iterations - 1, member)
    else:
        for path in descriptors:  # a chain that goes on makes its own
            _delete([path], report)
    return broken_starts


def _repair_batches(chain: Chain, report: Report) -> None:
    source = chain.experiment.source
    source.prepare_pool(chain.layout, chain.seed)
    size = source.count(chain.pool_path)
    batch = 1
    while later := _existing(chain, batch):
        broken = _broken_file(chain, batch, size)
        if broken is not None:
            _delete(list(dict.fromkeys([broken, *later])), report)
            return
        batch += 1


def _existing(chain: Chain, batch: int) -> list[Path]:
    """What there is of `batch` and those after it; a chain may have been longer than it is now."""
    found: list[Path] = []
    while paths := [path for path in chain.batch_files(batch) if path.is_file()]:
        found += paths
        batch += 1
    return found


def _broken_file(chain: Chain, batch: int, size: int) -> Path | None:
    index_list, *checkpoints = chain.batch_files(batch)
    for path in checkpoints:
        if _is_broken(path, load_checkpoint, ""):
            return path
    if checkpoints[-1].is_file() and _is_broken(index_list, lambda _: load_labeled(chain, batch, size)):
        return index_list
    return None


def _is_broken(path: Path, load: Callable[..., object], *more: object) -> bool:
    try:
        if path.is_file():
            load(path, *more)
    except MachineError:
        raise
    except UserError:
        return True
    return False


def _delete(paths: list[Path], report: Report) -> None:
    """Delete a broken file and those that rely on it, these first, so that none is ever left without it."""
    for path in reversed(paths):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"{path}: broken, and cannot be deleted: {error.strerror}") from error
    relying = f" and {len(paths) - 1} files that rely on it" if len(paths) > 1 else ""
    report(f"broken and deleted, to be made anew: {paths[0]}{relying}")
