"""Whatever the options and the files hold: one clear line and exit code 2, no traceback, no changed file."""

import contextlib
import json
import os
import shutil

import numpy as np
import pytest
import torch
from conftest import call, snapshot
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from fisher_al.checkpoints import load_checkpoint
from fisher_al.curve_files import read_json
from fisher_al.data import load_split
from fisher_al.errors import UserError
from fisher_al.folder_lists import read_list
from fisher_al.layout import Layout
from fisher_al.methods import METHOD_KINDS, parse_method
from fisher_al.run_log import last_accuracy, read, stage_entries
from fisher_al.storage import load_indices, save_tensors
from mnist.experiment import DIGITS

OURS = parse_method("gradFmap/20", DIGITS)


def examples(number):
    """The same examples every time, in bounded time."""
    return settings(
        max_examples=number,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


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


def require_one_line(outcome):
    assert outcome.code == 2, outcome.err
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1, outcome.err


numbers = st.one_of(st.integers(), st.integers(0, 20), st.floats()).map(str)
words = st.one_of(
    numbers, st.text(max_size=8).filter(lambda text: "\0" not in text), st.sampled_from(sorted(METHOD_KINDS))
)
OPTIONS = (
    *("-ir", "-nr", "-ens", "-e", "-smp", "-as", "-gbs", "-unsup", "-sub", "-aug", "-b", "-ts", "-dl", "-r"),
    *("--seed", "--gpu", "--run-start", "--run-stop", "--methods", "--iterations", "--epochs", "--lr"),
    *("--batch-size", "--test-batch-size", "--jobs", "--replicas", "--figure", "--metric", "--accuracy"),
    *("--reference", "--dataset", "--cluster-cpus", "--cluster-gpus", "--initial", "--nonsense"),
)
given_options = st.lists(st.tuples(st.sampled_from(OPTIONS), st.lists(words, max_size=2)), max_size=3)


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
@examples(60)
@given(options=given_options)
def test_any_options(tmp_path_factory, script, last, options):
    empty = tmp_path_factory.mktemp("empty")
    arguments = [word for option, values in options for word in (option, *values)]
    outcome = call(script, *arguments, *last, "--datadir", empty)
    if outcome.code != 0:
        require_one_line(outcome)
    assert outcome.code == 0 or not list(empty.iterdir())
    assert snapshot(empty) == {}


@examples(40)
@given(budget=st.integers(1, 10**12), iterations=st.integers(1, 10**12))
def test_any_size(folder, budget, iterations):
    assume(budget * iterations > 600)
    size = ("--run-stop", 1, "--methods", "random", "-as", budget, "--iterations", iterations)
    outcome = call("run.py", "--dataset", "DIGITS", "--datadir", folder, *size)
    require_one_line(outcome)
    assert (
        f"--augment-size {budget}: {iterations} iterations need {budget * iterations} labels" in outcome.err
    )


def mutated(content: bytes, draw) -> bytes:
    """The content with something cut, flipped, inserted or put in its place."""
    position = draw(st.integers(0, len(content) - 1))
    return draw(
        st.sampled_from(
            [
                content[:position],
                content[:position]
                + bytes([content[position] ^ draw(st.integers(1, 255))])
                + content[position + 1 :],
                content[:position] + draw(st.binary(min_size=1, max_size=9)) + content[position:],
                content[:position] + content[position + draw(st.integers(1, 99)) :],
                draw(st.binary(max_size=99)),
            ]
        )
    )


@examples(60)
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
            assert snapshot(folder) == before
            assert path.name in outcome.err
    finally:
        path.write_bytes(whole)
        os.utime(path, (modified, modified))
        for made in (layout.index_list(OURS, 2, 20), layout.best_checkpoint(OURS, 2, 20)):
            made.unlink(missing_ok=True)


tensors = st.builds(
    lambda shape, dtype: torch.zeros(shape, dtype=dtype),
    st.lists(st.integers(0, 3), max_size=4),
    st.sampled_from(
        [torch.float32, torch.float64, torch.uint8, torch.int64, torch.bool, torch.complex64, torch.half]
    ),
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), tensors),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(
            st.sampled_from(["state_dict", "acc", "epoch", "settings", "acc_val", "x"]), inner, max_size=5
        ),
        st.fixed_dictionaries(
            {
                "state_dict": st.dictionaries(st.text(max_size=3), tensors, max_size=2),
                "acc": inner,
                "epoch": inner,
            }
        ),
    ),
    max_leaves=6,
)


