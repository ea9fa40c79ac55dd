"""Where freed memory goes, and how much was in use at most."""

import contextlib
import ctypes
import re
import sys
from pathlib import Path

# Parameters of glibc's mallopt(3).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3


def keep_freed_memory() -> None:
    """Let the C library keep freed blocks for the next tensor, where it is glibc; elsewhere do nothing.

    It otherwise returns blocks of the size of activations to the system, which hands them out again page
    by page, zeroed: up to half of a training step on the CPU goes into that.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_MMAP_THRESHOLD, 2**25)  # the largest that glibc accepts
    mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(_TOP_PAD, 2**26)


def memory_in_use(peak: bool = False) -> int:
    """Bytes of memory that this process occupies, or did at the peak since `restart_peak`.

    Where it is not Linux, always the peak since the process started; 0 where that is not known either.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        field = "VmHWM" if peak else "VmRSS"
        [kilobytes] = re.findall(rf"{field}:\s+(\d+) kB", status.read_text())
        return 1024 * int(kilobytes)
    try:
        import resource
    except ImportError:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def restart_peak() -> None:
    """Let the peak of `memory_in_use` start anew, where it is Linux and allowed."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
