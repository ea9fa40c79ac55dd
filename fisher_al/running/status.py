"""How far the tasks of a campaign are, from their files, locks and logs alone."""

from __future__ import annotations

from collections.abc import Sequence

from tabulate import tabulate

from fisher_al.files.layout import format_ratio
from fisher_al.files.locks import is_held
from fisher_al.files.run_log import last_accuracy, read
from fisher_al.running.tasks import ChainTask, Task

DONE, RUNNING, FAILED, BEGUN, LEFT = "done", "running", "failed", "begun", "left"


def print_status(tasks: Sequence[Task]) -> None:
    """One row per chain or initial model: its state, how much of it is done, the accuracy, what is known."""
    parts = [part for task in tasks for part in task.parts]
    rows, states = [], []
    for part in parts:
        state, detail = task_state(part)
        [log] = part.logs
        accuracy = last_accuracy(log)
        seconds = sum(entry.get("seconds", 0) for entry in read(log))
        layout, done = part.layout, f"{part.done}/{part.total}"
        row = [layout.run, format_ratio(layout.imbalance_ratio), part.kind, state, done]
        row += ["" if accuracy is None else f"{accuracy:.2f}", f"{seconds:.0f}" if seconds else "", detail]
        rows.append(row)
        states.append(state)
    headers = ["run", "ir", "what", "state", "done", "accuracy, %", "seconds", ""]
    print(tabulate(rows, headers=headers, disable_numparse=True))
    counts = ", ".join(f"{states.count(state)} {state}" for state in (DONE, RUNNING, FAILED, BEGUN, LEFT))
    what = "chains" if isinstance(parts[0], ChainTask) else "initial models"
    print(f"{len(parts)} {what}: {counts}")


def task_state(part: Task) -> tuple[str, str]:
    """State of one chain or initial model, and what the log tells about it."""
    if part.done == part.total:
        return DONE, ""
    [log] = part.logs
    entries = read(log)
    if is_held(log.with_suffix(".lock")):
        start = next((entry for entry in reversed(entries) if entry["event"] == "start"), {})
        pid, host, since = (start.get(name, "?") for name in ("pid", "host", "time"))
        return RUNNING, f"process {pid} on {host} since {since}"
    if entries and entries[-1]["event"] == "failed":
        return FAILED, str(entries[-1].get("error", ""))
    return (BEGUN, "") if part.done else (LEFT, "")
