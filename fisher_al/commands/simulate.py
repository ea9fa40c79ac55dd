"""What `fisher-al simulate` does: rounds on images that are labeled already, by several methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from tabulate import tabulate
from tqdm import tqdm

from fisher_al.commands.labeling_options import (
    DEFAULT_METHOD,
    METHOD_HELP,
    NetworkOptions,
    TargetOptions,
    methods,
)
from fisher_al.commands.options import ComputeOptions
from fisher_al.commands.parsing import Parser, count, iterations, members, option
from fisher_al.commands.scripts import announce
from fisher_al.data.features import Features
from fisher_al.errors import UserError
from fisher_al.files.locks import sole_writer
from fisher_al.labeling.answers import read_validation, require_agreement
from fisher_al.labeling.catalogue import Catalogue, read_catalogue
from fisher_al.labeling.knowledge import Knowledge, spared
from fisher_al.labeling.pool import Pool
from fisher_al.labeling.report import shown
from fisher_al.labeling.round import known_images
from fisher_al.labeling.selection import Strategy
from fisher_al.labeling.simulation import Answers, Point, rarest_half, simulate
from fisher_al.labeling.tables import write_rows
from fisher_al.method.registry import METHODS
from fisher_al.results.plotting import Line, plot_panels
from fisher_al.seeds import derive_generator

COMPARED = ("random", "margin", "gradFmap", DEFAULT_METHOD)

# Field of a point, and what its panel and column are called.
MEASURES = {
    "accuracy": "accuracy, %",
    "balanced_accuracy": "balanced accuracy, %",
    "rare_recall": "recall of the rarest classes, %",
    "rare_picks": "rarest classes among the picks, %",
}


@dataclass(frozen=True)
class SimulateOptions(NetworkOptions, ComputeOptions, TargetOptions):
    """what to simulate"""

    pool: Path = option("pool", type=Path, metavar="POOL", help="folder of images, or a file that lists them")
    oracle: tuple[Path, ...] = option(
        "--oracle", type=Path, nargs="+", required=True, help="labels of the pool: CSV, folder, Label Studio"
    )
    validation: Path = option(
        "--validation", type=Path, required=True, help="labeled images of all classes, as in `pick`"
    )
    test: Path | None = option(
        "--test",
        type=Path,
        help="labeled images that score (default: a fifth of the oracle's, not picked then)",
    )
    budget: int = option("--budget", type=count, required=True, help="labels in every round")
    rounds: int = option("--rounds", type=iterations, default=8, help="how many rounds")
    seeds: int = option("--seeds", type=members, default=3, help="how often, by other random choices")
    methods: tuple[str, ...] = option(
        "--methods", type=methods, nargs="+", default=COMPARED, metavar="METHOD", help=METHOD_HELP
    )
    out: Path = option("--out", type=Path, required=True, help="folder for curves.csv and the figure")


def simulate_main(arguments: Sequence[str]) -> None:
    """`fisher-al simulate`: curves of several methods on a labeled pool."""
    parser = Parser("Try methods on images that are labeled already.", prog="fisher-al simulate")
    parser.add_options(SimulateOptions, without=("scales",))
    options = parser.read(SimulateOptions, parser.parse_args(arguments))
    if options.out.exists() and not options.out.is_dir():
        raise UserError(f"--out {options.out}: is a file; name a folder")
    options = replace(options, methods=tuple(dict.fromkeys(options.methods)))
    table, *figures = (options.out / f"curves.{suffix}" for suffix in ("csv", "png", "pdf"))
    for path in (table, *figures):
        if path.exists():
            raise UserError(f"--out {options.out}: holds {path.name} already; name a new folder")
    reading = options.reading(options.out, options.gpu)
    announce(reading.device)
    catalogue, test = _read(options)
    readable, images = known_images(catalogue, reading)
    _require_readable(catalogue, readable, test)
    known, answers = _divide(readable, images, test)
    needed, there = options.rounds * options.budget, len(known.pool)
    if needed > there:
        raise UserError(
            f"--budget {options.budget}: {options.rounds} rounds need {needed} labels, but the oracle knows "
            f"{there} images of the pool{'' if options.test else ' that do not score'}; choose a smaller "
            "one, or fewer --rounds"
        )
    points = _run(known, answers, options)
    if not points:
        raise UserError("--rounds: the labels are all of one class, so there was no head; ask for more")
    rare = ", ".join(shown(readable.classes[number]) for number in answers.rare.tolist())
    print(f"rarest classes: {rare}; {len(answers.test)} images score")
    print(
        tabulate(
            _table(points, options.methods),
            headers=("method", "labels", *MEASURES.values()),
            disable_numparse=True,
        )
    )
    panels = {title: _lines(points, options.methods, name) for name, title in MEASURES.items()}
    with sole_writer([table, *figures]):
        rows = (list(asdict(point).values()) for point in points)
        write_rows(table, [field.name for field in fields(Point)], rows)
        plot_panels(panels, "labels", figures)
    print(f"\n{options.out}: curves.csv, curves.png, curves.pdf")


def _read(options: SimulateOptions) -> tuple[Catalogue, frozenset[str]]:
    """The images, those that test being among the validation images, and which these are."""
    catalogue = read_catalogue(options.pool, options.validation, options.oracle)
    test = _given_test(catalogue, options) if options.test else _drawn_test(catalogue, options.seed)
    joined = replace(catalogue.without(test), validation={**catalogue.validation, **test})
    return joined, frozenset(test)


def _drawn_test(catalogue: Catalogue, seed: int) -> dict[str, str]:
    """A fifth of the oracle's images at random, with their labels."""
    keys, generator = list(catalogue.labels), derive_generator(seed, "test")
    drawn = torch.randperm(len(keys), generator=generator)[: -(-len(keys) // 5)]
    return {keys[number]: catalogue.labels[keys[number]] for number in drawn.tolist()}


def _given_test(catalogue: Catalogue, options: SimulateOptions) -> dict[str, str]:
    """What --test holds."""
    assert options.test is not None
    pool = Pool(catalogue.root, catalogue.images, {})
    test = read_validation(options.test, pool)
    if any(catalogue.labels[key] != test[key] for key in catalogue.labels.keys() & test.keys()):
        require_agreement(options.test, options.oracle, pool)
    if both := sorted(test.keys() & catalogue.validation.keys()):
        raise UserError(f"--test {options.test}: '{both[0]}' is a validation image, too; take it out of one")
    if unknown := sorted(set(test.values()) - set(catalogue.classes)):
        raise UserError(
            f"--test {options.test}: class '{unknown[0]}' is none of the oracle's or validation's"
        )
    return test


def _require_readable(catalogue: Catalogue, readable: Catalogue, test: frozenset[str]) -> None:
    """Raise UserError if a class has no validation image any more, or the test no image at all."""
    before, after = (
        {label for key, label in images.validation.items() if key not in test}
        for images in (catalogue, readable)
    )
    if lost := sorted(before - after):
        raise UserError(f"--validation: of class '{lost[0]}' no image can be read; give one that can be")
    if not test & readable.validation.keys():
        raise UserError("--test: none of its images can be read; give others, or leave it out")


def _divide(catalogue: Catalogue, images: Knowledge, test: frozenset[str]) -> tuple[Knowledge, Answers]:
    """What is known before the first round, and what the oracle knows, which the pool is limited to."""
    tests = torch.tensor([key in test for key in catalogue.validation], dtype=torch.bool)
    validation = {key: label for key, label in catalogue.validation.items() if key not in test}
    empty = torch.empty(0, dtype=torch.long)
    known = replace(
        images,
        pool=images.pool[images.labeled],
        validation=images.validation[~tests],
        validation_labels=images.validation_labels[~tests],
        spared=spared(validation),
        labeled=empty,
        labels=empty,
        left_out=empty,
    )
    scored = Features(images.rows, images.validation[tests], images.validation_labels[tests])
    return known, Answers(images.labels, rarest_half(images.labels, images.num_classes), scored)


def _run(known: Knowledge, answers: Answers, options: SimulateOptions) -> list[Point]:
    """Every method with every seed."""
    points: list[Point] = []
    total = len(options.methods) * options.seeds * (options.rounds + 1)
    with tqdm(total=total, desc="simulating", unit="round", delay=1) as bar:
        for method in options.methods:
            for seed in range(options.seed, options.seed + options.seeds):
                strategy = Strategy(
                    method, options.budget, options.hold_validation, options.near_duplicate, seed
                )
                points += simulate(known, answers, strategy, options.rounds, bar.update)
    return points


def _statistics(points: Sequence[Point], method: str, name: str) -> list[tuple[int, float, float]]:
    """Labels, mean and deviation over seeds, in percent, after every round; where there is a number."""
    by_labels: dict[int, list[Point]] = {}
    for point in points:
        if point.method == method:
            by_labels.setdefault(point.labels, []).append(point)
    found = ((labels, _mean_and_deviation(some, name)) for labels, some in sorted(by_labels.items()))
    return [(labels, *numbers) for labels, numbers in found if np.isfinite(numbers[0])]


def _mean_and_deviation(points: Sequence[Point], name: str) -> tuple[float, float]:
    values = [100 * getattr(point, name) for point in points]
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def _table(points: Sequence[Point], methods: Sequence[str]) -> list[list[object]]:
    """Means and deviations of every method after its last round, under the validation images alone."""
    first = [p for p in points if p.labels == 0 and p.method == methods[0]]
    rows: list[list[object]] = [["no picks", 0, *_cells(first)]] if first else []
    for method in methods:
        ordered = sorted((p for p in points if p.method == method), key=lambda point: point.labels)
        last = {point.seed: point for point in ordered}.values()
        labels = sorted({point.labels for point in last})
        rows.append([method, " to ".join(map(str, labels[:1] + labels[1:][-1:])), *_cells([*last])])
    return rows


def _cells(points: Sequence[Point]) -> list[str]:
    if not points:
        return []
    found = [_mean_and_deviation(points, name) for name in MEASURES]
    if len(points) == 1:
        return [f"{mean:.1f}" if np.isfinite(mean) else "" for mean, _ in found]
    return [f"{mean:.1f} ± {deviation:.1f}" if np.isfinite(mean) else "" for mean, deviation in found]


def _lines(points: Sequence[Point], methods: Sequence[str], name: str) -> list[Line]:
    lines = []
    for method in methods:
        if found := _statistics(points, method, name):
            labels, mean, deviation = (np.array(column) for column in zip(*found, strict=True))
            parts = [METHODS[name] for name in method.split("+")]
            notation = " + ".join(part.notation for part in parts)
            style = "-" if len(parts) == 1 else "--"
            lines.append(Line(notation, labels, mean, deviation, parts[0].color, parts[0].marker, style))
    return lines
