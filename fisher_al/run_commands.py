"""What run.py does: plan many chains, run them, print what came out."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence

from tabulate import tabulate

from fisher_al import cli
from fisher_al.campaign import data_folder, make_chains, make_initial_models, plan_chains
from fisher_al.cli import Experiments, Parser, choose_device
from fisher_al.curves import collect_curves, print_results
from fisher_al.distributed import launch, main_first, process_count
from fisher_al.errors import UserError
from fisher_al.layout import format_ratio
from fisher_al.runner import InitialModel, Task, run_tasks
from fisher_al.stages.chain import Chain


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
    args = parser.parse_args(arguments)
    if args.nproc > 1 and (args.jobs > 1 or (args.replicas or 1) > 1):
        raise UserError(
            f"--nproc {args.nproc}: chains run one after another; leave --jobs and --replicas out"
        )
    if args.nproc > 1 and process_count() == 1 and not args.dry_run:
        return launch(args.nproc, [sys.executable, sys.argv[0], *arguments])
    experiment = experiments.choose(args)
    device = choose_device(args.gpu)
    if args.initial:
        tasks: list[Task] = make_initial_models(experiment, args, device)
    else:
        chains = _own_chains(make_chains(experiment, args, device), args)
        tasks = plan_chains(chains, args.replicas)
    failed = carry_out(tasks, args, device, "model" if args.initial else "iteration")
    if failed is None:
        return 0
    if args.initial:
        done = sum(task.done for task in tasks)
        print(f"{done} of {len(tasks)} initial models are in {data_folder(experiment, args)}")
    else:
        print_results(collect_curves(chains))
    return report_failures(failed)


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
    tasks: Sequence[Task], args: argparse.Namespace, device: str, unit: str
) -> list[tuple[Task, Exception]] | None:
    """Print the plan and carry it out, `--jobs` tasks side by side, with one progress bar.

    Returns the tasks that failed with their errors; None where `--dry-run` asks for the plan alone.
    """
    _print_plan(tasks)
    if args.dry_run:
        return None
    cli.announce(device)
    for task in tasks:
        with main_first():
            task.prepare()
    return run_tasks(tasks, args.jobs, unit)


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


def report_failures(failed: Sequence[tuple[Task, Exception]]) -> int:
    """Raise or print what went wrong; exit code 0 if nothing, 1 if something unexpected did."""
    unexpected = [(task, error) for task, error in failed if not isinstance(error, UserError)]
    for task, error in unexpected:
        print(f"\nfailed: {task.name}")
        traceback.print_exception(error)
    if unexpected:
        return 1
    if failed:
        raise UserError("; ".join(f"{task.name}: {error}" for task, error in failed))
    return 0
