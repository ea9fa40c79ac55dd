"""What the tests share: a folder of prepared digits, and ways to call the scripts."""

import contextlib
import csv
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from cards import CLASSES, card
from PIL import Image

from fisher_al.commands.plot import run_plot_main
from fisher_al.commands.run import run_main
from fisher_al.commands.scripts import Datasets, run_script
from fisher_al.commands.stages import gen_descr_main, main_descr_main, unsup_main
from fisher_al.commands.visualize import visualize_tsne_main
from fisher_al.files.layout import Layout
from fisher_al.labeling.page import write_page
from fisher_al.labeling.pool import Pool
from mnist.experiment import DATASETS

ROOT = Path(__file__).parents[1]
MNIST_RAW = ROOT.parent / "shared" / "data" / "MNIST" / "raw"

needs_mnist = pytest.mark.skipif(not MNIST_RAW.is_dir(), reason=f"needs the MNIST files in {MNIST_RAW}")

MAIN_FUNCTIONS = {
    "unsup.py": unsup_main,
    "gen_descr.py": gen_descr_main,
    "main_descr.py": main_descr_main,
    "run.py": run_main,
    "run_plot.py": run_plot_main,
    "visualize_tsne.py": visualize_tsne_main,
}


@dataclass
class Outcome:
    """What a script left behind on the terminal."""

    code: int
    out: str
    err: str


def call(script: str, *arguments: object, datasets: Datasets = DATASETS) -> Outcome:
    """Run what a script runs (mnist/ by default) in this process: fast, for the many error cases."""
    return call_main(partial(MAIN_FUNCTIONS[script], datasets), *arguments)


def call_main(main: Callable[[list[str]], int | None], *arguments: object) -> Outcome:
    """Run a script's main function in this process."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as stopped,
    ):
        run_script(main, [str(argument) for argument in arguments])
    return Outcome(stopped.value.code or 0, out.getvalue(), err.getvalue())


def run(script: str, *arguments: object) -> str:
    """Run an mnist/ script as a user does, and return its output."""
    command = [sys.executable, script, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT / "mnist", capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout


def snapshot(folder: Path) -> dict[str, bytes]:
    """Name and content of every file under `folder`, without the empty ones that serve as locks."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def require_one_line(outcome: Outcome, pattern: str = "") -> None:
    """Assert that a script refused with one line, which matches, and exit code 2."""
    assert outcome.code == 2, outcome.err
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1, outcome.err
    assert re.search(pattern, outcome.err), outcome.err


def refused(folder: Path, pattern: str, script: str, *arguments: object) -> None:
    """Assert that the script refuses with one line that matches, and changes nothing."""
    before = snapshot(folder)
    require_one_line(call(script, *arguments), pattern)
    assert snapshot(folder) == before


class Payload:
    """Unpickling this makes a folder, as proof that code ran."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def read_csv(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file, by column name."""
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="session")
def digits_folder(tmp_path_factory) -> Path:
    """A data folder with DIGITS' initial models of one run; copy it before changing anything in it."""
    folder = tmp_path_factory.mktemp("digits")
    outcome = call(
        "run.py", "--dataset", "DIGITS", "--datadir", folder, "--initial", "--run-stop", 1, "--epochs", 2
    )
    assert outcome.code == 0, outcome.err
    return folder


@pytest.fixture
def folder(digits_folder, tmp_path) -> Path:
    """A copy of them that a test may change."""
    shutil.copytree(digits_folder, tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def layout(folder) -> Layout:
    return Layout(folder / "DIGITS", "run0", 10.0)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> list[Path]:
    """Three image files: red, green and blue."""
    folder = tmp_path_factory.mktemp("pictures")
    paths = [folder / f"{number}.png" for number in range(3)]
    for path, color in zip(paths, ("red", "green", "blue"), strict=True):
        Image.new("RGB", (32, 24), color).save(path)
    return paths


@pytest.fixture
def pool(tmp_path) -> Pool:
    """A few images in folders, among them two of one name."""
    from rounds import make_pool  # which imports this module

    return make_pool(tmp_path / "pool")


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """A browser."""
    from browser import open_browser

    with open_browser(tmp_path_factory.mktemp("downloads")) as opened:
        yield opened


@pytest.fixture
def labeling(session, tmp_path, pictures, request):
    """A labeling page of six picks, opened; the browser keeps no labels of it from another test."""
    cards = [card(f"{number}.png", pictures[number % 3], pictures[2]) for number in range(6)]
    write_page(tmp_path / "index.html", request.node.name, CLASSES, cards)
    session.open(tmp_path / "index.html")
    yield session
    assert session.complaints() == []


@pytest.fixture(scope="session")
def played_round(tmp_path_factory) -> Path:
    """A small pool, validation images, weights, and a first round of `fisher-al pick`."""
    from rounds import play_first_round  # which needs this file

    return play_first_round(tmp_path_factory.mktemp("animals"))


@pytest.fixture
def animals(played_round, tmp_path) -> Path:
    """The same in a folder that a test may change."""
    from rounds import copy_first_round

    return copy_first_round(played_round, tmp_path / "animals")
