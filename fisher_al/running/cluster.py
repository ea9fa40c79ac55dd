"""Carry out tasks on the machines of a Ray cluster, over a folder that all of them share."""

from __future__ import annotations

import logging
import os
import socket
import sys
from concurrent.futures import Future

from fisher_al.errors import UserError, reason_of
from fisher_al.running.runner import set_up_worker
from fisher_al.running.tasks import Outcome, Task, attempt

# How often Ray starts a task again, on any machine with room for it, after losing the machine or the process.
RETRIES = 3


class Cluster:
    """Workers for `run_tasks`: every task on a machine that has the CPU cores and the share of a GPU for it.

    address : of Ray's head node, or `auto` for a cluster that this machine belongs to.
    gpus : None for one where the cluster has any.
    Raises: UserError if Ray is not installed, no cluster answers, or no machine has that much.
    """

    slots = sys.maxsize  # Ray keeps the queue
    description = "on the cluster"

    def __init__(self, address: str, cpus: int = 1, gpus: float | None = None):
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError as error:
            raise UserError(
                "--cluster: Ray is not installed; run pip3 install ray here and on the cluster's machines"
            ) from error
        try:
            _require_listener(address)
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:  # whatever stands in the way of a connection
            raise UserError(
                f"--cluster {address}: no Ray cluster answers there ({reason_of(error)}); start one with "
                "'ray start --head', and 'ray start --address HOST:6379' on the other machines"
            ) from error
        self._ray = ray
        largest = {
            kind: max(node["Resources"].get(kind, 0) for node in ray.nodes() if node["Alive"])
            for kind in ("CPU", "GPU")
        }
        gpus = min(1.0, largest["GPU"]) if gpus is None else gpus
        if cpus > largest["CPU"] or gpus > largest["GPU"]:
            raise UserError(
                f"--cluster-cpus {cpus} --cluster-gpus {gpus:g}: the largest machine of {address} has "
                f"{largest['CPU']:g} CPU cores and {largest['GPU']:g} GPUs; ask for less"
            )
        self.device = "cuda:0" if gpus else "cpu"  # Ray shows a task only the GPU that it may use
        self._cpus = cpus
        self._attempt = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=RETRIES)(_attempt_there)

    def submit(self, task: Task) -> Future[Outcome]:
        return self._attempt.remote(task, self._cpus).future()

    def stop(self, now: bool) -> None:
        self._ray.shutdown()  # ends what still runs for this driver


def _require_listener(address: str) -> None:
    """Raise OSError or ValueError if nothing listens there: Ray itself would try for minutes."""
    if address != "auto":
        host, _, port = address.removeprefix("ray://").rpartition(":")
        socket.create_connection((host, int(port)), timeout=10).close()


def _attempt_there(task: Task, threads: int) -> Outcome:
    set_up_worker(threads)
    return attempt(task, lambda text: None)
