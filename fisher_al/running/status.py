"""How far the tasks of a campaign are, from their files, locks and logs alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tabulate import tabulate

from fisher_al.files.layout import format_ratio
from fisher_al.files.locks import is_held
from fisher_al.files.run_log import is_of_budget, last_accuracy, read
from fisher_al.running.tasks import ChainTask, Task

DONE, RUNNING, FAILED, BEGUN, LEFT = "done", "running", "failed", "begun", "left"


def print_status(tasks: Sequence[Task]) -> None:
    """One row per chain or initial model: its state, how much of it is done, the accuracy, what is known."""
    rows, states = [], []
    for task in tasks:
        state, detail = task_state(task)
        accuracy = last_accuracy(task.log, task.budget, before=task.done)
        seconds = sum(entry.get("seconds", 0) for entry in _entries(task))
        layout, done = task.work.layout, f"{task.done}/{task.total}"
        row = [layout.run, format_ratio(layout.imbalance_ratio), task.title, state, done]
        row += ["" if accuracy is None else f"{accuracy:.2f}", f"{seconds:.0f}" if seconds else "", detail]
        rows.append(row)
        states.append(state)
    headers = ["run", "ir", "what", "state", "done", "accuracy, %", "seconds", ""]
    print(tabulate(rows, headers=headers, disable_numparse=True))
    counts = ", ".join(f"{states.count(state)} {state}" for state in (DONE, RUNNING, FAILED, BEGUN, LEFT))
    what = "chains" if isinstance(tasks[0], ChainTask) else "initial models"
    print(f"{len(tasks)} {what}: {counts}")


def _entries(task: Task) -> list[dict[str, Any]]:
    return [entry for entry in read(task.log) if is_of_budget(entry, task.budget)]


def task_state(task: Task) -> tuple[str, str]:
    """State of one chain or initial model, and what the log tells about it."""
    if task.done == task.total:
        return DONE, ""
    entries = _entries(task)
    if is_held(task.lock):
        start: dict[str, Any] = next((entry for entry in reversed(entries) if entry["event"] == "start"), {})
        pid, host, since = (start.get(name, "?") for name in ("pid", "host", "time"))
        return RUNNING, f"process {pid} on {host} since {since}"
    if entries and entries[-1]["event"] == "failed":
        return FAILED, str(entries[-1].get("error", ""))
    return (BEGUN, "") if task.done else (LEFT, "")
