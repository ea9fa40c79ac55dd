"""SVHN: the reader on generated .mat files, ResNet-10, and every method end to end."""

import shutil
from dataclasses import replace
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import scipy.io
import torch
import torch.nn.functional as F
from conftest import call, snapshot
from test_curves import make_chain
from torchvision.models.resnet import BasicBlock, ResNet

from fisher_al.data.images import Images
from fisher_al.errors import UserError
from fisher_al.experiment import parse_method
from fisher_al.files.layout import Layout
from fisher_al.method import descriptors
from fisher_al.method.descriptors import ForwardPass
from fisher_al.method.registry import METHODS as ALL_METHODS
from fisher_al.method.uncertainty import statistics_in_blocks
from fisher_al.results.published import published_mean
from svhn.custom_datasets import svhn as svhn_files
from svhn.custom_datasets.svhn import read_svhn
from svhn.custom_models.resnet10 import ResNet10
from svhn.experiment import DATASETS, SVHN

COUNTS = {"train": 80, "extra": 120, "test": 40}
METHODS = [
    f"{method.name}/256" if method.has_scales else method.name
    for method in ALL_METHODS.values()
    if not method.scripts
]


def write_mat(path, count, seed):
    """Noise whose brightness tells the class, in SVHN's format: X (32, 32, 3, N), y (N, 1) with 10 for 0."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % 10)
    images = rng.integers(0, 60, (count, 32, 32, 3)) + 19 * labels[:, None, None, None]
    images = images.astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = np.where(labels == 0, 10, labels).astype(np.uint8)
    scipy.io.savemat(path, {"X": images.transpose(1, 2, 3, 0), "y": stored[:, None]}, do_compression=True)
    return images, labels


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("svhn")
    for seed, (split, count) in enumerate(COUNTS.items()):
        write_mat(folder / "SVHN" / "raw" / f"{split}_32x32.mat", count, seed)
    return folder


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = ResNet10()
    with torch.no_grad():  # batch-norm statistics and biases as after some training
        for name, values in network.state_dict().items():
            if name.endswith(("running_mean", "bias")):
                values.normal_(0, 0.1)
            if name.endswith("running_var"):
                values.uniform_(0.5, 1.5)
    return network.eval()


def test_reader_gives_the_images_of_both_files(folder, tmp_path):
    train = write_mat(tmp_path / "train_32x32.mat", 40, 1)
    extra = write_mat(tmp_path / "extra_32x32.mat", 50, 2)
    test = write_mat(tmp_path / "test_32x32.mat", 30, 3)
    raw = read_svhn(tmp_path, verify=False)
    assert raw.train_images.dtype == torch.uint8
    assert raw.train_labels.dtype == torch.int64
    assert np.array_equal(raw.train_images, np.concatenate([train[0], extra[0]]))
    assert np.array_equal(raw.train_labels, np.concatenate([train[1], extra[1]]))
    assert np.array_equal(raw.test_images, test[0])
    assert np.array_equal(raw.test_labels, test[1])


def common(folder, *extra, pool=120, per_class=4):
    return (
        *("--datadir", folder, "--run-stop", 1, "-ir", 10, "--allow-unverified-data"),
        *("--validation-per-class", per_class, "--pool-size", pool, *extra),
    )


def svhn(script, *arguments):
    return call(script, *arguments, datasets=DATASETS)


def test_other_files_are_refused_unless_allowed(folder):
    before = snapshot(folder)
    outcome = svhn("run.py", "--datadir", folder, "--initial", "--run-stop", 1)
    assert outcome.code == 2
    assert "train_32x32.mat: not SVHN's (wrong checksum)" in outcome.err
    assert "--allow-unverified-data" in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert snapshot(folder) == before


def test_other_files_may_lie_in_the_folder_of_their_runs(folder, tmp_path):
    shutil.copytree(folder / "SVHN" / "raw", tmp_path / "own" / "raw")
    place = ("--save-folder", tmp_path / "own", "--datadir", tmp_path / "nowhere", "-ir", 10)
    sizes = ("--allow-unverified-data", "--validation-per-class", 4, "--pool-size", 120)
    outcome = svhn("unsup.py", *place, *sizes, "--epochs", 1)
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "own" / "run0" / "checkpoint").is_dir()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--allow-unverified-data", "--pool-size", 9), "say with --validation-per-class"),
        (("--pool-size", 9), "--pool-size 9: only with --allow-unverified-data"),
        (
            ("--allow-unverified-data", "--pool-size", 9, "--validation-per-class", 1),
            "train_32x32.mat: not found",
        ),
    ],
)
def test_options_that_do_not_fit(options, message, tmp_path):
    outcome = svhn("run.py", "--datadir", tmp_path, "--initial", "--run-stop", 1, *options)
    assert outcome.code == 2
    assert message in outcome.err
    assert len(outcome.err.splitlines()) == 1


def write_half(url, root, filename, md5):
    (Path(root) / filename).write_bytes(b"half a file")
    raise URLError("connection lost")


def test_a_broken_download_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(svhn_files, "download_url", write_half)
    outcome = svhn("run.py", "--datadir", tmp_path, "--initial", "--run-stop", 1)
    assert outcome.code == 2
    assert "train_32x32.mat: not there, and it cannot be downloaded" in outcome.err
    assert "connection lost" in outcome.err
    assert snapshot(tmp_path) == {}


def test_a_download_arrives_under_its_name(tmp_path, monkeypatch):
    def write_whole(url, root, filename, md5):
        assert (url, md5) == (svhn_files.SVHN.split_list["extra"][0], svhn_files.SVHN.split_list["extra"][2])
        (Path(root) / filename).write_bytes(b"a file")

    monkeypatch.setattr(svhn_files, "download_url", write_whole)
    path = tmp_path / "raw" / "extra_32x32.mat"
    svhn_files._download(path.parent, "extra", path)
    assert snapshot(tmp_path) == {"raw/extra_32x32.mat": b"a file"}


def test_the_papers_curves_are_found():
    chain = replace(
        make_chain(Path()), experiment=SVHN, method=parse_method("gradFmap/768", SVHN), budget=SVHN.budget
    )
    assert published_mean(chain)[[0, 9]].tolist() == [75.75, 85.65]
    assert published_mean(replace(chain, budget=125)) is None


@pytest.mark.parametrize("damage", ["cut", "no images", "wrong shape", "wrong labels"])
def test_broken_files_are_named(folder, tmp_path, damage):
    for split, count in COUNTS.items():
        write_mat(tmp_path / f"{split}_32x32.mat", count, 0)
    path = tmp_path / "extra_32x32.mat"
    images, labels = np.zeros((32, 32, 3, 9), np.uint8), np.ones((9, 1), np.uint8)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:5000])
    elif damage == "no images":
        scipy.io.savemat(path, {"y": labels})
    elif damage == "wrong shape":
        scipy.io.savemat(path, {"X": images[:28], "y": labels})
    else:
        scipy.io.savemat(path, {"X": images, "y": labels + 10})
    with pytest.raises(UserError, match=r"extra_32x32\.mat: truncated or not of SVHN's format"):
        read_svhn(tmp_path, verify=False)


def test_network_is_torchvisions(network):
    reference = ResNet(BasicBlock, [1, 1, 1, 1], 10)
    reference.load_state_dict(network.state_dict())
    images = torch.randn(5, 3, 32, 32)
    taps = {}
    with torch.no_grad():
        logits = network(images, lambda name, a: taps.setdefault(name, a))
        torch.testing.assert_close(logits, reference.eval()(images), atol=1e-5, rtol=1e-4)
    assert {name: activation.shape[1] for name, activation in taps.items()} == network.scales
    assert [sum(network.scales[name] for name in SVHN.lengths[length]) for length in (768, 256, 512)] == [
        768,
        256,
        512,
    ]
    assert network.train()(images).shape == (5, 10)


def test_dropout_after_both_relus_of_every_block(network):
    calls = []

    def dropout(activation, probability):
        assert (activation >= 0).all()
        calls.append((activation.shape[1], probability))
        return activation

    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        network.above_dropout(network.below_dropout(images), dropout=dropout)
    assert calls == [(width, 0.25) for width in (64, 64, 128, 128, 256, 256, 512, 512)]


@pytest.mark.parametrize("length", [256, 512, 768])
def test_scores_equal_single_image_autograd(network, length, monkeypatch):
    # the classes' gradients in several parts: 4 images x 256 channels x 2 x 2 positions x 3 classes
    monkeypatch.setattr(descriptors, "GRADIENTS_AT_ONCE", 3 * 4 * 256 * 2 * 2)
    scales = SVHN.lengths[length]
    images, labels = torch.randn(4, 3, 32, 32), torch.tensor([3, 1, 4, 1])
    one_pass = ForwardPass(network, images, scales)
    scores, every = one_pass.scores(labels), one_pass.class_scores()
    assert one_pass.features.shape == scores.shape == (4, length)
    exact = ResNet10().double().eval()
    exact.load_state_dict(network.state_dict())
    for i in range(4):
        taps = {}
        logits = exact(images[i : i + 1].double(), lambda name, a, taps=taps: taps.setdefault(name, a))
        gradients = torch.autograd.grad(F.cross_entropy(logits, labels[i : i + 1]), [taps[s] for s in scales])
        z = torch.cat([taps[s].flatten(2).mean(2)[0] if taps[s].dim() > 2 else taps[s][0] for s in scales])
        g = torch.cat([d.flatten(2).mean(2)[0] if d.dim() > 2 else d[0] for d in gradients])
        torch.testing.assert_close(one_pass.features[i].double(), z, atol=1e-5, rtol=1e-3)
        torch.testing.assert_close(scores[i].double(), g, atol=1e-6, rtol=1e-3)
        torch.testing.assert_close(every[i, labels[i]], scores[i], atol=1e-6, rtol=1e-4)


@pytest.fixture(scope="module")
def finished(folder):
    size = ("--iterations", 1, "--augment-size", 10, "-smp", 2, "--epochs", 1)
    outcome = svhn("run.py", *common(folder), "--initial", "-ens", 2, "--epochs", 1)
    assert outcome.code == 0, outcome.err
    assert "these files are not SVHN" in outcome.out
    outcome = svhn("run.py", *common(folder), *size, "--methods", *METHODS)
    assert outcome.code == 0, outcome.err
    return folder


@pytest.mark.parametrize("token", METHODS)
def test_every_method(finished, token):
    layout = Layout(finished / "SVHN-unverified", "run0", 10.0)
    method = parse_method(token, SVHN)
    count = 0 if method.asks_nothing else 10
    indices = np.load(layout.index_list(method, 1, count))
    _, labels = torch.load(layout.pool(), weights_only=True)
    assert len(set(indices.tolist())) == count
    assert indices.max(initial=0) < len(labels)
    if method.has_scales:
        descriptors = torch.load(layout.descriptors("train", method), weights_only=True)
        assert descriptors.shape == (len(labels), 256, 2)
        assert torch.isfinite(descriptors).all()


def test_sizes_cannot_change_under_the_runs(finished):
    outcome = svhn("run.py", *common(finished, pool=119), "--methods", "random")
    assert outcome.code == 2
    assert "120 images, now 119 are asked for" in outcome.err


def test_uncertainty_of_a_network_with_dropout_in_blocks(network, finished):
    images = torch.load(finished / "SVHN-unverified/processed/test.pt", weights_only=True)
    data = Images(images[0][:12], images[1][:12], SVHN.source.mean, SVHN.source.std)
    generator = torch.Generator().manual_seed(0)
    blocks = list(statistics_in_blocks(network, data, ALL_METHODS["stdMC"].statistics, 8, 32, generator))
    assert [len(block) for block in blocks] == [4, 4, 4]
    statistics = torch.cat(blocks)
    assert statistics.shape == (12, 10, 2)
    assert (statistics[..., 0] > 0).any(1).all()  # passes differ
    torch.testing.assert_close(statistics[..., 1].sum(1), torch.ones(12))


def test_plot_of_unverified_data_says_so(finished):
    arguments = common(finished, "--iterations", 1, "--augment-size", 10, "--methods", "random", "grad/256")
    outcome = svhn("run_plot.py", *arguments)
    assert outcome.code == 0, outcome.err
    assert "SVHN-unverified, ir 10" in outcome.out
    assert (finished / "SVHN-unverified" / "figures" / "SVHN-unverified_ir_10.png").is_file()
