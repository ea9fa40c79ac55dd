"""What picks are worth on photographs: rounds with the answers known, by method and validation images.

    python3 benchmarks/labeling.py            # from the root; needs ../shared, about an hour of one core

Pools are drawn from the 20 classes of `../shared/data/tiny-imagenet-20.tar`: 400 images of one half of the
classes, a 50th or a 10th of that of the other, which the seed decides as it does the validation images.
Features are those of a ResNet-18 that was trained on 180 other classes. Test images are balanced. Every
finished curve is kept in benchmarks/labeling.json; started again, only the missing ones are made.
"""

import json
import sys
import tarfile
import tempfile
from dataclasses import asdict
from itertools import product
from pathlib import Path

import numpy as np
import torch
from machine import description

from fisher_al.commands.parsing import Parser, index
from fisher_al.commands.scripts import run_script
from fisher_al.data.features import Features
from fisher_al.errors import UserError
from fisher_al.files.storage import save_json
from fisher_al.labeling.backbone import load_backbone
from fisher_al.labeling.cache import open_cache
from fisher_al.labeling.embedding import embed
from fisher_al.labeling.knowledge import Knowledge, spared
from fisher_al.labeling.round import Reading
from fisher_al.labeling.selection import Strategy
from fisher_al.labeling.simulation import Answers, simulate
from fisher_al.method.registry import METHODS as METHODS_OF_THE_PROJECT
from fisher_al.results.plotting import Line, plot_panels
from fisher_al.seeds import derive_generator

DATA = Path(__file__).parents[2] / "shared" / "data"
DEFAULT_OUT = Path(__file__).parent / "labeling.json"
DEFAULT_FIGURE = Path(__file__).parents[1] / "images" / "labeling.png"

METHODS = (
    "random",
    "margin",
    "entropy",
    "coreset",
    "badge",
    "none",
    "gradFmap",
    "grad",
    "gradShift",
    "grad+margin",
    "balanced",
    "balanced+margin",
)
SHOWN = (
    *("random", "margin", "entropy", "coreset", "badge", "gradFmap", "gradShift", "grad+margin"),
    "balanced+margin",
)
MEASURES = ("labels", "accuracy", "balanced_accuracy", "rare_recall", "rare_picks")
PER_CLASS, BUDGET, ROUNDS = 400, 100, 8
SEEDS = range(5)
# Imbalance, validation images a class, and whether they are matched only.
SETTINGS = (*product((50,), (20, 5), (False, True)), (50, 2, False), (10, 5, False), (10, 20, False))


def embedded(folder):
    """Features, and by split (train, val) the rows of every class."""
    images = folder / "tiny-imagenet-20"
    if not images.is_dir():
        with tarfile.open(DATA / "tiny-imagenet-20.tar") as archive:
            archive.extractall(folder, filter="data")
    backbone = load_backbone("resnet18", DATA / "resnet18-tinyimagenet180.pt", crop=48, resize=64)
    reading = Reading(backbone, "dali", 2, "cpu", 1, folder, {})
    paths = sorted(images.glob("*/*/*.JPEG"))
    with open_cache(folder, reading.identity, backbone.width) as cache:
        rows, _ = embed(reading.embedder(), [str(path) for path in paths], cache)
        features = cache.rows()[rows.numpy()].copy()
    by_class = {"train": {}, "val": {}}
    for row, path in enumerate(paths):
        by_class[path.parts[-3]].setdefault(path.parts[-2], []).append(row)
    return features, by_class


