"""What run_plot.py does: curves as figures, tables and files, compared with one another and the paper."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from fisher_al.commands import options as cli
from fisher_al.commands.options import Experiments, Parser
from fisher_al.commands.plan import chosen_figure, data_folder, make_chains
from fisher_al.errors import UserError
from fisher_al.experiment import Experiment, PaperFigure
from fisher_al.files.layout import format_ratio
from fisher_al.results.comparison import (
    COMPARISON_HEADER,
    comparison_table,
    default_accuracy,
    label_saving,
    labels_to_reach,
    paper_differences,
)
from fisher_al.results.cost import COST_HEADER, collect_costs, cost_table, write_costs
from fisher_al.results.curve_files import read_json, write_csv, write_json
from fisher_al.results.curves import METRICS, Curve, collect_curves, print_results, results_header
from fisher_al.results.plotting import Saving, plot_costs, plot_curves


def run_plot_main(experiments: Experiments, arguments: Sequence[str]) -> None:
    """`run_plot.py`: figure, files and printed tables of the accuracy curves, one set per imbalance ratio."""
    parser = Parser("Plot accuracy over the labeled share of the pool, and write the numbers.")
    cli.add_figure_options(parser, experiments)
    add_metric_option(parser)
    parser.add_argument("--compare-paper", action="store_true", help="overlay the published curves")
    parser.add_argument("--reference", help="curve to compare the others with (default: varMC, or the first)")
    parser.add_argument(
        "--accuracy",
        type=cli.percentage,
        help="compare the labels to here (default: the reference's best)",
    )
    parser.add_argument("--data", type=Path, help="draw this JSON of an earlier run_plot.py, not the runs")
    parser.add_argument("--cost", action="store_true", help="draw the time of the methods, not the accuracy")
    args = parser.parse_args(arguments)
    experiment = experiments.choose(args)
    if args.cost:
        _draw_costs(experiment, args)
        return
    curves = _find_curves(experiment, args)
    folder = args.out or data_folder(experiment, args) / "figures"
    for ratio in dict.fromkeys(curve.chain.layout.imbalance_ratio for curve in curves):
        chosen = [curve for curve in curves if curve.chain.layout.imbalance_ratio == ratio]
        print_results(chosen)
        present = [curve for curve in chosen if curve.counts.any()]
        if present:
            _compare(present, args)
            _write(present, folder / _figure_name(experiment, ratio, args), experiment, args)


def add_metric_option(parser: Parser) -> None:
    """Which of the accuracies that a checkpoint holds."""
    parser.add_argument(
        "--metric",
        choices=list(METRICS),
        default="best",
        help="accuracy of the epoch that is best on test (the paper's), last, or best on validation",
    )


def _draw_costs(experiment: Experiment, args: argparse.Namespace) -> None:
    """Figure, table and file of the cost by method, one set per imbalance ratio."""
    if args.data is not None:
        raise UserError("--cost: drawn from the logs of the runs; leave --data out")
    costs = collect_costs(make_chains(experiment, args, "cpu"))
    if not costs:
        folder = data_folder(experiment, args)
        raise UserError(f"{folder}: no logs of these runs; run run.py first, which writes them")
    for ratio in dict.fromkeys(cost.chain.layout.imbalance_ratio for cost in costs):
        chosen = [cost for cost in costs if cost.chain.layout.imbalance_ratio == ratio]
        print(f"\n{experiment.name}, ir {format_ratio(ratio)}: seconds of an iteration, mean over runs")
        print(tabulate(cost_table(chosen), headers=COST_HEADER, disable_numparse=True))
        folder = args.out or data_folder(experiment, args) / "figures"
        stem = folder / f"{_figure_name(experiment, ratio, args)}_cost"
        paths = [Path(f"{stem}.{suffix}") for suffix in ("png", "pdf", "json")]
        plot_costs(chosen, paths[:2])
        write_costs(chosen, paths[2])
        print("\nfigure and numbers:", *paths, sep="\n  ")


def _find_curves(experiment: Experiment, args: argparse.Namespace) -> list[Curve]:
    if args.data is None:
        curves = collect_curves(make_chains(experiment, args, "cpu"), args.metric)
    else:
        chosen_figure(experiment, args)  # an unknown one is an error before anything is read
        curves, args.metric = read_json(args.data, experiment)
    if not any(curve.counts.any() for curve in curves):
        raise UserError(f"{data_folder(experiment, args)}: no results of these runs; run run.py first")
    return curves


def _compare(curves: Sequence[Curve], args: argparse.Namespace) -> None:
    reference = _find(curves, args.reference, "--reference") if args.reference else _default_reference(curves)
    accuracy = args.accuracy or default_accuracy(curves, reference)
    print(f"\narea under the curve (mean accuracy over the labels, %), against {reference.chain.kind};")
    print(f"labels saved on the way to {accuracy:g}%, in the runs that both have; [95% interval, bootstrap]")
    table = comparison_table(curves, reference, accuracy)
    print(tabulate(table, headers=COMPARISON_HEADER, disable_numparse=True))
    if args.compare_paper:
        print_paper_differences(curves)


def print_paper_differences(curves: Sequence[Curve]) -> None:
    """Print ours minus published at every iteration, of the curves that the paper shows."""
    print("\nours minus published, percentage points (* more than two standard errors of our mean)")
    headers = [name for name in results_header(curves) if name != "runs"]
    print(tabulate(paper_differences(curves), headers=headers, disable_numparse=True))


def _find(curves: Sequence[Curve], kind: str, option: str) -> Curve:
    named = {curve.chain.kind: curve for curve in curves}
    if kind not in named:
        raise UserError(f"{option} {kind}: not among the curves, which are {', '.join(named)}")
    return named[kind]


def _default_reference(curves: Sequence[Curve]) -> Curve:
    return next((curve for curve in curves if curve.chain.kind == "varMC"), curves[0])


def _write(curves: Sequence[Curve], stem: Path, experiment: Experiment, args: argparse.Namespace) -> None:
    paths = {suffix: Path(f"{stem}.{suffix}") for suffix in ("png", "pdf", "csv", "json")}
    saving = _claimed_saving(curves, chosen_figure(experiment, args))
    plot_curves(curves, [paths["png"], paths["pdf"]], args.compare_paper, saving)
    write_csv(curves, paths["csv"])
    if args.data is None:
        write_json(curves, args.metric, paths["json"])
    else:
        del paths["json"]
    print("\nfigure and numbers:", *paths.values(), sep="\n  ")


def _claimed_saving(curves: Sequence[Curve], figure: PaperFigure | None) -> Saving | None:
    """What the paper's figure claims, computed from these curves; None if they do not show it."""
    if figure is None:
        return None
    ours, other, accuracy = figure.claim
    named = {curve.chain.kind: curve for curve in curves}
    if ours not in named or other not in named:
        return None
    saving = Saving(named[ours], named[other], accuracy)
    drawn = (labels_to_reach(curve, accuracy) for curve in saving[:2])
    return None if any(map(math.isnan, (label_saving(*saving), *drawn))) else saving


def _figure_name(experiment: Experiment, ratio: float, args: argparse.Namespace) -> str:
    if args.data is not None:
        return args.data.stem
    if args.figure:
        parts = [f"{experiment.name.lower()}-{args.figure}"]
        parts += [f"ir_{format_ratio(ratio)}"] if args.imbalance_ratio else []
    else:
        parts = [experiment.name, f"ir_{format_ratio(ratio)}"]
        starts = set(args.unsupervised)
        parts += ["random_init"] if starts == {0} else ["both_inits"] if starts == {0, 1} else []
    parts += [f"nr_{args.noisy_ratio}"] if args.noisy_ratio else []
    parts += [args.metric] if args.metric != "best" else []
    return "_".join(parts)
