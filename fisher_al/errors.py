"""Mistakes in the input rather than in the code."""


class UserError(Exception):
    """Wrong input, option or file: the message names it and the way out; scripts print it and exit with 2."""


def reason_of(error: BaseException, line: int = 0) -> str:
    """The first line of what an error says, or another one; its name where it says nothing."""
    return (str(error).strip() or repr(error)).splitlines()[line]


def as_user_error(error: Exception) -> UserError | None:
    """What the user can do about an error of torch or numpy: about memory that is not there; else None."""
    is_of_torch = isinstance(error, RuntimeError) and "allocate" in str(error)
    if not (is_of_torch or isinstance(error, MemoryError)):
        return None
    reason = " ".join(str(error).split())[:200]
    return UserError(f"out of memory ({reason}); choose smaller sizes (-gbs, -smp, --batch-size)")
