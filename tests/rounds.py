"""What the tests of `fisher-al` share: a small nested pool, validation folders, weights, a round."""

import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torchvision
from conftest import Outcome, call_main, read_csv, require_one_line
from PIL import Image

from fisher_al.commands.main import dispatch
from fisher_al.labeling.answers import read_labels
from fisher_al.labeling.pool import Pool, find_pool

CLASSES = ("ant", "bee", "cat")
COLOURS = ((200, 40, 40), (40, 200, 40), (40, 40, 200))
CROP = 32


def fisher_al(*arguments: object) -> Outcome:
    """Run `fisher-al` in this process."""
    return call_main(dispatch, *arguments)


def save_image(path: Path, seed: int = 0, colour: tuple[int, int, int] = (120, 120, 120)) -> Path:
    """Noise around a colour, which no other seed gives."""
    noise = np.random.default_rng(seed).integers(-40, 41, (6, 8, 3))
    pixels = (np.array(colour) + noise).clip(0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).resize((56, 42), Image.Resampling.BICUBIC).save(path)
    return path


def touch(*paths: Path) -> None:
    """Files without content, where nothing reads them."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


KEYS = ("a/x.jpg", "a/y.jpg", "b/x.jpg", "b/with, comma.jpg")


def make_pool(folder: Path) -> Pool:
    """Four files of these names, which nothing reads."""
    touch(*(folder / key for key in KEYS))
    return find_pool(folder)


def labels_of(pool: Pool, *paths: Path) -> dict[str, str]:
    return read_labels(paths, pool)


def make_animals(root: Path, in_pool: int = 8, in_validation: int = 5, seed: int = 0) -> Path:
    """`pool` nested by day, `validation` in folders of classes, and `truth.csv` for the pool."""
    rows = []
    for label, (name, colour) in enumerate(zip(CLASSES, COLOURS, strict=True)):
        for i in range(in_pool):
            key = f"day {i % 3}/{name[0]}{i:02d}.png"
            save_image(root / "pool" / key, seed + 1000 * label + i, colour)
            rows.append((key, name))
        for i in range(in_validation):
            save_image(root / "validation" / name / f"{i}.jpg", seed + 1000 * label + 500 + i, colour)
    write_csv(root / "truth.csv", ("filepath", "label"), rows)
    return root


def save_weights(path: Path, seed: int = 0) -> Path:
    """State dict of a ResNet-18 with random weights, in half precision, under a head of seven classes."""
    torch.manual_seed(seed)
    state = torchvision.models.resnet18(num_classes=7).state_dict()
    half = {name: w.half() if w.is_floating_point() else w for name, w in state.items()}
    torch.save(half, path)
    return path


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def write_json(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def play_first_round(folder: Path) -> Path:
    """Animals, weights, and a first round."""
    make_animals(folder)
    save_weights(folder / "weights.pt")
    outcome = fisher_al(*command(folder))
    assert outcome.code == 0, outcome.err
    return folder


def copy_first_round(played: Path, folder: Path) -> Path:
    """The same in another folder."""
    shutil.copytree(played, folder, ignore=shutil.ignore_patterns("round1", "features"))
    assert fisher_al(*command(folder)).code == 0
    return folder


def command(folder: Path, *more: object, out: str = "round1", budget: int = 6) -> tuple[object, ...]:
    network = ("--weights", folder / "weights.pt", "--crop", CROP, "--loader", "torchvision", "--workers", 1)
    what = ("pick", folder / "pool", "--validation", folder / "validation", "--near-duplicate", 1)
    return (*what, "--budget", budget, "--out", folder / out, *network, *more)


def picked(folder: Path, out: str) -> list[str]:
    return [row["filepath"] for row in read_csv(folder / out / "picks.csv")]


def answer(folder: Path, out: str = "round1") -> Path:
    """The round's labels.csv, filled in with the truth."""
    truth = {row["filepath"]: row["label"] for row in read_csv(folder / "truth.csv")}
    path = folder / out / "labels.csv"
    return write_csv(path, ("filepath", "label"), [(key, truth[key]) for key in picked(folder, out)])


def require_refusal(outcome, *told: str) -> None:
    """Assert one line that tells this, and exit code 2."""
    require_one_line(outcome)
    for part in told:
        assert part in outcome.err
