"""Figures: accuracy curves in the layout of the paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from fisher_al.chain import Chain
from fisher_al.files.layout import format_ratio
from fisher_al.files.storage import atomic_write
from fisher_al.results.comparison import label_saving, labels_to_reach
from fisher_al.results.cost import Cost
from fisher_al.results.curves import EPOCHS, Curve
from fisher_al.results.published import published_mean


class Saving(NamedTuple):
    """An annotation: the labels that `curve` saves over `reference` on the way to `accuracy` (percent)."""

    curve: Curve
    reference: Curve
    accuracy: float


def plot_curves(
    curves: Sequence[Curve], paths: Sequence[Path], with_paper: bool = False, saving: Saving | None = None
) -> None:
    """Draw mean and standard deviation over runs against the labeled share of the pool.

    x: labeled images in percent of the pool; y: top-1 test accuracy in percent. Points that no run has
    reached are left out. `with_paper` overlays the published curves. Each of `paths` is written in the
    format of its suffix.
    """
    is_crowded = len(curves) > 5
    # of its own rather than pyplot's: no display, no global state
    figure = Figure(figsize=(9.5, 6) if is_crowded else (7, 5), layout="constrained")
    axes = figure.add_subplot()
    for curve, line in zip(curves, _lines_of(curves), strict=True):
        _draw(axes, line)
        if with_paper:
            _draw_published(axes, curve)
    axes.set_title(_title(curves[0].chain), parse_math=False)
    axes.set_xlabel("labeled share of the pool, %")
    axes.set_ylabel("top-1 test accuracy, %")
    shares = _labeled_shares(curves)
    axes.set_xticks(shares[:: 1 + len(shares) // 13])
    axes.grid(alpha=0.3)
    if with_paper:
        axes.plot([], [], **_PUBLISHED, color="#555555", label="published (paper)")
    if saving:
        _annotate(axes, saving)
    if is_crowded:
        figure.legend(loc="outside right center", handlelength=3)
    else:
        axes.legend(loc="lower right", handlelength=3)
    _save(figure, paths)


def plot_metrics(panels: Mapping[str, Sequence[Curve]], paths: Sequence[Path]) -> None:
    """Draw the same curves by several accuracies, which are named as by --metric, side by side."""
    lines = {EPOCHS[metric]: _lines_of(curves) for metric, curves in panels.items()}
    first = next(iter(panels.values()))[0].chain
    plot_panels(lines, "labeled share of the pool, %", paths, "top-1 test accuracy, %", _title(first))


def _title(chain: Chain) -> str:
    """The dataset, which can be a user's folder of any name, and the pool; no formula, whatever it holds."""
    return f"{chain.experiment.name}, {describe_imbalance(chain.layout.imbalance_ratio)}"


def describe_imbalance(ratio: float) -> str:
    """What a figure's title says of an imbalance ratio."""
    return f"{format_ratio(ratio)}x class imbalance" if ratio != 1 else "no class imbalance"


def plot_panels(
    panels: Mapping[str, Sequence[Line]],
    x_label: str,
    paths: Sequence[Path],
    y_label: str = "",
    title: str = "",
    logarithmic: bool = False,
) -> None:
    """Draw lines side by side, one set of axes per name, with one legend.

    y_label : of what all of them show, whose axis they then share. logarithmic : whether x is.
    """
    figure = Figure(figsize=(4.2 * len(panels) + 1.2, 4.2), layout="constrained")
    row = figure.subplots(1, len(panels), squeeze=False, sharey=bool(y_label))[0]
    for axes, (name, lines) in zip(row, panels.items(), strict=True):
        for line in lines:
            _draw(axes, line)
        axes.set_title(name)
        axes.set_xlabel(x_label)
        if logarithmic:
            axes.set_xscale("log")
        axes.grid(alpha=0.3)
    row[0].set_ylabel(y_label)
    if title:
        figure.suptitle(title, parse_math=False)
    entries = [axes.get_legend_handles_labels() for axes in row]
    named = {name: handle for handles, names in entries for handle, name in zip(handles, names, strict=True)}
    figure.legend(named.values(), named.keys(), loc="outside right center", handlelength=3)
    _save(figure, paths)


