"""Data parallel processes: the same program on several GPUs or machines, as torchrun starts it.

Every process runs the same stages in step. Images are shared out batch by batch, so that a batch holds the
same images whatever the number of processes; the main process alone writes files.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from fisher_al.errors import UserError, reason_of

# Environment variable: folder of the files, named by rank, in which processes of `running.launcher` tell why
# they fail.
FAILURES = "FISHER_AL_FAILURES"

# Environment variable: the process that `running.launcher` runs in.
LAUNCHER = "FISHER_AL_LAUNCHER"

PR_SET_PDEATHSIG = 1  # of Linux's prctl(2)

# How long a process that finds another one gone waits to be ended with it.
GRACE_SECONDS = 5.0


def process_count() -> int:
    """How many processes work on this together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def process_rank() -> int:
    """Number of this process among them, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_main() -> bool:
    """Whether this is the process that writes files and reports."""
    return process_rank() == 0


@contextmanager
def process_group() -> Iterator[None]:
    """Join the processes that the environment announces (torchrun's variables); alone, do nothing.

    After an error, what a process prints on stderr goes to a file where FAILURES names a folder.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield
        return
    if LAUNCHER in os.environ:
        end_with_parent(int(os.environ[LAUNCHER]))
    torch.set_num_threads(max(1, torch.get_num_threads() // int(os.environ.get("LOCAL_WORLD_SIZE", 1))))
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python does not hear Ctrl-C while it waits for the others
    try:
        # gloo between CPUs, NCCL between GPUs; the main process alone may check all images for hours
        dist.init_process_group(timeout=timedelta(days=1))
    except ValueError as error:
        raise UserError(
            f"WORLD_SIZE is set, but not all that torchrun sets ({reason_of(error)}); unset it"
        ) from error
    try:
        with nullcontext() if is_main() else _silenced():
            yield
    except Exception as error:
        if isinstance(error, RuntimeError):
            time.sleep(GRACE_SECONDS)  # torch raises it if another process is gone, which then tells why
        if FAILURES in os.environ:
            file = os.open(f"{os.environ[FAILURES]}/{process_rank()}", os.O_WRONLY | os.O_CREAT)
            os.dup2(file, 2)  # stderr
        raise
    finally:
        dist.destroy_process_group()


def end_with_parent(parent: int) -> None:
    """Where it is Linux, have the system end this process with its parent, however that ends.

    One left behind would go on writing the files of a chain that the next run.py waits for, or wait itself.
    """
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was gone before that
        os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def _silenced() -> Iterator[None]:
    with open(os.devnull, "w") as nowhere:
        out, sys.stdout = sys.stdout, nowhere
        try:
            yield
        finally:
            sys.stdout = out


@contextmanager
def main_first() -> Iterator[None]:
    """Run the block in the main process first, then in the others, who find its files there, or its error."""
    if not is_main():
        dist.barrier()
    try:
        yield
    finally:
        if is_main() and process_count() > 1:
            dist.barrier()


def wait_for_all() -> None:
    """Go on when every process has come here."""
    if process_count() > 1:
        dist.barrier()


def share_of(chunk: Tensor, batch_size: int) -> Tensor:
    """This process's batch of a chunk of up to one batch per process; the last ones may be left empty."""
    return chunk[process_rank() * batch_size :][:batch_size]


def gather_rows(rows: Tensor, batch_size: int, count: int) -> Tensor:
    """The rows of every process's batch of one chunk, in the chunk's order; `count` in all."""
    if process_count() == 1:
        return rows
    padded = rows.new_zeros(batch_size, *rows.shape[1:])
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in range(process_count())]
    dist.all_gather(parts, padded)
    return torch.cat(parts)[:count]


def sum_over_processes(values: Tensor) -> Tensor:
    """Element by element, the sum of what every process has."""
    if process_count() > 1:
        dist.all_reduce(values)
    return values


def decided_by_main(decide: Callable[[], Tensor]) -> Tensor:
    """What the main process computes, an int64 vector on the CPU, in every process."""
    if process_count() == 1:
        return decide()
    values = decide() if is_main() else torch.empty(0, dtype=torch.long)
    length = torch.tensor([len(values)])
    dist.broadcast(length, 0)
    values = values if is_main() else torch.empty(int(length), dtype=torch.long)
    dist.broadcast(values, 0)
    return values


def align_buffers(network: nn.Module) -> None:
    """Give every process the main one's buffers, as each takes batch-norm statistics from its own batches."""
    if process_count() > 1:
        for buffer in network.buffers():
            dist.broadcast(buffer, 0)
