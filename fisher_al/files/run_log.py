"""The log of a chain: JSON lines, one for every stage, with time, memory and accuracy."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from fisher_al.distributed import is_main
from fisher_al.errors import UserError
from fisher_al.memory import memory_in_use, restart_peak

PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn", "kornia")

# Facts that others compute with.
NUMBERS = ("batch", "member", "augment_size", "mc_samples", "seconds", "peak_memory", "acc")

# Events that are stages, told when they are through; the others are "start" and "failed", and that
# descriptors begin to be written.
UNSUP, GEN_DESCR, MAIN_DESCR = "unsup", "gen_descr", "main_descr"
WRITES_DESCRIPTORS = "writes descriptors"


def versions() -> dict[str, str]:
    """What computes: Python and the packages that decide results."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def append(path: Path, event: str, **facts: Any) -> None:
    """Add a line: the time, what happened, facts about it.

    Raises: UserError if it cannot be written.
    """
    if not is_main():
        return  # of several processes that share the work
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    line = json.dumps({"time": now, "event": event, **facts})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab+", buffering=0) as file:  # unbuffered: the line goes out in one piece
            is_torn = file.seek(0, os.SEEK_END) > 0 and _last_byte(file) != b"\n"
            file.write(("\n" * is_torn + line + "\n").encode())
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error


def _last_byte(file: Any) -> bytes:
    file.seek(-1, os.SEEK_END)
    return file.read(1)


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a log, without those that a killed process left half; nothing if there is none."""
    entries = []
    for line in path.read_bytes().splitlines() if path.is_file() else []:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if _is_entry(entry):
            entries.append(entry)
    return entries


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("event"), str):
        return False
    numbers = [entry[name] for name in NUMBERS if name in entry]
    return all(isinstance(number, (int, float)) and abs(number) < 1e18 for number in numbers)


def stage_entries(path: Path, stage: str, budget: int | None = None) -> dict[tuple[int, int], dict[str, Any]]:
    """What a log says of a stage, by batch and ensemble member; of a repeated one the last time.

    Chains of several budgets share a log; with `budget`, lines that name another one do not count.
    """
    entries = [entry for entry in read(path) if entry["event"] == stage and is_of_budget(entry, budget)]
    return {(entry.get("batch", 0), entry.get("member", 0)): entry for entry in entries}


def is_of_budget(entry: dict[str, Any], budget: int | None) -> bool:
    """Whether a line of a log names no other budget than this one, if there is one."""
    return budget is None or entry.get("augment_size", budget) == budget


def described(path: Path, member: int) -> dict[str, Any]:
    """What the last line on the descriptors of an ensemble member tells of them; nothing if there is none."""
    events = GEN_DESCR, WRITES_DESCRIPTORS
    entries = (entry for entry in reversed(read(path)) if entry["event"] in events)
    return next((entry for entry in entries if entry.get("member", 0) == member), {})


def last_accuracy(path: Path, budget: int | None, before: int) -> float | None:
    """Test accuracy (percent) of what was made last; with an ensemble, the mean over its members.

    before : batches from this one on do not count, as their files are gone.
    """
    for stage in (MAIN_DESCR, UNSUP):
        found = stage_entries(path, stage, budget)
        entries = {key: entry for key, entry in found.items() if key[0] < before}
        last = max((batch for batch, _ in entries), default=None)
        told = [entry["acc"] for (batch, _), entry in entries.items() if batch == last and "acc" in entry]
        if told:
            return sum(told) / len(told)
    return None


def log_start(path: Path, device: str) -> None:
    """Note that this process begins to work, and with what."""
    threads = torch.get_num_threads()
    where = {"host": platform.node(), "pid": os.getpid(), "device": device, "threads": threads}
    append(path, "start", **where, versions=versions())


@contextmanager
def logged(path: Path, stage: str, **facts: Any) -> Iterator[dict[str, Any]]:
    """Measure a stage and note it in the log if it ends well; what is known afterwards goes into the dict."""
    restart_peak()
    gpus = range(torch.cuda.device_count() if torch.cuda.is_initialized() else 0)
    for gpu in gpus:
        torch.cuda.reset_peak_memory_stats(gpu)
    result: dict[str, Any] = {}
    start = time.perf_counter()
    yield result
    measured = {
        "seconds": round(time.perf_counter() - start, 4),
        "peak_memory": memory_in_use(peak=True),
    }
    if gpus:
        measured["peak_gpu_memory"] = max(map(torch.cuda.max_memory_allocated, gpus))
    append(path, stage, **facts, **measured, **result)