def draw(features, by_class, seed, imbalance, per_class):
    """A pool of its own, what is known before the first round, and what the oracle knows."""
    generator = derive_generator("labeling", seed)
    names = sorted(by_class["train"])
    rare = torch.randperm(len(names), generator=generator)[: len(names) // 2]
    pool, labels, validation = [], [], []
    for number, name in enumerate(names):
        rows = torch.tensor(by_class["train"][name])
        rows = rows[torch.randperm(len(rows), generator=generator)]
        kept = PER_CLASS // imbalance if number in rare.tolist() else PER_CLASS
        pool.append(rows[:kept])
        labels.append(torch.full((kept,), number))
        validation.append(rows[PER_CLASS : PER_CLASS + per_class])
    test = [torch.tensor(by_class["val"][name]) for name in names]
    empty = torch.empty(0, dtype=torch.long)
    known = Knowledge(
        rows=features,
        num_classes=len(names),
        pool=torch.cat(pool),
        validation=torch.cat(validation),
        validation_labels=torch.arange(len(names)).repeat_interleave(per_class),
        labeled=empty,
        labels=empty,
        left_out=empty,
        spared=spared(
            {f"{row}": str(number) for number, rows in enumerate(validation) for row in rows.tolist()}
        ),
    )
    test_labels = torch.cat([torch.full((len(rows),), number) for number, rows in enumerate(test)])
    return known, Answers(torch.cat(labels), rare, Features(features, torch.cat(test), test_labels))


def main(arguments):
    parser = Parser("Measure what picks are worth on photographs.")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="JSON file that the curves are kept in")
    parser.add_argument("--figure", type=Path, default=DEFAULT_FIGURE, help="picture of them")
    parser.add_argument("--methods", nargs="+", default=METHODS, help="ways to pick")
    parser.add_argument("--seeds", type=index, nargs="+", default=list(SEEDS), help="pools to draw")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "labeling-features")
    args = parser.parse_args(arguments)
    if not DATA.is_dir():
        raise UserError(f"{DATA}: not found; this benchmark needs the data beside the project")
    found = json.loads(args.out.read_text()) if args.out.is_file() else {"curves": []}
    curves = {_key(curve): curve for curve in found["curves"]}
    features, by_class = embedded(args.cache)
    for seed, (imbalance, per_class, held), method in product(args.seeds, SETTINGS, args.methods):
        setting = {
            **{"method": method, "seed": seed, "imbalance": imbalance},
            **{"validation images a class": per_class, "trained on": not held},
        }
        if _key(setting) in curves:
            continue
        known, answers = draw(features, by_class, seed, imbalance, per_class)
        strategy = Strategy(method, BUDGET, held, near_duplicate=0.98, seed=seed)
        points = [asdict(point) for point in simulate(known, answers, strategy, ROUNDS, lambda: None)]
        rounded = [{name: round(point[name], 4) for name in MEASURES} for point in points]
        curves[_key(setting)] = {**setting, "points": rounded}
        save_json({"machine": description(), "curves": list(curves.values())}, args.out)
        print({**setting, **rounded[-1]}, file=sys.stderr, flush=True)
    draw_curves(list(curves.values()), args.figure)


def draw_curves(curves, path):
    """Balanced accuracy over labels by the first seeds: a panel per validation set and use of it."""
    curves, panels = [c for c in curves if c["seed"] in SEEDS], {}
    for imbalance, per_class, held in SETTINGS:
        if imbalance == 50 and per_class > 2:
            some = [c for c in curves if _key(c)[2:] == (imbalance, per_class, not held)]
            title = f"{per_class} validation images a class, {'only matched' if held else 'trained on'}"
            panels[title] = [_line(name, some) for name in SHOWN if any(c["method"] == name for c in some)]
            panels[title].append(_validation_alone(curves, imbalance, per_class))
    plot_panels(panels, "labels", [path], "balanced accuracy, %")


def _line(method, curves):
    values = np.array(
        [[100 * p["balanced_accuracy"] for p in c["points"]] for c in curves if c["method"] == method]
    )
    labels = [point["labels"] for point in curves[0]["points"]]
    parts = [METHODS_OF_THE_PROJECT[name] for name in method.split("+")]
    name, style = " + ".join(part.notation for part in parts), "--" if len(parts) > 1 else "-"
    error = values.std(0, ddof=1) / len(values) ** 0.5
    return Line(name, np.array(labels), values.mean(0), error, parts[0].color, parts[0].marker, style)


def _validation_alone(curves, imbalance, per_class):
    """A level line: the head of the validation images without any pick."""
    some = [c["points"][0] for c in curves if _key(c)[2:] == (imbalance, per_class, True)]
    level = 100 * np.mean([point["balanced_accuracy"] for point in some])
    x = np.array([0, BUDGET * ROUNDS])
    return Line("validation images alone", x, np.full(2, level), np.zeros(2), "#888888", "", ":")


def _key(curve):
    return tuple(
        curve[name] for name in ("method", "seed", "imbalance", "validation images a class", "trained on")
    )


if __name__ == "__main__":
    run_script(main)
