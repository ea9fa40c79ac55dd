"""Mistakes in the input, or lacks of the machine, rather than mistakes in the code."""

from __future__ import annotations

import errno
from pathlib import Path

LACKS = errno.EACCES, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE


class UserError(Exception):
    """Wrong input, option or file: the message names it and the way out; scripts print it and exit with 2."""


class MachineError(UserError):
    """A file cannot be read for want of memory, of rights or of an answering disk: it may be whole."""


def reason_of(error: BaseException, line: int = 0) -> str:
    """The first line of what an error says, or another one; its name where it says nothing."""
    return (str(error).strip() or repr(error)).splitlines()[line]


def raise_if_of_machine(error: Exception, path: Path) -> None:
    """Raise MachineError if it was the machine, not its content, that kept a file from being read."""
    is_lack = isinstance(error, OSError) and error.errno in LACKS
    if is_lack or as_user_error(error) is not None:
        raise MachineError(f"{path}: cannot be read now: {reason_of(error)}") from error


def as_user_error(error: Exception) -> UserError | None:
    """The same as a UserError if torch or numpy found too little memory; None if it is any other error."""
    is_of_torch = isinstance(error, RuntimeError) and "allocate" in str(error)
    if not (is_of_torch or isinstance(error, MemoryError)):
        return None
    reason = " ".join(str(error).split())[:200]
    return UserError(f"out of memory ({reason}); choose smaller sizes (-gbs, -smp, --batch-size)")
