"""Curves as files: CSV to look at, JSON to draw them again."""

from __future__ import annotations

import csv
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fisher_al.chain import Chain
from fisher_al.errors import UserError
from fisher_al.experiment import Experiment, Variant, parse_method
from fisher_al.files.layout import Layout, format_ratio
from fisher_al.files.run_log import versions
from fisher_al.files.storage import atomic_write, save_json
from fisher_al.results.curves import METRICS, Curve

# Columns of the CSV, followed by one per run.
CSV_COLUMNS = (
    *("method", "sub", "aug", "L", "E", "pretrained", "ir", "nr"),
    *("batch", "labels", "pool_percent", "runs", "mean", "std"),
)


def write_csv(curves: Sequence[Curve], path: Path) -> None:
    """Write one row per curve and iteration, with every run's accuracy; missing values stay empty."""
    runs = list(dict.fromkeys(run for curve in curves for run in curve.runs))
    with atomic_write(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*CSV_COLUMNS, *runs])
        for curve in curves:
            chain, by_run = curve.chain, dict(zip(curve.runs, curve.values, strict=True))
            method, layout = chain.method, chain.layout
            head = [method.token, method.sub, method.aug, method.length, layout.ensemble_size]
            head += [int(layout.pretrained), format_ratio(layout.imbalance_ratio), layout.noisy_ratio]
            for i in range(curve.values.shape[1]):
                where = [i + 1, curve.labels[i], f"{curve.percent[i]:g}", curve.counts[i]]
                accuracies = [
                    curve.mean[i],
                    curve.std[i],
                    *(by_run[run][i] if run in by_run else np.nan for run in runs),
                ]
                writer.writerow(head + where + ["" if np.isnan(a) else f"{a:.4f}" for a in accuracies])


def write_json(curves: Sequence[Curve], metric: str, path: Path) -> None:
    """Write every run's accuracies (percent; null where missing) with the command, settings and versions."""
    content = {
        "command": command_line(),
        "versions": versions(),
        "metric": metric,
        "dataset": curves[0].chain.experiment.name,
        "curves": [
            {
                "method": curve.chain.method.token,
                "E": curve.chain.layout.ensemble_size,
                "K": curve.chain.mc_samples if curve.chain.method.samples_repeatedly else None,
                "pretrained": curve.chain.layout.pretrained,
                "ir": curve.chain.layout.imbalance_ratio,
                "nr": curve.chain.layout.noisy_ratio,
                "budget": curve.chain.budget,
                "seed": curve.chain.seed,
                "settings": dict(curve.settings),
                "runs": {
                    run: [None if np.isnan(value) else round(float(value), 4) for value in row]
                    for run, row in zip(curve.runs, curve.values, strict=True)
                },
            }
            for curve in curves
        ],
    }
    save_json(content, path)


def command_line() -> str:
    """The command that this process was started with, from the folder of the script."""
    return shlex.join(["python3", Path(sys.argv[0]).name, *sys.argv[1:]])


def read_json(*paths: Path, experiment: Experiment) -> dict[str, list[Curve]]:
    """Curves that `write_json` wrote, by metric; of several files, the runs of a curve together.

    A run that is in more than one file is as the last has it.
    Raises: UserError if a file holds something else.
    """
    by_metric: dict[str, dict[object, Curve]] = {}
    for path in paths:
        curves, metric = _read_one(path, experiment)
        together = by_metric.setdefault(metric, {})
        for curve in curves:
            chain, layout = curve.chain, replace(curve.chain.layout, run="")
            key = (
                layout,
                chain.method,
                chain.iterations,
                chain.budget,
                chain.mc_samples,
                chain.seed,
                chain.variant,
            )
            together[key] = _joined(together[key], curve, path) if key in together else curve
    return {metric: list(together.values()) for metric, together in by_metric.items()}


def _joined(curve: Curve, other: Curve, path: Path) -> Curve:
    """The runs of both, sorted by number; those of `other`, from `path`, count where both have one."""
    for name in curve.settings.keys() & other.settings.keys():
        if curve.settings[name] != other.settings[name]:
            raise UserError(
                f"{path}: {curve.chain.curve_name} with {name} {other.settings[name]}, elsewhere "
                f"{curve.settings[name]}; draw them on their own"
            )
    values = dict(zip((*curve.runs, *other.runs), (*curve.values, *other.values), strict=True))
    runs = sorted(values, key=lambda run: (len(run), run))
    return Curve(
        curve.chain,
        tuple(runs),
        np.stack([values[run] for run in runs]),
        {**curve.settings, **other.settings},
    )


def _read_one(path: Path, experiment: Experiment) -> tuple[list[Curve], str]:
    if not path.is_file():
        raise UserError(f"{path}: not found; name a JSON file that run_plot.py wrote")
    try:
        content = json.loads(path.read_text())
        dataset, metric, entries = content["dataset"], str(content["metric"]), content["curves"]
        if metric not in METRICS:
            raise ValueError(f"metric {metric[:20]}")
        curves = [_curve(entry, experiment) for entry in entries if dataset == experiment.name]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{path}: not the JSON of curves ({error!r}); write it again with run_plot.py"
        ) from error
    except UserError as error:  # of the name of a method
        raise UserError(f"{path}: {error}") from error
    if not curves:
        raise UserError(f"{path}: {len(entries)} curves of {dataset}; curves of {experiment.name} are needed")
    return curves, metric


def _curve(entry: dict, experiment: Experiment) -> Curve:
    def number(name: str, least: float, most: float, kinds: Any = int) -> Any:
        return _within(entry[name], least, most, kinds)

    runs = entry["runs"]
    rows = [[np.nan if value is None else _within(value, 0, 100) for value in row] for row in runs.values()]
    if not rows or not rows[0] or len({len(row) for row in rows}) > 1:
        raise ValueError("runs that are empty or of different lengths")
    if not all(map(str.isprintable, runs)):
        raise ValueError("a run whose name cannot be printed")
    ratio, noise = number("ir", 1, 1e9, (int, float)), number("nr", 0, 1, (int, float))
    layout = Layout(
        Path(), next(iter(runs)), float(ratio), noise, bool(number("pretrained", 0, 1)), number("E", 1, 1000)
    )
    settings = entry.get("settings", {})
    if not isinstance(settings, dict):
        raise ValueError("settings that are no object")
    method = parse_method(str(entry["method"]), experiment)
    chain = Chain.by_protocol(
        experiment,
        layout,
        method,
        iterations=len(rows[0]),
        budget=number("budget", 0 if method.asks_nothing else 1, 10**9),
        mc_samples=experiment.mc_samples if entry["K"] is None else number("K", 1, 10**9),
        seed=number("seed", 0, float("inf")),
        variant=Variant.recorded_in(settings),
    )
    return Curve(chain, tuple(runs), np.array(rows, dtype=float), settings)


def _within(value: Any, least: float, most: float, kinds: Any = (int, float)) -> Any:
    """The value, if it is a number of one of the kinds, and in range."""
    if not isinstance(value, kinds) or not least <= value <= most:
        raise ValueError(f"{str(value)[:20]} where a number from {least} to {most} belongs")
    return value
