"""Files of every dataset, broken anywhere: served, or refused with one line, and nothing else changes."""

import contextlib
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import scipy.io
import torch
from conftest import call, call_main, snapshot
from folders import folder_experiment, load_prepared, make_folder
from hostile import examples, mutated, require_line_or_result, require_one_line, require_unchanged
from hypothesis import assume, given
from hypothesis import strategies as st
from test_svhn import write_mat

import vaal.main
from fisher_al.data import folder_source
from fisher_al.errors import UserError
from fisher_al.experiment import parse_method
from fisher_al.files.layout import Layout
from mnist.custom_datasets.mnist import MNIST_MD5
from mnist.experiment import DIGITS
from svhn.custom_datasets.svhn import read_svhn

CHAIN = ("--dataset", "DIGITS", "--run-stop", 1, "--methods", "random", "-as", 10)


@contextlib.contextmanager
def broken(path, data):
    """The file with something mutated; whole again afterwards."""
    whole = path.read_bytes()
    content = mutated(whole, data.draw)
    assume(content != whole)
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(whole)


@pytest.fixture(scope="module")
def finished(digits_folder, tmp_path_factory):
    """Digits with an iteration of `random`, a round of VAAL, and an embedding of the test images."""
    folder = tmp_path_factory.mktemp("finished") / "data"
    shutil.copytree(digits_folder, folder)
    assert call("run.py", *CHAIN, "--datadir", folder, "--iterations", 1, "--epochs", 1).code == 0
    outcome = call_main(vaal.main.main, *VAAL, "--datadir", folder, "-b", 0)
    assert outcome.code == 0, outcome.err
    figures = folder / "DIGITS" / "figures"
    figures.mkdir()
    np.save(figures / "tsne_test.npy", np.random.default_rng(0).normal(size=(497, 2)))
    return folder


VAAL = ("--dataset", "DIGITS", "-as", 10, "-ir", 10, "--train-iterations", 1)


@examples(15, "embeddings")
@given(data=st.data())
def test_any_embedding(finished, tmp_path_factory, data):
    out = tmp_path_factory.mktemp("out")
    with broken(finished / "DIGITS" / "figures" / "tsne_test.npy", data):
        before = snapshot(finished)
        options = (*CHAIN, "-b", 1, "--datadir", finished, "--out", out)
        require_line_or_result(call("visualize_tsne.py", *options))
        require_unchanged(finished, before)


@pytest.mark.parametrize(
    ("script", "options"), [("run.py", ("--status",)), ("run_plot.py", ("--cost",)), ("run_plot.py", ())]
)
@examples(10, "logs and checkpoints that are looked at")
@given(data=st.data())
def test_any_file_that_is_looked_at(finished, tmp_path_factory, script, options, data):
    layout, method = Layout(finished / "DIGITS", "run0", 10.0), parse_method("random", DIGITS)
    path = data.draw(st.sampled_from([layout.chain_log(method), layout.best_checkpoint(method, 1, 10)]))
    if script == "run_plot.py":
        options = (*options, "--out", tmp_path_factory.mktemp("out"))
    with broken(path, data):
        before = snapshot(finished)
        outcome = call(script, *CHAIN, "--iterations", 1, "--datadir", finished, *options)
        require_line_or_result(outcome)
        require_unchanged(finished, before)


@examples(15, "checkpoints of VAAL")
@given(data=st.data())
def test_any_checkpoint_of_vaal(finished, data):
    layout, method = Layout(finished / "DIGITS", "run0", 10.0), parse_method("vaal", DIGITS)
    paths = [layout.best_checkpoint(method, 1, 10), layout.index_list(method, 1, 10), layout.pool()]
    with broken(data.draw(st.sampled_from(paths)), data):
        before = snapshot(finished)
        outcome = call_main(vaal.main.main, *VAAL, "--datadir", finished, "-b", 1)
        if outcome.code:  # else changed where it does not matter: padding, or the name of a part
            require_one_line(outcome)
            require_unchanged(finished, before)
    for path in (layout.best_checkpoint(method, 2, 20), layout.index_list(method, 2, 20)):
        path.unlink(missing_ok=True)


