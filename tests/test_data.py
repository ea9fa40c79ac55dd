"""Data: what the network is shown, and reading MNIST's own files."""

import gzip
import hashlib
import shutil
import struct

import numpy as np
import pytest
import torch
from conftest import MNIST_RAW, needs_mnist, snapshot
from torchvision import datasets, transforms

import mnist.custom_datasets.mnist
from fisher_al.data import images as images_module
from fisher_al.data.images import Images
from fisher_al.errors import UserError
from fisher_al.files.layout import Layout
from mnist.custom_datasets.digits import read_digits
from mnist.custom_datasets.mnist import FASHION_MD5, MNIST_MD5, read_fashion_mnist, read_mnist
from mnist.experiment import DIGITS, MNIST


@pytest.mark.parametrize("cache_bytes", [0, 2**30])
def test_inputs_equal_torchvisions_transforms(monkeypatch, cache_bytes):
    monkeypatch.setattr(images_module, "FLOAT_CACHE_BYTES", cache_bytes)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (5, 28, 28), dtype=torch.uint8, generator=generator)
    images = Images(pixels, torch.arange(5), MNIST.source.mean, MNIST.source.std)
    plain = transforms.Compose(
        [transforms.ToPILImage(), transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))]
    )
    expected = torch.stack([plain(image) for image in pixels])
    inputs = torch.cat([inputs for inputs, _ in images.batches(2)])
    torch.testing.assert_close(inputs, expected)
    chosen, labels = images[torch.tensor([4, 0, 2])]
    assert labels.tolist() == [4, 0, 2]
    torch.testing.assert_close(chosen, expected[[4, 0, 2]])


def test_digits_are_real_and_disjoint(tmp_path):
    raw = read_digits(tmp_path)
    assert raw.train_images.shape == (1300, 28, 28)
    assert raw.test_images.shape == (497, 28, 28)
    assert raw.train_images.dtype == torch.uint8
    assert raw.train_images.max() == 255
    assert raw.test_labels.bincount(minlength=10).min() >= 45


@pytest.fixture
def no_network(monkeypatch):
    for dataset in (datasets.MNIST, datasets.FashionMNIST):
        monkeypatch.setattr(dataset, "mirrors", ["http://127.0.0.1:9/"])


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(("name", "read"), [("MNIST", read_mnist), ("FashionMNIST", read_fashion_mnist)])
def test_no_data_and_no_network_names_the_folder_and_the_files(tmp_path, name, read):
    with pytest.raises(UserError, match=rf"{name}/raw: no complete {name} .*train-images-idx3-ubyte\.gz"):
        read(tmp_path / name)
    assert not any((tmp_path / name).iterdir())


def broken_files():
    whole = gzip.compress(bytes(1000))
    return {"not gzip": b"text", "truncated": whole[:-20], "altered": whole, "empty": b""}


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("kind", broken_files())
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_broken_idx_file_is_named_and_left_alone(tmp_path, kind, suffix):
    path = tmp_path / "raw" / f"t10k-labels-idx1-ubyte{suffix}"
    path.parent.mkdir()
    content = broken_files()[kind]  # gzip's header holds the time
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"{path.name}: truncated or altered"):
        read_mnist(tmp_path)
    assert path.read_bytes() == content
    assert [p.name for p in tmp_path.iterdir()] == ["raw"]


@pytest.mark.usefixtures("no_network")
def test_fashion_mnist_is_read_from_idx_files_of_its_own_checksums(tmp_path, monkeypatch):
    (tmp_path / "raw").mkdir()
    pixels = np.random.default_rng(0).integers(256, size=(12, 28, 28), dtype=np.uint8)
    checksums = {}
    for name in FASHION_MD5:
        is_images = "images" in name
        array = pixels if is_images else np.arange(12, dtype=np.uint8) % 10
        header = struct.pack(f">BBBB{array.ndim}i", 0, 0, 8, array.ndim, *array.shape)
        content = header + array.tobytes()
        checksums[name] = hashlib.md5(content).hexdigest()
        (tmp_path / "raw" / f"{name}.gz").write_bytes(gzip.compress(content))
    with pytest.raises(UserError, match="truncated or altered"):
        read_fashion_mnist(tmp_path)
    monkeypatch.setattr(mnist.custom_datasets.mnist, "FASHION_MD5", checksums)
    raw = read_fashion_mnist(tmp_path)
    assert np.array_equal(raw.train_images.numpy(), pixels)
    assert raw.test_labels.tolist() == [*range(10), 0, 1]


@needs_mnist
@pytest.mark.usefixtures("no_network")
def test_mnist_is_read_packed_or_not(tmp_path):
    (tmp_path / "raw").mkdir()
    for name in MNIST_MD5:
        shutil.copy(MNIST_RAW / f"{name}.gz", tmp_path / "raw")
    packed = read_mnist(tmp_path)
    for path in (tmp_path / "raw").iterdir():
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    unpacked = read_mnist(tmp_path)
    assert packed.train_labels.bincount().tolist()[:3] == [5923, 6742, 5958]
    assert packed.train_images.shape == (60_000, 28, 28)
    assert packed.test_images.shape == (10_000, 28, 28)
    for part in ("train_images", "train_labels", "test_images", "test_labels"):
        assert torch.equal(getattr(packed, part), getattr(unpacked, part))


@pytest.mark.parametrize("ratio", [1.0, 10.0])
def test_reading_makes_no_files(tmp_path, ratio):
    layout = Layout(tmp_path / "DIGITS", "run0", ratio)
    with pytest.raises(UserError, match=r"\.pt: not found"):
        DIGITS.source.load(layout, "cpu")
    assert not any(tmp_path.iterdir())
    DIGITS.source.prepare_pool(layout, 0)
    before = snapshot(tmp_path)
    data = DIGITS.source.load(layout, "cpu")
    assert DIGITS.source.count(DIGITS.source.pool_path(layout)) == len(data.pool)
    assert snapshot(tmp_path) == before
