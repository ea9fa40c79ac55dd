"""Locks between processes that work on the same folder, also from several machines."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from fisher_al.errors import UserError
from fisher_al.files.storage import remove_abandoned


class BusyError(Exception):
    """Another process holds the lock."""


@contextmanager
def hold(path: Path, wait: bool = False) -> Iterator[None]:
    """Hold the lock of the file `path`, which is made if missing and stays, empty, afterwards.

    The system releases it when the process ends, however that happens.
    Raises: BusyError if another process holds it, unless told to `wait`; UserError if the folder does not
    allow it.
    """
    lock = FileLock(path, timeout=-1 if wait else 0)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise BusyError(path) from error
    except OSError as error:
        raise UserError(f"{path}: cannot be locked: {error.strerror or error}") from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def hold_all(paths: Iterable[Path]) -> Iterator[None]:
    """Hold several locks, or none: raises as `hold` does."""
    with ExitStack() as stack:
        for path in sorted(paths):
            stack.enter_context(hold(path))
        yield


@contextmanager
def sole_writer(paths: Iterable[Path]) -> Iterator[None]:
    """Wait for others that write files beside `paths`, and delete what killed ones left of these.

    Their folders are held themselves, so that no lock stays among figures. Where the system cannot do that,
    as on NFS, nothing is held or deleted.
    """
    paths = set(paths)
    with ExitStack() as stack:
        with suppress(OSError):  # whatever forbids writing is told by what is to be written
            for folder in sorted({path.parent for path in paths}):
                folder.mkdir(parents=True, exist_ok=True)
                descriptor = os.open(folder, os.O_RDONLY)
                stack.callback(os.close, descriptor)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            remove_abandoned(paths)
        yield


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock; False too where that cannot be found out."""
    try:
        if path.is_file():
            with hold(path):
                pass
    except BusyError:
        return True
    except UserError:  # a read-only folder, for instance
        pass
    return False
