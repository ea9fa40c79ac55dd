"""Find files that are broken, delete them with what was computed from them, for the run to make anew."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from fisher_al.chain import Chain
from fisher_al.data.folder_lists import FOLDER_SPLITS, read_list
from fisher_al.data.in_memory import SPLITS, load_split, pool_size, prepare_pool
from fisher_al.errors import UserError
from fisher_al.experiment import Experiment
from fisher_al.files.layout import Layout
from fisher_al.files.locks import BusyError, hold, hold_all
from fisher_al.files.storage import load_tensors
from fisher_al.running.tasks import InitialModel, Task
from fisher_al.stages.gen_descr import gen_descr
from fisher_al.stages.main_descr import load_labeled
from fisher_al.training.checkpoints import load_checkpoint

Report = Callable[[str], None]


def repair(tasks: Iterable[Task], report: Report) -> None:
    """Check every file of the tasks, and of what they start from; delete what is broken or relies on that.

    A chain's later batches rely on its earlier ones, and all of them on the initial model. Splits and pools
    are drawn exactly as before, so nothing is deleted with them. Raises UserError if an initial model is
    broken that the tasks start from but do not make.
    """
    parts = [part for task in tasks for part in task.parts]
    for layout in dict.fromkeys(part.layout for part in parts):
        _repair_data(parts[0].experiment, layout, report)
    broken_starts = []
    for part in parts:
        try:
            with hold_all(_locks(part)):
                if isinstance(part, InitialModel):
                    _repair_initial(part, report)
                else:
                    broken_starts += _repair_chain(part.chains[0], report)
        except BusyError:
            report(f"not checked, as another process works on it: {part.name}")
    if broken_starts:
        names = ", ".join(map(str, dict.fromkeys(broken_starts)))
        raise UserError(f"{names}: broken; run.py --initial --repair makes it anew")


def _locks(part: Task) -> set[Path]:
    [log] = part.logs
    if not part.layout.run_folder.is_dir():
        return set()
    # an initial model needs those of all chains of the run, as they may rely on it
    others = log.parent.glob("*.lock") if isinstance(part, InitialModel) else ()
    return {log.with_suffix(".lock"), *others}


def _repair_data(experiment: Experiment, layout: Layout, report: Report) -> None:
    if experiment.folder is not None:
        paths = [*map(layout.processed_list, FOLDER_SPLITS), layout.pool()]
    else:
        paths = [*map(layout.processed, SPLITS), layout.pool()]

    def load(path: Path) -> None:
        if experiment.folder is not None:
            read_list(path, experiment.num_classes)
        else:
            load_split(path, experiment)

    for path in dict.fromkeys(paths):
        if _is_broken(path, lambda path=path: load(path)):
            with hold(layout.processed_lock(), wait=True):
                _delete([path], report)


def _repair_initial(model: InitialModel, report: Report) -> None:
    path = model.layout.initial_checkpoint(model.member)
    if _is_broken(path, lambda: load_checkpoint(path, "")):
        _delete([path, *model.layout.batches_from_initial()], report)


def _repair_chain(chain: Chain, report: Report) -> list[Path]:
    """Repair one chain. Returns the broken ones among the initial models that it starts from."""
    starts = [chain.model_path(0, member) for member in chain.members]
    broken_starts = [path for path in starts if _is_broken(path, lambda path=path: load_checkpoint(path, ""))]
    if _existing(chain, 1):
        _repair_batches(chain, report)
    descriptors = [
        path
        for path in chain.descriptor_files
        if _is_broken(path, lambda path=path: load_tensors(path, "run gen_descr.py", mmap=True))
    ]
    for path in descriptors:
        _delete([path], report)
    if descriptors and chain.iterations_done == chain.iterations:
        for member in chain.members:  # a chain that goes on makes its own
            gen_descr(chain, chain.iterations - 1, member)
    return broken_starts


def _repair_batches(chain: Chain, report: Report) -> None:
    prepare_pool(chain.experiment, chain.layout, chain.seed)
    size = pool_size(chain.experiment, chain.layout)
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
        if _is_broken(path, lambda path=path: load_checkpoint(path, "")):
            return path
    if checkpoints[0].is_file() and _is_broken(index_list, lambda: load_labeled(chain, batch, size)):
        return index_list
    return None


def _is_broken(path: Path, load: Callable[[], object]) -> bool:
    try:
        if path.is_file():
            load()
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
