"""How curves compare: labels saved, area under the curve, mean rank, confidence intervals, the paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.integrate import trapezoid
from scipy.stats import rankdata, sem, t

from fisher_al.results.curves import Curve
from fisher_al.results.published import published_mean

CONFIDENCE = 0.95


def labels_to_reach(curve: Curve, accuracy: float) -> float:
    """Smallest number of labels at which the mean curve, interpolated between iterations, is at `accuracy`.

    NaN if the curve starts above it, where the number is not known, or never gets there.
    """
    reached = np.flatnonzero(curve.mean >= accuracy)
    if not len(reached) or np.isnan(curve.mean[0]) or curve.mean[0] > accuracy:
        return float("nan")
    last = reached[0]
    if last == 0:
        return float(curve.labels[0])
    before, after = curve.mean[last - 1], curve.mean[last]
    share = (accuracy - before) / (after - before)
    return float(curve.labels[last - 1] + share * (curve.labels[last] - curve.labels[last - 1]))


def label_saving(curve: Curve, reference: Curve, accuracy: float) -> float:
    """Share of the reference's labels that `curve` does without on the way to `accuracy` (percent).

    Of the runs that both have, since those share pools and initial weights. NaN outside of the accuracies
    that both mean curves pass, and against a reference without labels.
    """
    curve, reference = _paired(curve, reference)
    if not reference.chain.budget:
        return float("nan")
    return 1 - labels_to_reach(curve, accuracy) / labels_to_reach(reference, accuracy)


def _paired(*curves: Curve) -> list[Curve]:
    """The curves over the runs and iterations that all of them have."""
    common = [run for run in curves[0].runs if all(run in curve.runs for curve in curves)]
    length = min(curve.values.shape[1] for curve in curves)
    values = np.array([[curve.values[curve.runs.index(run), :length] for run in common] for curve in curves])
    values = values.reshape(len(curves), len(common), length)
    values = np.where(np.isfinite(values).all(0), values, np.nan)
    return [replace(curve, runs=tuple(common), values=own) for curve, own in zip(curves, values, strict=True)]


def areas(curve: Curve) -> np.ndarray:
    """Area under each run's curve over the labels, as mean accuracy in percent (runs,); NaN if cut short."""
    iterations = curve.values.shape[1]
    if iterations == 1:
        return curve.values[:, 0]
    return trapezoid(curve.values, axis=1) / (iterations - 1)


def mean_ranks(curves: Sequence[Curve]) -> np.ndarray:
    """Mean rank of each curve among `curves` (1 is best) over the iterations and runs that all have.

    NaN where they have none, or other budgets.
    """
    values = np.stack([curve.values for curve in _paired(*curves)])
    complete = np.isfinite(values).all(0)
    if not complete.any() or not _have_one_budget(curves):
        return np.full(len(curves), np.nan)
    return rankdata(-values[:, complete], axis=0).mean(1)


def _have_one_budget(curves: Sequence[Curve]) -> bool:
    """Whether the curves lie over the same labels; one that asks for none is the same over any."""
    return len({curve.chain.budget for curve in curves} - {0}) < 2


def area_difference(curve: Curve, reference: Curve) -> tuple[float, float, float]:
    """Mean difference of the areas over the runs that both have, and its 95% confidence interval.

    Runs are paired: same pool, same initial weights. The interval is Student's, and NaN of one pair. All are
    NaN where the curves have other budgets, and so lie over other labels.
    """
    curve, reference = _paired(curve, reference)
    if not _have_one_budget([curve, reference]):
        return (float("nan"),) * 3
    differences = areas(curve) - areas(reference)
    differences = differences[np.isfinite(differences)]
    if not len(differences):
        return (float("nan"),) * 3
    return (float(differences.mean()), *_interval(differences))


def area_interval(curve: Curve) -> tuple[float, float, float]:
    """Mean area over the complete runs and its 95% confidence interval (Student's)."""
    complete = areas(curve)[np.isfinite(areas(curve))]
    if not len(complete):
        return (float("nan"),) * 3
    return (float(complete.mean()), *_interval(complete))


def _interval(values: np.ndarray) -> tuple[float, float]:
    if len(values) < 2:
        return float("nan"), float("nan")
    margin = t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * sem(values)
    return float(values.mean() - margin), float(values.mean() + margin)


COMPARISON_HEADER = ("method", "area [95%]", "mean rank", "area - reference [95%]", "labels saved")


def comparison_table(curves: Sequence[Curve], reference: Curve, accuracy: float) -> list[list[str]]:
    """Rows of text under `COMPARISON_HEADER`; labels saved are those for `accuracy` (percent)."""
    ranks = mean_ranks(curves)
    return [
        [
            curve.chain.curve_name,
            _with_interval(*area_interval(curve)),
            _or_dash(rank, ".1f"),
            "reference" if curve is reference else _with_interval(*area_difference(curve, reference), "+"),
            "" if curve is reference else _or_dash(label_saving(curve, reference, accuracy), ".0%"),
        ]
        for curve, rank in zip(curves, ranks, strict=True)
    ]


def _with_interval(value: float, low: float, high: float, sign: str = "") -> str:
    interval = "" if np.isnan(low) else f" [{low:{sign}.1f}, {high:{sign}.1f}]"
    return _or_dash(value, f"{sign}.1f") + interval


def _or_dash(value: float, form: str) -> str:
    return "-" if np.isnan(value) else f"{value:{form}}"


def default_accuracy(reference: Curve) -> float:
    """The highest whole percentage that the reference's mean curve reaches."""
    return float(np.floor(np.nanmax(reference.mean)))


def paper_differences(curves: Sequence[Curve]) -> list[list[str]]:
    """Ours minus published at every iteration, one row per curve that the paper shows.

    A difference of more than two of its standard errors is marked by *. The published spread is not known:
    the runs of the protocol are taken to vary as ours do.
    """
    rows = []
    for curve in curves:
        published = published_mean(curve.chain)
        if published is None:
            continue
        cells = []
        for mean, std, count, theirs in zip(curve.mean, curve.std, curve.counts, published, strict=False):
            difference = mean - theirs
            error = std * np.sqrt(1 / count + 1 / curve.chain.experiment.runs) if count > 1 else np.inf
            is_far = abs(difference) > 2 * error
            cells.append("" if np.isnan(difference) else f"{difference:+.1f}{'*' if is_far else ''}")
        rows.append([curve.chain.curve_name, *cells])
    return rows
