"""The faults that a campaign of digits has to survive: all of them, by name."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import disk_faults as disk
import file_faults as files
import process_faults as processes


@dataclass(frozen=True)
class Fault:
    """`strike(campaign, rng)` breaks something and checks what comes of it, `tries` times in `make faults`.

    The tests strike once, with `milder` where that is something else. One strike tries it `per_strike` times.
    """

    name: str
    strike: Callable
    tries: int
    per_strike: int = 1
    milder: Callable | None = None


KILLS = 30

FAULTS = (
    Fault(
        "SIGKILL at any moment, in every stage and while writing",
        partial(processes.killed_at_any_moment, kills=KILLS),
        1,
        KILLS,
        partial(processes.killed_at_any_moment, kills=4),
    ),
    Fault("SIGKILL with two workers", processes.killed_with_workers, 5),
    Fault("two run.py at once on one folder", processes.two_at_once, 3),
    Fault("Ctrl-C", processes.interrupted, 6),
    Fault("worker killed by the system", processes.worker_killed, 5),
    Fault("machine of a Ray cluster lost", processes.node_killed, 3),
    Fault("disk full", disk.disk_full, 8),
    Fault("limit on the size of files", disk.file_size_limit, 4),
    Fault("read-only file system", disk.read_only, 4),
    Fault("folder without permission", disk.folder_cannot_change, 4),
    Fault("checkpoint cut to half", files.checkpoint_cut, 8),
    Fault("bit flipped in a checkpoint", files.byte_flipped_in_checkpoint, 12),
    Fault("bit flipped in an initial model", files.byte_flipped_in_initial_model, 4),
    Fault("bit flipped in an index list", files.byte_flipped_in_index_list, 12),
    Fault("bit flipped in the pool or a split", files.byte_flipped_in_data, 12),
    Fault("bit flipped in a descriptor file", files.byte_flipped_in_descriptor, 12),
    Fault("loss becomes NaN", files.loss_becomes_nan, 6),
    Fault("crafted pickle in place of a file", files.hostile_pickle, 12),
)