def plot_costs(costs: Sequence[Cost], paths: Sequence[Path]) -> None:
    """Draw the seconds of an iteration as one bar per method, divided by stage."""
    figure = Figure(figsize=(7, 1.2 + 0.4 * len(costs)), layout="constrained")
    axes = figure.add_subplot()
    names = [cost.chain.curve_name for cost in costs]
    left = np.zeros(len(costs))
    for stage, color in zip(costs[0].seconds, ("#0072B2", "#E69F00"), strict=True):
        seconds = np.array([cost.seconds[stage] for cost in costs])
        bars = axes.barh(names, seconds, left=left, label=stage, color=color)
        left += seconds
    axes.bar_label(bars, [f"{total:.3g} s" for total in left], padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_title(_title(costs[0].chain), parse_math=False)
    axes.set_xlabel("seconds per iteration, mean over runs")
    figure.legend(loc="outside lower center", ncols=len(costs[0].seconds))
    _save(figure, paths)


def _save(figure: Figure, paths: Sequence[Path]) -> None:
    for path in paths:
        with atomic_write(path) as temporary:
            figure.savefig(temporary, dpi=150)


@dataclass(frozen=True)
class Line:
    """Mean and deviation over x, with how they are drawn; `hollow` markers are white inside."""

    label: str
    x: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    color: str | tuple[float, ...]
    marker: str
    style: str | tuple = "-"
    hollow: bool = False


def _labeled_shares(curves: Sequence[Curve]) -> np.ndarray:
    """In percent of the pool, those of the longest curve."""
    return max((curve.percent for curve in curves), key=lambda percent: (len(percent), percent[-1]))


def _lines_of(curves: Sequence[Curve]) -> list[Line]:
    percent = _labeled_shares(curves)
    return [_line_of(curve, percent) for curve in curves]


def _line_of(curve: Curve, percent: np.ndarray) -> Line:
    """The line of a curve; one that asks for no labels is drawn at the labels of others, in `percent`."""
    reached = curve.counts > 0
    x = curve.percent if curve.chain.budget else percent[: len(reached)]
    spread = curve.std.copy()
    spread[curve.counts < 2] = 0
    method = curve.chain.method
    return Line(
        label=curve.label,
        x=x[reached],
        mean=curve.mean[reached],
        deviation=spread[reached],
        color=_color(curve),
        marker=method.marker,
        style=_line_style(curve),
        hollow=not curve.chain.layout.pretrained,
    )


def _draw(axes: Axes, line: Line) -> None:
    axes.errorbar(
        line.x,
        line.mean,
        yerr=line.deviation,
        label=line.label,
        color=line.color,
        marker=line.marker,
        markerfacecolor="white" if line.hollow else line.color,
        linestyle=line.style,
        markersize=6.5 if line.hollow else 5,
        linewidth=1.4,
        capsize=2.5,
        elinewidth=0.9,
    )


_PUBLISHED: dict[str, Any] = {
    "linestyle": (0, (1, 2)),
    "linewidth": 1.1,
    "marker": ".",
    "markersize": 4,
    "alpha": 0.8,
}


def _draw_published(axes: Axes, curve: Curve) -> None:
    published = published_mean(curve.chain)
    if published is not None:
        shown = min(len(published), len(curve.percent))
        percent, published = curve.percent[:shown], published[:shown]
        known = np.isfinite(published)
        axes.plot(percent[known], published[known], color=_color(curve), **_PUBLISHED)


def _annotate(axes: Axes, saving: Saving) -> None:
    """A double arrow between the two curves at the accuracy; the legend tells the share of labels saved.

    Where that is small, there is no room for the arrow.
    """
    share = label_saving(*saving)
    per_label = saving.curve.percent[0] / saving.curve.labels[0]
    ends = [per_label * labels_to_reach(curve, saving.accuracy) for curve in saving[:2]]
    if abs(share) > 0.1:
        arrow = {"arrowstyle": "<->", "linewidth": 1.4, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", (ends[0], saving.accuracy), (ends[1], saving.accuracy), arrowprops=arrow, zorder=5)
    text = f"{abs(share):.0%} {'fewer' if share >= 0 else 'more'} labels at {saving.accuracy:g}%"
    axes.plot(
        [],
        [],
        linestyle="none",
        marker=r"$\leftrightarrow$",
        markersize=18,
        markeredgewidth=0,
        color="black",
        label=text,
    )


def _color(curve: Curve) -> str | tuple[float, ...]:
    """That of the method; from random weights a darker one."""
    color = curve.chain.method.color
    return color if curve.chain.layout.pretrained else tuple(0.5 * part for part in to_rgb(color))


def _line_style(curve: Curve) -> str | tuple:
    """Solid by default; random init, ensembles, shorter descriptors and what is not the paper's differ."""
    chain = curve.chain
    if chain.method.extension:
        return (0, (6, 1.5, 1, 1.5, 1, 1.5))
    is_shorter = chain.method.has_scales and chain.method.length != chain.experiment.default_length
    if not chain.layout.pretrained:
        return (0, (1, 1.5, 4, 1.5)) if is_shorter else ":"
    if len(chain.members) > 1:
        return "-."
    return "--" if is_shorter else "-"