@examples(20, "IDX files")
@given(name=st.sampled_from(sorted(MNIST_MD5)), packed=st.booleans(), content=st.binary(max_size=60))
def test_any_idx_file(tmp_path_factory, name, packed, content):
    folder = tmp_path_factory.mktemp("idx")
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for other in MNIST_MD5:
        (raw / other).write_bytes(b"\0\0\x08\x03")
    (raw / name).unlink()
    (raw / f"{name}{'.gz' * packed}").write_bytes((b"\x1f\x8b\x08" * packed) + content)
    before = snapshot(folder)
    require_one_line(call("unsup.py", "--datadir", folder))
    require_unchanged(folder, before)


@pytest.fixture(scope="module")
def mat_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mat")
    for split in ("train", "extra", "test"):
        write_mat(folder / f"{split}_32x32.mat", 12, 0)
    return folder


arrays = st.builds(
    lambda shape, dtype: np.ones(shape, dtype),
    st.lists(st.integers(0, 33), max_size=4),
    st.sampled_from(["uint8", "int16", "float64", "bool", "complex64", "U1"]),
)


@examples(30, ".mat files")
@given(data=st.data())
def test_any_mat_file(mat_files, data):
    path = mat_files / "extra_32x32.mat"
    with broken(path, data):
        if data.draw(st.booleans()):
            names = st.sampled_from(["X", "y", "z"])
            scipy.io.savemat(path, data.draw(st.dictionaries(names, arrays, max_size=3)))
        before = snapshot(mat_files)
        with contextlib.suppress(UserError):
            raw = read_svhn(mat_files, verify=False)
            assert raw.train_images.shape[1:] == (32, 32, 3)
            assert len(raw.train_images) == len(raw.train_labels) > 0
        require_unchanged(mat_files, before)


@pytest.fixture(scope="module")
def pets(tmp_path_factory):
    """A folder of images, and the lists of it."""
    folder = tmp_path_factory.mktemp("folder")
    make_folder(folder / "pets", train=3, val=2)
    prepare(folder)
    return folder


def layout_of(folder):
    return Layout(folder / "data" / "pets", "run0", 2.0)


def prepare(folder, *options):
    folder_source._load.cache_clear()  # as in another process
    return load_prepared(folder_experiment(folder / "pets", folder / "data", *options), layout_of(folder))


@examples(60, "lists of a folder of images")
@given(data=st.data())
def test_any_list_of_a_folder(pets, data):
    layout = layout_of(pets)
    lists = [layout.processed_list("train"), layout.processed_list("val"), layout.pool_list()]
    with broken(data.draw(st.sampled_from([*lists, layout.processed_origin()])), data):
        before = snapshot(pets)
        with contextlib.suppress(UserError):
            loaded = prepare(pets)
            assert loaded.pool.labels.max() < 4
        require_unchanged(pets, before)


fields = st.one_of(st.none(), st.text(), st.integers(), st.lists(st.text()))


@examples(30, "notes of a folder's origin")
@given(content=st.dictionaries(st.sampled_from(["root", "files", "sha256"]), fields))
def test_any_note_of_a_folder(pets, content):
    path = layout_of(pets).processed_origin()
    whole = path.read_bytes()
    try:
        path.write_text(json.dumps(content))
        before = snapshot(pets)
        with contextlib.suppress(UserError):
            prepare(pets)
        require_unchanged(pets, before)
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("loader", ["dali", "torchvision"])
@examples(15, "images")
@given(data=st.data())
def test_any_image(pets, loader, data):
    path = pets / "pets" / "train" / "ant" / data.draw(st.sampled_from(["ant 00.png", "ant 01.jpg"]))
    with broken(path, data):
        before = snapshot(pets)
        with contextlib.suppress(UserError):
            pool = prepare(pets, "--loader", loader).pool
            if loader == "torchvision":
                pool._decoder = replace(pool._decoder, workers=0)  # in this process
            inputs = torch.cat([batch for batch, _ in pool.batches(4)])
            assert inputs.isfinite().all()
        require_unchanged(pets, before)
