"""What run.py does: plan many chains, run them, print what came out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from tabulate import tabulate

from fisher_al.chain import Chain
from fisher_al.commands.options import (
    CampaignOptions,
    ClusterOptions,
    ComputeOptions,
    DescribeOptions,
    PlanOptions,
    TrainingOptions,
)
from fisher_al.commands.parsing import switch
from fisher_al.commands.plan import campaign_chains, make_initial_models
from fisher_al.commands.scripts import Datasets, announce, choose_device, parse
from fisher_al.distributed import main_first, process_count
from fisher_al.errors import UserError
from fisher_al.experiment import Experiment
from fisher_al.files.layout import format_ratio
from fisher_al.results.curves import collect_curves, print_results
from fisher_al.running.cluster import Cluster
from fisher_al.running.launcher import launch
from fisher_al.running.repair import repair
from fisher_al.running.runner import Failures, Workers, prepare, run_tasks
from fisher_al.running.status import print_status
from fisher_al.running.tasks import ChainTask, InitialTask, Task

# How many different reasons the last line names.
CAUSES = 3


@dataclass(frozen=True)
class RunScriptOptions(
    ClusterOptions,
    PlanOptions,
    ComputeOptions,
    TrainingOptions,
    DescribeOptions,
    CampaignOptions,
):
    """what to run"""

    initial: bool = switch("--initial", "make the initial models")


def run_main(datasets: Datasets, arguments: Sequence[str]) -> int:
    """`run.py`: the initial models, or the AL runs, of many chains."""
    options, experiment = parse(
        "Run the experiment: first with --initial for the initial models, then without for the active "
        "learning. What is already done is skipped, so an interrupted run goes on where it was.",
        RunScriptOptions,
        datasets,
        arguments,
    )
    looks_only = options.dry_run or options.status
    if max(options.nproc, process_count()) > 1 and not looks_only:
        _refuse_what_needs_one_process(options)
        if process_count() == 1:
            return launch(options.nproc, [sys.executable, sys.argv[0], *arguments])
    cluster = None
    if options.cluster is None and (options.cluster_cpus or options.cluster_gpus is not None):
        raise UserError("--cluster-cpus, --cluster-gpus: of a task on a cluster; give its --cluster ADDRESS")
    if options.cluster is not None and options.jobs:
        raise UserError("--jobs: not with --cluster, where --cluster-cpus and --cluster-gpus decide")
    if options.cluster is not None and not looks_only:
        # the machines of the cluster have other working folders
        options = replace(options, datadir=options.datadir.resolve())
        cluster = Cluster(str(options.cluster), options.cluster_cpus or 1, options.cluster_gpus)
    device = cluster.device if cluster else "cpu" if options.status else choose_device(options.gpu)
    tasks: list[Task]
    if options.initial:
        schedule = options.override(experiment.pretraining)
        models = make_initial_models(experiment, options, schedule, options.seed, device)
        tasks = [InitialTask(model) for model in models]
    else:
        chains = _own_chains(
            campaign_chains(
                experiment,
                options,
                device,
                training=options.override(experiment.training),
                gen_batch_size=options.gen_batch_size,
                seed=options.seed,
            ),
            options,
        )
        for chain in chains:
            chain.require_fair_tests()
        tasks = [ChainTask(chain) for chain in chains]
    unit = "model" if options.initial else "iteration"
    options = replace(options, jobs=options.jobs or default_jobs(experiment, tasks, device))
    failed = carry_out(tasks, options, device, unit, cluster)
    if failed is None:
        return 0
    if options.initial:
        done = sum(task.done for task in tasks)
        folder = options.data_folder(experiment.name)
        print(f"{done} of {len(tasks)} initial models are in {folder}")
    else:
        print_results(collect_curves(chains, unreadable=refused_chains(failed)))
    return report_failures(failed)


def default_jobs(experiment: Experiment, tasks: Sequence[Task], device: str) -> int:
    """How many tasks run side by side if `--jobs` does not say.

    It depends on the tasks of the command, not on how many are left: what is interrupted and started again
    computes with as many threads as before, on which rounding depends.
    """
    if device != "cpu" or process_count() > 1 or not experiment.one_core_per_chain:
        return 1
    return max(1, min(torch.get_num_threads(), len(tasks)))


def _refuse_what_needs_one_process(options: RunScriptOptions) -> None:
    given = {
        "--jobs": (options.jobs or 1) > 1,
        "--repair": options.repair,
        "--cluster": options.cluster is not None,
    }
    for name, is_given in given.items():
        if is_given:
            raise UserError(f"{name}: not with --nproc or torchrun, where processes share one chain")


def _own_chains(chains: Sequence[Chain], options: RunScriptOptions) -> list[Chain]:
    """The chains without those that scripts of another folder run.

    Raises: UserError if --methods asks for them; a figure's curves are left out with a note.
    """
    for method in {chain.method for chain in chains if chain.method.scripts}:
        where = f"cd ../{method.scripts} && python3 run.py --dataset {options.dataset}"
        if options.methods:
            raise UserError(f"--methods {method.name}: it has a run.py of its own: {where}")
        print(f"left out: {method.name}, which has a run.py of its own: {where}")
    return [chain for chain in chains if not chain.method.scripts]


def carry_out(
    tasks: Sequence[Task],
    plan: PlanOptions,
    device: str,
    unit: str,
    cluster: Workers | None = None,
) -> Failures | None:
    """Print the plan and carry it out, `--jobs` tasks side by side or on a cluster, with one progress bar.

    Returns: the tasks that failed; None where `--status` or `--dry-run` asks for no more than that.
    """
    if plan.status:
        print_status(tasks)
        return None
    _print_plan(tasks)
    if plan.dry_run:
        return None
    if not cluster:
        announce(device)
    with main_first():
        if plan.repair:
            repair(tasks, print)
        ready, failed = prepare(tasks)
    if failed and (not ready or process_count() > 1):
        report_failures(failed)  # several processes have to do the same
    return failed + run_tasks(ready, plan.jobs or 1, unit, cluster)


def refused_chains(failed: Failures) -> list[Chain]:
    """Those whose files were not fit to start from."""
    return [task.work for task, outcome in failed if outcome.refused and isinstance(task, ChainTask)]


def _print_plan(tasks: Sequence[Task]) -> None:
    """One row per pool and method (or kind of initial model), with how much of it is done."""
    rows: dict[tuple[str, str], list[int]] = {}
    for task in tasks:
        ratio = format_ratio(task.work.layout.imbalance_ratio)
        row = rows.setdefault((ratio, task.title), [0, 0, 0])
        row[:] = row[0] + 1, row[1] + task.done, row[2] + task.total
    table = [[*key, number, f"{done}/{total}"] for key, (number, done, total) in rows.items()]
    headers = ["ir", "what", "chains", "iterations done"]
    if isinstance(tasks[0], InitialTask):
        headers[2:] = ["models", "done"]
    print(tabulate(table, headers=headers, disable_numparse=True))


def report_failures(failed: Failures) -> int:
    """Raise or print what went wrong; exit code 0 if nothing, 1 if something unexpected did."""
    expected = [(task, outcome) for task, outcome in failed if not outcome.trace]
    if len(expected) == len(failed):
        if failed:
            raise UserError(_summary(failed))
        return 0
    for task, outcome in failed:
        if outcome.trace:
            print(f"\nfailed: {task.name}\n{outcome.trace}", file=sys.stderr)
    if expected:
        print(f"error: {_summary(expected)}", file=sys.stderr)
    return 1


def _summary(failed: Failures) -> str:
    """One line for all failures: those of one cause together, and only the first few causes."""
    causes: dict[str, list[str]] = {}
    for task, outcome in failed:
        causes.setdefault(outcome.error, []).append(task.name)
    shown = [
        f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}: {cause}"
        for cause, names in list(causes.items())[:CAUSES]
    ]
    hidden = f"; and {len(causes) - CAUSES} more" if len(causes) > CAUSES else ""
    return "; ".join(shown) + hidden
