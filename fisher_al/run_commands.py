"""What run.py and run_plot.py do: plan many chains, run them, show their curves."""

from __future__ import annotations

import argparse
import traceback
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from fisher_al import cli
from fisher_al import curves as curve_tools
from fisher_al.cli import Experiments, Parser, choose_device, override_schedule
from fisher_al.errors import UserError
from fisher_al.evaluation import default_evaluation_batch_size
from fisher_al.experiment import Experiment
from fisher_al.layout import Layout, format_ratio
from fisher_al.methods import parse_method
from fisher_al.plotting import plot_curves
from fisher_al.runner import ChainTask, InitialModel, Task, run_tasks
from fisher_al.stages.chain import Chain

# The paper's number of runs: together they keep a GPU a little busier than one.
REPLICAS_ON_GPU = 10


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
    parser.add_argument("--jobs", type=cli.count, default=1, help="chains to run side by side")
    parser.add_argument(
        "--replicas",
        type=cli.count,
        help="networks (of several runs or of an ensemble) to train in one batched step "
        "(default: 10 on a GPU, 1 on the CPU, where --jobs is faster)",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    args = parser.parse_args(arguments)
    experiment = experiments[args.dataset]
    device = choose_device(args.gpu)
    if args.initial:
        tasks: list[Task] = _initial_models(experiment, args, device)
    else:
        chains = make_chains(experiment, args, [bool(args.unsupervised)], device)
        tasks = plan_chains(chains, args.replicas)
    _print_plan(tasks)
    if args.dry_run:
        return 0
    cli.announce(device)
    for task in tasks:
        task.prepare()
    failed = run_tasks(tasks, args.jobs, "model" if args.initial else "iteration")
    if args.initial:
        done = sum(task.done for task in tasks)
        print(f"{done} of {len(tasks)} initial models are in {_folder(experiment, args)}")
    else:
        _print_results(curve_tools.collect_curves(chains))
    return _report_failures(failed)


def _folder(experiment: Experiment, args: argparse.Namespace) -> Path:
    return args.datadir / experiment.name


def _runs(experiment: Experiment, args: argparse.Namespace) -> list[str]:
    stop = experiment.runs if args.run_stop is None else args.run_stop
    if stop <= args.run_start:
        raise UserError(
            f"--run-start {args.run_start} --run-stop {stop}: no run in that range; raise --run-stop"
        )
    return [f"run{number}" for number in range(args.run_start, stop)]


def _ratios(experiment: Experiment, args: argparse.Namespace) -> list[float]:
    return list(dict.fromkeys(args.imbalance_ratio or experiment.imbalance_ratios))


def _initial_models(experiment: Experiment, args: argparse.Namespace, device: str) -> list[InitialModel]:
    """Initial models of ensembles, and in any case the single ones that most methods start from."""
    schedule = override_schedule(experiment.pretraining, args)
    return [
        InitialModel(
            experiment,
            Layout(_folder(experiment, args), run, ratio, args.noisy_ratio, pretrained, ensemble_size),
            member,
            schedule,
            args.seed,
            device,
        )
        for ratio in _ratios(experiment, args)
        for run in _runs(experiment, args)
        for pretrained in (False, True)
        for ensemble_size in dict.fromkeys([1, *args.ensemble_size])
        for member in range(ensemble_size)
    ]


def make_chains(
    experiment: Experiment, args: argparse.Namespace, starts: Sequence[bool], device: str
) -> list[Chain]:
    """The chains that the options ask for; ensemble sizes apply to methods that have ensembles."""
    methods = dict.fromkeys(parse_method(token, experiment) for token in args.methods or experiment.methods)
    return [
        Chain(
            experiment=experiment,
            layout=Layout(_folder(experiment, args), run, ratio, args.noisy_ratio, pretrained, ensemble_size),
            method=method,
            training=override_schedule(experiment.training, args),
            iterations=args.iterations or experiment.iterations,
            budget=args.augment_size or experiment.budget,
            mc_samples=args.sample_steps or experiment.mc_samples,
            gen_batch_size=getattr(args, "gen_batch_size", 1),  # run_plot.py describes nothing
            test_batch_size=default_evaluation_batch_size(device),
            seed=args.seed,
            device=device,
        )
        for ratio in _ratios(experiment, args)
        for run in _runs(experiment, args)
        for pretrained in starts
        for method in methods
        for ensemble_size in (dict.fromkeys(args.ensemble_size) if method.kind.ensembles else [1])
    ]


def plan_chains(chains: Sequence[Chain], replicas: int | None) -> list[ChainTask]:
    """The chains as tasks: one by one, or the runs of a method together where replicas train side by side.

    Raises UserError if `replicas` were asked for of a network that cannot.
    """
    experiment = chains[0].experiment
    can_stack = not list(experiment.network(experiment.num_classes).buffers())
    if replicas is None:
        replicas = REPLICAS_ON_GPU if can_stack and chains[0].device != "cpu" else 1
    if replicas > 1 and not can_stack:
        raise UserError(
            f"--replicas {replicas}: the network of {experiment.name} has batch-norm statistics and cannot "
            "train side by side; leave --replicas out, or use --jobs"
        )
    alike: dict[tuple[object, ...], list[Chain]] = {}
    for chain in chains:
        layout = chain.layout
        key = chain.method.token, layout.imbalance_ratio, layout.pretrained, layout.ensemble_size
        alike.setdefault(key if replicas > 1 else (*key, layout.run), []).append(chain)
    return [
        ChainTask(tuple(runs[start : start + replicas]), replicas)
        for runs in alike.values()
        for start in range(0, len(runs), replicas)
    ]


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


def _print_results(curves: Sequence[curve_tools.Curve]) -> None:
    for ratio in dict.fromkeys(curve.chain.layout.imbalance_ratio for curve in curves):
        chosen = [curve for curve in curves if curve.chain.layout.imbalance_ratio == ratio]
        name = f"{chosen[0].chain.experiment.name}, ir {format_ratio(ratio)}"
        print(f"\n{name}: test accuracy, %, mean±standard deviation over runs")
        header = curve_tools.results_header(chosen)
        print(tabulate(curve_tools.results_table(chosen), headers=header, disable_numparse=True))
        for line in curve_tools.missing_runs(chosen):
            print(line)


def _report_failures(failed: Sequence[tuple[Task, Exception]]) -> int:
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


def run_plot_main(experiments: Experiments, arguments: Sequence[str]) -> None:
    """`run_plot.py`: figure, CSV and printed table of the accuracy curves, one set per imbalance ratio."""
    parser = Parser("Plot accuracy over the labeled share of the pool, and write the numbers.")
    cli.add_common_options(parser, experiments)
    cli.add_campaign_options(parser)
    cli.add_sampling_options(parser)
    cli.add_start_option(parser, several=True)
    parser.add_argument(
        "--metric",
        choices=list(curve_tools.METRICS),
        default="best",
        help="accuracy of the epoch that is best on test (the paper's), last, or best on validation",
    )
    parser.add_argument("--out", type=Path, help="folder of the figures (default: datadir/dataset/figures)")
    args = parser.parse_args(arguments)
    experiment = experiments[args.dataset]
    chains = make_chains(experiment, args, [bool(start) for start in dict.fromkeys(args.unsupervised)], "cpu")
    curves = curve_tools.collect_curves(chains, args.metric)
    if not any(curve.counts.any() for curve in curves):
        raise UserError(f"{_folder(experiment, args)}: no results of these runs; run run.py first")
    _print_results(curves)
    folder = args.out or _folder(experiment, args) / "figures"
    for ratio in _ratios(experiment, args):
        chosen = [c for c in curves if c.chain.layout.imbalance_ratio == ratio and c.counts.any()]
        if not chosen:
            continue
        stem = folder / _figure_name(experiment, ratio, args)
        paths = [Path(f"{stem}{suffix}") for suffix in (".png", ".pdf", ".csv")]
        plot_curves(chosen, paths[:2])
        curve_tools.write_csv(chosen, paths[2])
        print("\nfigure and numbers:", *paths, sep="\n  ")


def _figure_name(experiment: Experiment, ratio: float, args: argparse.Namespace) -> str:
    parts = [experiment.name, f"ir_{format_ratio(ratio)}"]
    parts += [f"nr_{args.noisy_ratio}"] if args.noisy_ratio else []
    parts += ["random_init"] if args.unsupervised == [0] else []
    parts += [args.metric] if args.metric != "best" else []
    return "_".join(parts)
