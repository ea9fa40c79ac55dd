"""What run.py does: plan many chains, run them, print what came out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tabulate import tabulate

from fisher_al.chain import Chain
from fisher_al.commands import options as cli
from fisher_al.commands.options import Experiments, Parser, choose_device
from fisher_al.commands.plan import data_folder, make_chains, make_initial_models, plan_chains
from fisher_al.distributed import launch, main_first, process_count
from fisher_al.errors import UserError
from fisher_al.files.layout import format_ratio
from fisher_al.results.curves import collect_curves, print_results
from fisher_al.running.repair import repair
from fisher_al.running.runner import Failures, Workers, prepare, run_tasks
from fisher_al.running.status import print_status
from fisher_al.running.tasks import ChainTask, InitialModel, Task

# How many different reasons the last line names.
CAUSES = 3


def run_main(experiments: Experiments, arguments: Sequence[str]) -> int:
    """`run.py`: the initial models, or the AL runs, of many chains."""
    parser = Parser(
        "Run the experiment: first with --initial for the initial models, then without for the active "
        "learning. What is already done is skipped, so an interrupted run goes on where it was."
    )
    cli.add_common_options(parser, experiments)
    cli.add_campaign_options(parser)
    cli.add_sampling_options(parser)
    cli.add_batch_size_option(parser)
    cli.add_start_option(parser)
    parser.add_argument("--initial", action="store_true", help="make the initial models")
    parser.add_argument("--epochs", type=cli.index, help="epochs of training" + cli.PROTOCOL)
    parser.add_argument("--lr", type=cli.learning_rate, help="learning rate" + cli.PROTOCOL)
    parser.add_argument(
        "--replicas",
        type=cli.count,
        help="networks (of several runs or of an ensemble) to train in one batched step "
        "(default: 10 on a GPU, 1 on the CPU, where --jobs is faster)",
    )
    parser.add_argument(
        "--nproc",
        type=cli.count,
        default=1,
        help="processes, each with its own GPU, that share the images of one chain after another",
    )
    cli.add_plan_options(parser)
    _add_cluster_options(parser)
    args = parser.parse_args(arguments)
    looks_only = args.dry_run or args.status
    if max(args.nproc, process_count()) > 1 and not looks_only:
        _refuse_what_needs_one_process(args)
        if process_count() == 1:
            return launch(args.nproc, [sys.executable, sys.argv[0], *arguments])
    experiment = experiments.choose(args)
    cluster = None if looks_only else _join_cluster(args)
    device = cluster.device if cluster else "cpu" if args.status else choose_device(args.gpu)
    if args.initial:
        tasks: list[Task] = make_initial_models(experiment, args, device)
    else:
        chains = _own_chains(make_chains(experiment, args, device), args)
        tasks = plan_chains(chains, args.replicas)
    failed = carry_out(tasks, args, device, "model" if args.initial else "iteration", cluster)
    if failed is None:
        return 0
    if args.initial:
        done = sum(task.done for task in tasks)
        print(f"{done} of {len(tasks)} initial models are in {data_folder(experiment, args)}")
    else:
        print_results(collect_curves(chains, unreadable=refused_chains(failed)))
    return report_failures(failed)


def _refuse_what_needs_one_process(args: argparse.Namespace) -> None:
    given = {
        "--jobs": args.jobs > 1,
        "--replicas": (args.replicas or 1) > 1,
        "--repair": args.repair,
        "--cluster": args.cluster is not None,
    }
    for option, is_given in given.items():
        if is_given:
            raise UserError(f"{option}: not with --nproc or torchrun, where processes share one chain")


def _own_chains(chains: Sequence[Chain], args: argparse.Namespace) -> list[Chain]:
    """The chains without those that scripts of another folder run.

    Raises UserError if --methods asks for them; a figure's curves are left out with a note.
    """
    for kind in {chain.method.kind for chain in chains if chain.method.kind.folder}:
        where = f"cd ../{kind.folder} && python3 run.py --dataset {args.dataset}"
        if args.methods:
            raise UserError(f"--methods {kind.token}: it has a run.py of its own: {where}")
        print(f"left out: {kind.token}, which has a run.py of its own: {where}")
    return [chain for chain in chains if not chain.method.kind.folder]


def carry_out(
    tasks: Sequence[Task], args: argparse.Namespace, device: str, unit: str, cluster: Workers | None = None
) -> Failures | None:
    """Print the plan and carry it out, `--jobs` tasks side by side or on a cluster, with one progress bar.

    Returns the tasks that failed; None where `--status` or `--dry-run` asks for no more than that.
    """
    if args.status:
        print_status(tasks)
        return None
    _print_plan(tasks)
    if args.dry_run:
        return None
    if not cluster:
        cli.announce(device)
    with main_first():
        if args.repair:
            repair(tasks, print)
        ready, failed = prepare(tasks)
    if failed and (not ready or process_count() > 1):
        report_failures(failed)  # several processes have to do the same
    return failed + run_tasks(ready, args.jobs, unit, cluster)


def refused_chains(failed: Failures) -> list[Chain]:
    """Those whose files were not fit to start from."""
    refused = [task for task, outcome in failed if outcome.refused and isinstance(task, ChainTask)]
    return [chain for task in refused for chain in task.chains]


def _print_plan(tasks: Sequence[Task]) -> None:
    """One row per pool and method (or kind of initial model), with how much of it is done."""
    rows: dict[tuple[str, str], list[int]] = {}
    for task in tasks:
        layout = task.layout
        row = rows.setdefault((format_ratio(layout.imbalance_ratio), task.kind), [0, 0, 0])
        row[:] = row[0] + task.size, row[1] + task.done, row[2] + task.total
    table = [
        [ratio, kind, number, f"{done}/{total}"] for (ratio, kind), (number, done, total) in rows.items()
    ]
    headers = ["ir", "what", "chains", "iterations done"]
    if isinstance(tasks[0], InitialModel):
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
    hidden = f"; and {len(causes) - CAUSES} more: see run.py --status" if len(causes) > CAUSES else ""
    return "; ".join(shown) + hidden


def _add_cluster_options(parser: Parser) -> None:
    parser.add_argument("--cluster", metavar="ADDRESS", help="run on a Ray cluster that shares --datadir")
    parser.add_argument(
        "--cluster-cpus", type=cli.count, default=1, help="CPU cores, and threads, of a task on the cluster"
    )
    parser.add_argument(
        "--cluster-gpus", type=cli.gpu_share, help="GPUs of a task (default: 1 where there are any)"
    )


def _join_cluster(args: argparse.Namespace) -> Workers | None:
    if args.cluster is None:
        return None
    from fisher_al.running.cluster import Cluster  # Ray is not needed otherwise

    args.datadir = args.datadir.resolve()  # the machines of the cluster have other working folders
    return Cluster(args.cluster, args.cluster_cpus, args.cluster_gpus)
