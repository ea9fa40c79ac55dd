"""Processes and machines that are killed, and processes that meet.

All take a campaign with its initial models made, and a generator of random numbers that says where to strike.
They end with `require_survival`.
"""

import contextlib
import os
import random
import signal
import time
from pathlib import Path

from campaigns import CHAINS, INITIAL, ITERATIONS, METHODS, Campaign
from killed import MOMENTS

# Seconds that Ctrl-C may take.
PATIENCE = 5


def killed_at_any_moment(campaign: Campaign, rng: random.Random, kills: int = 1) -> None:
    """SIGKILL from the first file on, in every stage and while writing; after each the same command again."""
    campaign.clear()
    struck, first = 0, rng.randrange(len(MOMENTS))
    while struck < kills:
        before = campaign.results() if campaign.layout.run_folder.is_dir() else {}
        died = campaign.kill(MOMENTS[(first + struck) % len(MOMENTS)], rng)
        struck += died
        campaign.require_whole_files()
        assert before.items() <= campaign.results().items()  # what was there is there
        if not died and len(campaign.results()) == len(campaign.reference["results"]):
            campaign.require_survival()
            campaign.clear()
    campaign.require_survival()


def killed_with_workers(campaign: Campaign, rng: random.Random) -> None:
    """SIGKILL of run.py while two workers write; they end with it."""
    process = campaign.start("--jobs", 2)
    campaign.wait_for_checkpoints(rng.randint(1, 5), process)
    time.sleep(rng.random() / 5)
    process.kill()
    process.communicate()
    campaign.require_whole_files()
    campaign.require_survival()


def two_at_once(campaign: Campaign, rng: random.Random) -> None:
    """Two run.py on one folder, from the first file on: nothing is done twice, both end well."""
    campaign.clear()
    for options in (INITIAL, CHAINS):
        processes = [campaign.start(options=options) for _ in range(2)]
        for process in processes:
            _, errors = process.communicate(timeout=300)
            assert process.returncode == 0, errors
    done = campaign.stages_done()
    assert len(done) == len(set(done)) == len(METHODS) * ITERATIONS * 2 + 2
    campaign.require_survival()


def interrupted(campaign: Campaign, rng: random.Random) -> None:
    """Ctrl-C, as the terminal sends it: to the whole process group."""
    jobs = rng.choice((1, 2))
    # a shell starts what it runs in the background with Ctrl-C switched off
    listening = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    process = campaign.start("--jobs", jobs, **listening)
    campaign.wait_for_checkpoints(rng.randint(1, 6), process)
    time.sleep(rng.random() / 5)
    start = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert time.monotonic() - start < PATIENCE
    assert process.returncode == 130, errors
    assert "interrupted: run the same command again to go on" in errors
    assert "Traceback" not in errors
    assert list(campaign.folder.rglob(".*.tmp*")) == []
    campaign.require_survival()


def worker_killed(campaign: Campaign, rng: random.Random) -> None:
    """SIGKILL of a worker, as the system does for memory: its chains are done again, one at a time."""
    process = campaign.start("--jobs", 2)
    campaign.wait_for_checkpoints(rng.randint(1, 4), process)
    os.kill(rng.choice(_workers_of(process.pid)), signal.SIGKILL)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert "a process was killed, perhaps for memory, during run0 ir 10" in output
    campaign.require_survival()


def _workers_of(parent: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # ended meanwhile
            parent_of_it = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if parent_of_it == parent and b"spawn_main" in (path / "cmdline").read_bytes():
                found.append(int(path.name))
    return found


def node_killed(campaign: Campaign, rng: random.Random) -> None:
    """One of the two machines of a Ray cluster is lost: its chains go on on the other one."""
    from ray.cluster_utils import Cluster

    size = {"include_dashboard": False, "object_store_memory": 10**8}
    quick = {
        "health_check_period_ms": 500,
        "health_check_timeout_ms": 500,
        "health_check_failure_threshold": 2,
    }
    cluster = Cluster(True, head_node_args={"num_cpus": 0, "_system_config": quick, **size})
    try:
        nodes = [cluster.add_node(num_cpus=1, **size) for _ in range(2)]
        process = campaign.start("--cluster", cluster.address)
        campaign.wait_for_checkpoints(rng.randint(1, 4), process)
        assert process.poll() is None, process.communicate()
        cluster.remove_node(rng.choice(nodes), allow_graceful=False)
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        assert output.count("1/1") == len(METHODS)
    finally:
        cluster.shutdown()
    campaign.require_survival()
