"""Where freed memory goes."""

import ctypes

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