@examples(150)
@given(content=values)
def test_any_content_of_a_tensor_file(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("content") / "x.pt"
    save_tensors(content, path)
    with contextlib.suppress(UserError):
        checkpoint = load_checkpoint(path, "make it anew")
        assert isinstance(checkpoint["acc"], (int, float))
    with contextlib.suppress(UserError):
        images, labels = load_split(path, DIGITS)
        assert len(images) == len(labels) > 0


arrays = st.builds(
    lambda content, dtype: np.array(content).astype(dtype),
    st.lists(st.integers(0, 12), max_size=4),
    st.sampled_from(["int64", "int32", "uint8", "float64", "bool", "complex64", "U3", "S2", "M8[s]"]),
)


@examples(100)
@given(data=st.data(), array=arrays)
def test_any_index_list(tmp_path_factory, data, array):
    path = tmp_path_factory.mktemp("indices") / "x.npy"
    np.save(path, array)
    if data.draw(st.booleans()):
        path.write_bytes(mutated(path.read_bytes(), data.draw))
    with contextlib.suppress(UserError):
        indices = load_indices(path, 3, 10, "make it anew").tolist()
        assert len(set(indices)) == 3
        assert set(indices) <= set(range(10))


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                ["event", "batch", "member", "seconds", "acc", "peak_memory", "dataset", "curves", "runs"]
            ),
            inner,
            max_size=5,
        ),
    ),
    max_leaves=8,
)


VALID_CURVE = {
    **{
        "method": "random",
        "E": 1,
        "K": None,
        "pretrained": True,
        "ir": 10,
        "nr": 0.0,
        "budget": 20,
        "seed": 0,
    },
    "runs": {"run0": [50.0, 60], "run1": [None, 70.5]},
}
odd = st.one_of(
    st.sampled_from(
        [1, 4, 0, -1, 1.5, 1e300, 10**400, "10", None, True, "varMC", "gradFmap/80", "gradFmap/7"]
    ),
    st.sampled_from(
        [{"run0": []}, {"run0": [1], "run1": []}, {"": [-1e308]}, {"$": [99]}, {"run0": [10**400]}]
    ),
    json_values,
)
curve_entries = st.dictionaries(st.sampled_from(sorted(VALID_CURVE)), odd, max_size=2).map(
    lambda changes: VALID_CURVE | changes
)


@examples(150)
@given(
    content=st.one_of(
        json_values,
        st.fixed_dictionaries(
            {
                "dataset": st.just("DIGITS"),
                "metric": json_values,
                "curves": st.lists(curve_entries, max_size=2),
            }
        ),
    )
)
def test_any_json_of_curves(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("json") / "x.json"
    path.write_text(json.dumps(content))
    outcome = call("run_plot.py", "--dataset", "DIGITS", "--data", path, "--out", path.parent / "figures")
    if outcome.code != 0:
        require_one_line(outcome)


def test_deeply_nested_json_is_refused(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("[" * 100_000)
    with pytest.raises(UserError, match=r"x\.json: not the JSON of curves"):
        read_json(path, DIGITS)
    assert read(path) == []


@examples(150)
@given(
    lines=st.lists(st.one_of(json_values.map(json.dumps), st.text(max_size=20)), max_size=5),
    end=st.binary(max_size=9),
)
def test_any_log(tmp_path_factory, lines, end):
    path = tmp_path_factory.mktemp("log") / "x.jsonl"
    path.write_bytes("\n".join(lines).encode() + end)
    assert all(isinstance(entry["event"], str) for entry in read(path))
    stage_entries(path, "main_descr")
    last_accuracy(path)


@examples(200)
@given(
    relative=st.one_of(
        st.text(max_size=12), st.lists(st.sampled_from(["..", ".", "a", "", "b c"]), max_size=5).map("/".join)
    )
)
def test_no_line_of_a_list_leads_out(tmp_path_factory, relative):
    folder = tmp_path_factory.getbasetemp()
    path = folder / "list.txt"
    path.write_bytes(f"{relative} 1\n".encode(errors="surrogatepass"))
    try:
        files, _ = read_list(path, 2)
    except UserError:
        return
    assert all((folder / name).resolve().is_relative_to(folder.resolve()) for name in files)
