"""Pools: sizes and class counts, disjoint splits, label noise."""

import pytest
import torch
from folders import folder_experiment, load_prepared, make_folder

from fisher_al.data.pools import imbalanced_indices, noisy_labels, split_validation
from fisher_al.errors import UserError
from fisher_al.files.layout import Layout
from mnist.experiment import DIGITS

# Class counts of MNIST's 60,000 training labels.
MNIST_COUNTS = torch.tensor([5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949])


@pytest.fixture
def train_labels():
    labels = torch.arange(10).repeat_interleave(MNIST_COUNTS)
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_split_is_disjoint_and_balanced(train_labels):
    pool, validation = split_validation(train_labels, 1000, 50_000, 10, generator())
    assert len(pool) == 50_000
    assert torch.equal(torch.cat([pool, validation]).sort().values, torch.arange(60_000))
    assert train_labels[validation].bincount().tolist() == [1000] * 10
    assert not torch.equal(validation, split_validation(train_labels, 1000, 50_000, 10, generator(1))[1])


def test_split_needs_enough_images():
    with pytest.raises(UserError, match="class 1 has 2 training images"):
        split_validation(torch.tensor([0, 0, 0, 1, 1]), 2, 1, 2, generator())
    with pytest.raises(UserError, match="class 2 has 0 training images"):
        split_validation(torch.tensor([0, 0, 0, 1, 1, 1]), 2, 1, 3, generator())


def test_split_by_class_into_a_smaller_pool():
    labels = torch.arange(3).repeat_interleave(20)
    pool, validation = split_validation(labels, (5, 4, 3), 30, 3, generator())
    assert labels[validation].bincount().tolist() == [5, 4, 3]
    assert len(pool) == 30
    assert torch.equal(pool, pool.unique())
    assert not set(pool.tolist()) & set(validation.tolist())
    assert labels[pool].bincount().min() > 0
    with pytest.raises(UserError, match="48 images are left for a pool of 49"):
        split_validation(labels, (5, 4, 3), 49, 3, generator())


@pytest.mark.parametrize(("ratio", "size"), [(1, 50_000), (10, 28_155), (100, 25_851)])
def test_imbalanced_pool(train_labels, ratio, size):
    labels = train_labels[split_validation(train_labels, 1000, 50_000, 10, generator())[0]]
    kept = imbalanced_indices(labels, ratio, 10, generator())
    assert len(kept) == len(kept.unique()) == size
    counts = labels[kept].bincount(minlength=10)
    assert counts[:5].tolist() == (MNIST_COUNTS[:5] - 1000).tolist()
    rare = int(counts[5:].sum())
    assert rare == (24_404 if ratio == 1 else 25_596 // ratio)
    # drawn at random from all of 5-9 together, so roughly alike
    assert (counts[5:] > rare / 5 * 0.6).all()
    if ratio > 1:
        assert not torch.equal(kept, imbalanced_indices(labels, ratio, 10, generator(1)))
        assert torch.equal(kept, imbalanced_indices(labels, ratio, 10, generator(0)))


def test_a_ratio_that_is_no_whole_number_is_divided_by_exactly():
    labels = torch.tensor([0, 1]).repeat_interleave(300)
    assert len(imbalanced_indices(labels, 2.4, 2, generator())) == 300 + 125


def test_label_noise(train_labels):
    noisy = noisy_labels(train_labels, 0.4, 10, generator())
    # a tenth of the redrawn labels come out as they were
    assert 0.35 < (noisy != train_labels).float().mean() < 0.37
    assert (noisy.bincount(minlength=10) > 5000).all()
    assert torch.equal(noisy_labels(train_labels, 0.0, 10, generator()), train_labels)
    all_redrawn = noisy_labels(train_labels, 1.0, 10, generator())
    assert 0.89 < (all_redrawn != train_labels).float().mean() < 0.91


@pytest.mark.parametrize("noise", [0.0, 0.4])
def test_images_of_a_pool_keep_their_labels_but_for_the_noise(tmp_path, noise):
    layout = Layout(tmp_path / "DIGITS", "run0", 4.0, noise)
    DIGITS.source.prepare_pool(layout, 0)
    images, labels = DIGITS.source.load_split(layout.pool())
    own, of_own = DIGITS.source.load_split(layout.processed("train-split"))
    true_labels = {image.numpy().tobytes(): int(label) for image, label in zip(own, of_own, strict=True)}
    assert len(true_labels) == len(own)
    changed = [
        true_labels[image.numpy().tobytes()] != label for image, label in zip(images, labels, strict=True)
    ]
    assert 300 < len(images) < 0.7 * len(own)
    # a tenth of the redrawn labels come out as they were; four standard deviations of so many draws
    spread = 4 * (0.36 * 0.64 / len(images)) ** 0.5 if noise else 0
    assert sum(changed) / len(changed) == pytest.approx(0.9 * noise, abs=spread)


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_images_of_a_pool_list_keep_their_labels_but_for_the_noise(tmp_path, noise):
    experiment = folder_experiment(make_folder(tmp_path / "pets"), tmp_path)
    layout = Layout(tmp_path / experiment.name, "run0", 4.0, noise)
    labels = load_prepared(experiment, layout).pool.labels
    lines = layout.pool_list().read_text().splitlines()
    classes = sorted({line.split("/")[1] for line in lines})
    own = [classes.index(line.split("/")[1]) for line in lines]
    assert labels.tolist() == [int(line.rsplit(" ", 1)[1]) for line in lines]
    changed = [label != other for label, other in zip(own, labels.tolist(), strict=True)]
    assert 5 <= sum(changed) <= 15 if noise else not any(changed)


def test_every_run_has_a_pool_of_its_own(tmp_path):
    pools = []
    for run in ("run0", "run1"):
        layout = Layout(tmp_path / "DIGITS", run, 4.0)
        DIGITS.source.prepare_pool(layout, 0)
        pools.append(layout.pool().read_bytes())
    assert pools[0] != pools[1]
