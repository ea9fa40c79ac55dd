"""What run_plot.py does: curves as figures, tables and files, compared with one another and the paper."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from tabulate import tabulate

from fisher_al.chain import Chain
from fisher_al.commands.options import CampaignOptions, DrawingOptions
from fisher_al.commands.parsing import option, percentage, switch
from fisher_al.commands.plan import campaign_chains, chosen_figure
from fisher_al.commands.scripts import Datasets, parse
from fisher_al.errors import UserError
from fisher_al.experiment import Experiment, PaperFigure, Variant
from fisher_al.files.layout import format_ratio
from fisher_al.files.locks import sole_writer
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
from fisher_al.results.curves import EPOCHS, METRICS, Curve, collect_curves, print_results, results_header
from fisher_al.results.plotting import Saving, plot_costs, plot_curves, plot_metrics
from fisher_al.results.published import published_mean


@dataclass(frozen=True)
class MetricOptions:
    """accuracy"""

    metric: tuple[str, ...] | None = option(
        "--metric",
        choices=list(METRICS),
        nargs="+",
        help="accuracy of the epoch that is best on test (the paper's), last, or best on validation; several "
        "are shown side by side (default: best, or the figure's)",
    )


@dataclass(frozen=True)
class PlotOptions(DrawingOptions, MetricOptions, CampaignOptions):
    """comparison"""

    compare_paper: bool = switch("--compare-paper", "overlay the published curves")
    reference: str | None = option(
        "--reference", help="curve to compare the others with (default: varMC, or the first)"
    )
    accuracy: float | None = option(
        "--accuracy", type=percentage, help="compare the labels to here (default: the reference's best)"
    )
    data: tuple[Path, ...] | None = option(
        "--data",
        type=Path,
        nargs="+",
        help="draw this JSON of an earlier run_plot.py, not the runs; of several files, say of several "
        "machines, the runs together; one that several have is the last one's",
    )
    cost: bool = switch("--cost", "draw the time of the methods, not the accuracy")


def run_plot_main(datasets: Datasets, arguments: Sequence[str]) -> None:
    """`run_plot.py`: figure, files and printed tables of the accuracy curves, one set per imbalance ratio."""
    options, experiment = parse(
        "Plot accuracy over the labeled share of the pool, and write the numbers.",
        PlotOptions,
        datasets,
        arguments,
        without=datasets.reading + datasets.describing,
    )
    if options.cost:
        _draw_costs(experiment, options)
        return
    by_metric = _find_curves(experiment, options)
    if options.compare_paper and len(by_metric) > 1:
        raise UserError("--compare-paper: not with several accuracies side by side; name one --metric")
    every = [curve for curves in by_metric.values() for curve in curves]
    if options.compare_paper and all(published_mean(curve.chain) is None for curve in every):
        raise UserError("--compare-paper: the paper shows none of these curves; leave it out")
    for curves in by_metric.values():
        _require_names(curves)
    names = list(dict.fromkeys(curve.chain.curve_name for curve in every))
    if options.reference and options.reference not in names:
        raise UserError(
            f"--reference {options.reference}: not among the curves, which are {', '.join(names)}"
        )
    folder = options.out or options.data_folder(experiment.name) / "figures"
    is_copy = options.data is not None and len(options.data) == len(by_metric)
    ratios = _ratios(curve.chain for curve in every)
    for ratio in ratios:
        panels = {}
        for metric, curves in by_metric.items():
            chosen = [curve for curve in curves if curve.chain.layout.imbalance_ratio == ratio]
            print_results(chosen, metric)
            if present := [curve for curve in chosen if curve.counts.any()]:
                _compare(present, options, metric)
                panels[metric] = present
        if panels:
            name = _figure_name(experiment, ratio, options, list(panels))
            if options.data is not None and len(ratios) > 1:
                name += f"_ir_{format_ratio(ratio)}"
            _write(panels, folder / name, experiment, options, is_copy)


def _require_names(curves: Sequence[Curve]) -> None:
    """Raise UserError if two curves of one pool would carry one name."""
    known: set[tuple[float, str]] = set()
    for curve in curves:
        name = curve.chain.layout.imbalance_ratio, curve.chain.curve_name
        if name in known:
            raise UserError(
                f"--data: two curves are {name[1]}, of other settings (--keep, seed or budget); draw their "
                "files on their own"
            )
        known.add(name)


def _ratios(chains: Iterable[Chain]) -> list[float]:
    return list(dict.fromkeys(chain.layout.imbalance_ratio for chain in chains))


def _draw_costs(experiment: Experiment, options: PlotOptions) -> None:
    """Figure, table and file of the cost by method, one set per imbalance ratio."""
    if options.data is not None:
        raise UserError("--cost: drawn from the logs of the runs; leave --data out")
    costs = collect_costs(campaign_chains(experiment, options))
    if not costs:
        folder = options.data_folder(experiment.name)
        raise UserError(f"{folder}: no logs of these runs; run run.py first, which writes them")
    for ratio in _ratios(cost.chain for cost in costs):
        chosen = [cost for cost in costs if cost.chain.layout.imbalance_ratio == ratio]
        print(f"\n{experiment.name}, ir {format_ratio(ratio)}: seconds of an iteration, mean over runs")
        print(tabulate(cost_table(chosen), headers=COST_HEADER, disable_numparse=True))
        folder = options.out or options.data_folder(experiment.name) / "figures"
        stem = folder / f"{_figure_name(experiment, ratio, options)}_cost"
        paths = [Path(f"{stem}.{suffix}") for suffix in ("png", "pdf", "json")]
        with sole_writer(paths):
            plot_costs(chosen, paths[:2])
            write_costs(chosen, paths[2])
        print("\nfigure and numbers:", *paths, sep="\n  ")


def _find_curves(experiment: Experiment, options: PlotOptions) -> dict[str, list[Curve]]:
    """The curves to draw, by which accuracy they show."""
    figure = chosen_figure(experiment, options)  # an unknown one is an error before anything is read
    if options.data is not None:
        if given := _choices(options):
            raise UserError(f"--data: draws what its files hold; leave {', '.join(given)} out")
        by_metric = read_json(*options.data, experiment=experiment)
    else:
        chains = campaign_chains(experiment, options)
        metrics = options.metric or (figure.metrics if figure else ("best",))
        by_metric = {metric: collect_curves(chains, metric) for metric in dict.fromkeys(metrics)}
    if not any(curve.counts.any() for curves in by_metric.values() for curve in curves):
        if options.data is not None:
            raise UserError(f"{', '.join(map(str, options.data))}: no accuracy in it; write it again")
        folder = options.data_folder(experiment.name)
        raise UserError(f"{folder}: no results of these runs, or none with that accuracy; run run.py first")
    return by_metric


def _choices(options: PlotOptions) -> list[str]:
    """The flags given that say which chains, and which accuracy."""
    chosen = [own for own in fields(CampaignOptions) if own.name not in ("dataset", "datadir", "figure")]
    chosen += fields(MetricOptions)
    return [own.metadata["flags"][-1] for own in chosen if getattr(options, own.name) != own.default]


def _compare(curves: Sequence[Curve], options: PlotOptions, metric: str) -> None:
    named = [curve for curve in curves if curve.chain.curve_name == options.reference]
    reference = named[0] if named else _default_reference(curves)
    accuracy = options.accuracy or default_accuracy(reference)
    print(f"\narea under the curve (mean accuracy over the labels, %), against {reference.chain.curve_name};")
    print(f"labels saved on the way to {accuracy:g}%, in the runs that both have; [95% interval]")
    table = comparison_table(curves, reference, accuracy)
    print(tabulate(table, headers=COMPARISON_HEADER, disable_numparse=True))
    if options.compare_paper:
        print_paper_differences(curves, metric)


def print_paper_differences(curves: Sequence[Curve], metric: str) -> None:
    """Print ours minus published at every iteration, of the curves that the paper shows."""
    ours = "ours" if metric == "best" else f"ours ({EPOCHS[metric]})"
    theirs = "published" if metric == "best" else f"published ({EPOCHS['best']})"
    print(f"\n{ours} minus {theirs}, percentage points (* more than two of its standard errors)")
    headers = [name for name in results_header(curves) if name != "runs"]
    print(tabulate(paper_differences(curves), headers=headers, disable_numparse=True))


def _default_reference(curves: Sequence[Curve]) -> Curve:
    return next((curve for curve in curves if curve.chain.curve_name == "varMC"), curves[0])


def _write(
    panels: Mapping[str, Sequence[Curve]],
    stem: Path,
    experiment: Experiment,
    options: PlotOptions,
    is_copy: bool,
) -> None:
    """The figure, and the numbers of each of its panels, if they are not a copy of the JSON that was read."""
    drawn = [Path(f"{stem}.{suffix}") for suffix in ("png", "pdf")]
    numbers = {metric: Path(f"{stem}_{metric}" if len(panels) > 1 else stem) for metric in panels}
    suffixes = ("csv",) if is_copy else ("csv", "json")
    written = [Path(f"{name}.{suffix}") for name in numbers.values() for suffix in suffixes]
    read = {path.resolve() for path in options.data or ()}
    if replaced := [path for path in written if path.resolve() in read]:
        raise UserError(f"{replaced[0]}: is read, and would be written over; give another folder with --out")
    with sole_writer([*drawn, *written]):
        if len(panels) > 1:
            plot_metrics(panels, drawn)
        else:
            [curves] = panels.values()
            saving = _claimed_saving(curves, chosen_figure(experiment, options))
            plot_curves(curves, drawn, options.compare_paper, saving)
        for metric, name in numbers.items():
            write_csv(panels[metric], Path(f"{name}.csv"))
            if not is_copy:
                write_json(panels[metric], metric, Path(f"{name}.json"))
    print("\nfigure and numbers:", *drawn, *written, sep="\n  ")


def _claimed_saving(curves: Sequence[Curve], figure: PaperFigure | None) -> Saving | None:
    """What the paper's figure claims, computed from these curves; None if they do not show it."""
    if figure is None:
        return None
    ours, other, accuracy = figure.claim
    named = {curve.chain.curve_name: curve for curve in curves}
    if ours not in named or other not in named:
        return None
    saving = Saving(named[ours], named[other], accuracy)
    drawn = (labels_to_reach(curve, accuracy) for curve in saving[:2])
    return None if any(map(math.isnan, (label_saving(*saving), *drawn))) else saving


def _figure_name(
    experiment: Experiment, ratio: float, options: PlotOptions, metrics: Sequence[str] = ()
) -> str:
    if options.data is not None:
        name = options.data[0].stem
        return name.removesuffix(f"_{metrics[0]}") if len(metrics) > 1 else name
    if options.figure:
        parts = [f"{experiment.name.lower()}-{options.figure}"]
        parts += [f"ir_{format_ratio(ratio)}"] if options.imbalance_ratio else []
    else:
        parts = [experiment.name, f"ir_{format_ratio(ratio)}"]
        starts = set(options.unsupervised)
        parts += ["random_init"] if starts == {0} else ["both_inits"] if starts == {0, 1} else []
    parts += [f"nr_{options.noisy_ratio}"] if options.noisy_ratio else []
    figure = chosen_figure(experiment, options)
    keep, metrics_shown = (figure.keep, figure.metrics) if figure else ("best", ("best",))
    variant = options.variant(keep)
    parts += [variant.folder or "keep_best"] if variant != Variant(keep=keep) else []
    parts += [*options.metric] if options.metric not in (None, metrics_shown) else []
    return "_".join(parts)
