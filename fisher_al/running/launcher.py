"""Several processes on this machine that share the work, by torch's own launcher."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, launch_agent

from fisher_al.distributed import FAILURES, LAUNCHER


def launch(processes: int, command: Sequence[str]) -> int:
    """Run `command` as so many processes on this machine, as torchrun does; the main one has output.

    A failure ends them all and is told once, on stderr: what the process that failed first has to say.

    Returns: that process's exit code, 1 if a signal ended it; 0 if none failed.
    Raises: KeyboardInterrupt at Ctrl-C, or another signal to end, when the processes have ended.
    """
    ignored = [kind for kind in (signal.SIGINT, signal.SIGHUP) if signal.getsignal(kind) == signal.SIG_IGN]
    signal.pthread_sigmask(signal.SIG_BLOCK, ignored)  # torch's launcher would obey them, in spite of nohup
    log = logging.getLogger("torch.distributed.elastic")
    log.handlers, log.propagate = [logging.NullHandler()], False  # its own reports of a failure
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update({FAILURES: folder, LAUNCHER: str(os.getpid())})
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=processes,
            logs_specs=DefaultLogsSpecs(folder, local_ranks_filter={0}),
            run_id="launch",
            rdzv_endpoint="127.0.0.1:0",  # any free port
            rdzv_backend="c10d",
            max_restarts=0,
            local_addr="127.0.0.1",
        )
        try:
            launch_agent(config, command[0], list(command[1:]))
        except SignalException as error:
            raise KeyboardInterrupt from error
        except ChildFailedError as error:
            rank, failure = error.get_first_failure()
            code, told = failure.exitcode, Path(folder, str(rank))
            cause = f"by signal {-code}" if code < 0 else f"with exit code {code}"
            otherwise = f"error: process {rank} was ended {cause}\n"
            sys.stderr.write(told.read_text() if told.exists() else otherwise)
            return max(code, 1)
    return 0
