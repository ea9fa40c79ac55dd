"""Whatever the options and the files hold: one clear line and exit code 2, no traceback, no changed file."""

import os
import shutil

import pytest
from conftest import call, snapshot
from hostile import (
    examples,
    given_options,
    mutated,
    require_line_or_result,
    require_one_line,
    require_unchanged,
)
from hypothesis import assume, given
from hypothesis import strategies as st

from fisher_al.experiment import parse_method
from fisher_al.files.layout import Layout
from mnist.experiment import DIGITS

OURS = parse_method("gradFmap/20", DIGITS)


@pytest.fixture(scope="module")
def folder(digits_folder, tmp_path_factory):
    """Digits with one iteration of a chain, and the descriptors for the second."""
    folder = tmp_path_factory.mktemp("hostile") / "data"
    shutil.copytree(digits_folder, folder)
    for script, extra in (
        ("gen_descr.py", ()),
        ("main_descr.py", ("--epochs", 1)),
        ("gen_descr.py", ("-b", 1)),
    ):
        assert call(script, *step(folder, *extra)).code == 0
    layout = Layout(folder / "DIGITS", "run0", 10.0)
    for split in ("train", "val"):  # newer than any model that a test puts there
        os.utime(layout.descriptors(split, OURS), (2**32, 2**32))
    return folder


@pytest.fixture(scope="module")
def layout(folder):
    return Layout(folder / "DIGITS", "run0", 10.0)


def step(folder, *extra):
    return ("--dataset", "DIGITS", "--datadir", folder, "-ir", 10, "-dl", 20, "-as", 10, *extra)


OPTIONS = (
    *("-ir", "-nr", "-ens", "-e", "-smp", "-as", "-gbs", "-unsup", "-sub", "-aug", "-b", "-ts", "-dl", "-r"),
    *("--seed", "--gpu", "--run-start", "--run-stop", "--methods", "--iterations", "--epochs", "--lr"),
    *("--batch-size", "--test-batch-size", "--jobs", "--figure", "--metric", "--accuracy"),
    *("--reference", "--dataset", "--cluster-cpus", "--cluster-gpus", "--initial", "--nonsense"),
)


@pytest.mark.parametrize(
    ("script", "last"),
    [
        ("run.py", ("--dry-run",)),
        ("run.py", ("--status",)),
        ("gen_descr.py", ()),
        ("main_descr.py", ()),
        ("run_plot.py", ()),
        ("unsup.py", ("--lr", "nan")),
    ],
)
@examples(60, "options, mnist/")
@given(options=given_options(*OPTIONS))
def test_any_options(tmp_path_factory, script, last, options):
    empty = tmp_path_factory.mktemp("empty")
    outcome = call(script, *options, *last, "--datadir", empty)
    require_line_or_result(outcome)
    assert outcome.code == 0 or not list(empty.iterdir())
    require_unchanged(empty, {})


@examples(40, "sizes")
@given(budget=st.integers(1, 10**12), iterations=st.integers(1, 10**4))
def test_any_size(folder, budget, iterations):
    assume(budget * iterations > 600)
    size = ("--run-stop", 1, "--methods", "random", "-as", budget, "--iterations", iterations)
    outcome = call("run.py", "--dataset", "DIGITS", "--datadir", folder, *size)
    require_one_line(outcome)
    assert (
        f"--augment-size {budget}: {iterations} iterations need {budget * iterations} labels" in outcome.err
    )


@examples(60, "files of a stage")
@given(data=st.data())
def test_any_broken_file_of_a_stage(folder, layout, data):
    files = {
        "initial model": layout.initial_checkpoint(),
        "checkpoint": layout.best_checkpoint(OURS, 1, 10),
        "index list": layout.index_list(OURS, 1, 10),
        "descriptors": layout.descriptors("train", OURS),
        "descriptors of validation": layout.descriptors("val", OURS),
        "pool": layout.pool(),
        "split": layout.processed("val-split"),
    }
    path = files[data.draw(st.sampled_from(sorted(files)))]
    batch = int("init_" not in path.name)
    whole, modified = path.read_bytes(), path.stat().st_mtime
    try:
        path.write_bytes(mutated(whole, data.draw))
        os.utime(path, (modified, modified + data.draw(st.integers(1, 1000))))
        assume(path.read_bytes() != whole)
        before = snapshot(folder)
        outcome = call("main_descr.py", *step(folder, "-b", batch, "--epochs", 0))
        if outcome.code == 0:  # changed where it does not matter: padding, or the name of a part
            assert snapshot(folder).keys() >= before.keys()
        else:
            require_one_line(outcome)
            require_unchanged(folder, before)
            # an initial model changed where it does not matter has no descriptors at batch 0
            assert path.name in outcome.err or "describes the images at batch 1" in outcome.err
    finally:
        path.write_bytes(whole)
        os.utime(path, (modified, modified))
        for made in (layout.index_list(OURS, 2, 20), layout.best_checkpoint(OURS, 2, 20)):
            made.unlink(missing_ok=True)
