"""Accuracy curves: collected from the checkpoints, summarised over runs, and printed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from fisher_al.chain import Chain
from fisher_al.errors import UserError
from fisher_al.files.layout import format_ratio
from fisher_al.training.checkpoints import load_checkpoint

# What --metric calls the accuracies that a checkpoint holds, and of which epoch they are.
METRICS = {"best": "acc", "last": "acc_last", "val": "acc_val"}
EPOCHS = {"best": "epoch best on test", "last": "last epoch", "val": "epoch best on validation"}


@dataclass(frozen=True)
class Curve:
    """Accuracies (percent) of one method: `values` (runs, iterations), NaN where a run is missing.

    settings : how the networks were trained, as far as it was recorded.
    """

    chain: Chain  # of the first run; the others differ in the run alone
    runs: tuple[str, ...]
    values: np.ndarray
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The paper's legend entry."""
        chain = self.chain
        members = len(chain.members)
        notation = chain.method.legend(members, max(1, chain.mc_samples // members))
        start = "" if chain.layout.pretrained else ", random init"
        return f"{notation}{start}{chain.validation_use}"

    @property
    def labels(self) -> np.ndarray:
        """Number of labeled images at each iteration."""
        return self.chain.budget * np.arange(1, self.values.shape[1] + 1)

    @property
    def percent(self) -> np.ndarray:
        """The same as a share of the full pool, before it was made imbalanced (the paper's x axis)."""
        return 100 * self.labels / self.chain.experiment.source.pool_size

    @property
    def counts(self) -> np.ndarray:
        return np.isfinite(self.values).sum(0)

    @property
    def mean(self) -> np.ndarray:
        """Mean over the runs that are there; NaN where none is."""
        return np.ma.masked_invalid(self.values).mean(0).filled(np.nan)

    @property
    def std(self) -> np.ndarray:
        """Sample standard deviation over runs; NaN where there are fewer than two."""
        return np.ma.masked_invalid(self.values).std(0, ddof=1).filled(np.nan)

    @property
    def missing(self) -> list[str]:
        """Names of the runs that are absent or end early, with what there is of them."""
        named = []
        for run, row in zip(self.runs, self.values, strict=True):
            absent = [str(b) for b in np.flatnonzero(np.isnan(row)) + 1]
            if absent:
                named.append(f"{run} b={','.join(absent)}" if len(absent) < len(row) else run)
        return named


def collect_curves(
    chains: Sequence[Chain], metric: str = "best", unreadable: Collection[Chain] = ()
) -> list[Curve]:
    """Read the accuracies of `chains` from their checkpoints: one curve per method, one row per run.

    With an ensemble the accuracy is the mean over its members. A checkpoint without the metric counts as
    missing, and so do all of chains that are known to be `unreadable`.
    Raises: UserError for others that cannot be read, and where runs of a curve record different settings.
    """
    by_method: dict[tuple, list[Chain]] = {}
    for chain in chains:
        layout = chain.layout
        key = (layout.imbalance_ratio, layout.pretrained, chain.method, layout.ensemble_size)
        by_method.setdefault(key, []).append(chain)
    return [_curve(group, metric, unreadable) for group in by_method.values()]


def _curve(group: Sequence[Chain], metric: str, unreadable: Collection[Chain]) -> Curve:
    """The curve of the runs of one method, with the settings that their checkpoints record."""
    made: dict[str, tuple[Any, Path]] = {}
    values = []
    for chain in group:
        accuracies = np.full((chain.iterations, len(chain.members)), np.nan)
        for batch, member in np.ndindex(accuracies.shape) if chain not in unreadable else ():
            path = chain.model_path(batch + 1, member)
            if path.is_file():
                checkpoint = load_checkpoint(path, "run run.py again")
                accuracies[batch, member] = checkpoint.get(METRICS[metric], np.nan)
                _require_alike(checkpoint.get("settings", {}), made, path, chain.layout.ensemble_size)
        values.append(accuracies.mean(1))
    settings = {name: value for name, (value, _) in made.items()}
    first = next((chain for chain in group if chain not in unreadable), group[0])
    recorded = {name: settings.get(name, getattr(first, name)) for name in ("mc_samples", "seed")}
    return Curve(
        replace(first, **recorded), tuple(chain.layout.run for chain in group), np.array(values), settings
    )


def _require_alike(
    settings: Mapping[str, Any], made: dict[str, tuple[Any, Path]], path: Path, ensemble_size: int
) -> None:
    """Raise UserError if a checkpoint is of another ensemble, or was made otherwise than those before.

    made : settings so far, and the first checkpoint of each; those of this one are added.
    """
    if settings.get("ensemble_size", ensemble_size) != ensemble_size:
        size = settings["ensemble_size"]
        raise UserError(f"{path}: one of an ensemble of {size}, not of {ensemble_size}; give -ens {size}")
    for name, value in settings.items():
        known, other = made.setdefault(name, (value, path))
        if known != value:
            raise UserError(
                f"{path}: made with {name} {value}, and {other} with {known}, which makes no curve; choose "
                "runs of one kind by --run-start and --run-stop"
            )


def results_table(curves: Sequence[Curve]) -> list[list[str]]:
    """Rows for a printed table, one per curve: method, runs, and mean ± deviation at each iteration."""
    rows = []
    for curve in curves:
        cells = [
            "" if count == 0 else f"{mean:.2f}" if count == 1 else f"{mean:.2f}±{std:.2f}"
            for mean, std, count in zip(curve.mean, curve.std, curve.counts, strict=True)
        ]
        rows.append([curve.chain.curve_name, f"{curve.counts.max()}/{len(curve.runs)}", *cells])
    return rows


def results_header(curves: Sequence[Curve]) -> list[str]:
    """Header of `results_table`."""
    return ["method", "runs", *(f"b={b}" for b in range(1, max(c.values.shape[1] for c in curves) + 1))]


def missing_runs(curves: Sequence[Curve]) -> list[str]:
    """One line per curve that lacks runs."""
    return [
        f"missing: {curve.chain.curve_name}: {', '.join(curve.missing)}" for curve in curves if curve.missing
    ]


def print_results(curves: Sequence[Curve], metric: str = "best") -> None:
    """Print mean and deviation of every curve, one table per imbalance ratio, and which runs are missing."""
    epoch = "" if metric == "best" else f" of the {EPOCHS[metric]}"
    for ratio in dict.fromkeys(curve.chain.layout.imbalance_ratio for curve in curves):
        chosen = [curve for curve in curves if curve.chain.layout.imbalance_ratio == ratio]
        name = f"{chosen[0].chain.experiment.name}, ir {format_ratio(ratio)}"
        print(f"\n{name}: test accuracy{epoch}, %, mean±standard deviation over runs")
        print(tabulate(results_table(chosen), headers=results_header(chosen), disable_numparse=True))
        for line in missing_runs(chosen):
            print(line)
