"""What README shows under "Add your own" works as it stands there."""

import re
from dataclasses import replace
from inspect import signature
from types import SimpleNamespace

import numpy as np
import torch
import torchvision
from conftest import call
from pages import README, section

import mnist.experiment
import svhn.experiment
from fisher_al import METHODS, Images, Tapped, pick_images
from fisher_al.commands.scripts import Datasets
from fisher_al.data.in_memory import RawSplits
from fisher_al.experiment import parse_method
from fisher_al.files.layout import Layout
from fisher_al.method.acquisition import most_uncertain, unlabeled_indices
from fisher_al.method.base import Method
from fisher_al.method.predictions import pool_probabilities
from mnist.custom_datasets.digits import read_digits
from mnist.experiment import DIGITS

METHOD, DATA, NETWORK, ARRAYS = re.findall(
    r"```python\n(.*?)```", section(README, "## Add your own"), re.DOTALL
)


def run(code: str, **names: object) -> SimpleNamespace:
    """The names that README's code defines, given those that it takes for granted."""
    exec(code, names)
    return SimpleNamespace(**names)


def iterations_of(folder, token, *options, datasets):
    common = ("--datadir", folder, "--run-stop", 1, "-ir", 10, "--epochs", 1, *options)
    for step in (("--initial",), ("--methods", token, "--iterations", 2, "-as", 10)):
        outcome = call("run.py", *common, *step, datasets=datasets)
        assert outcome.code == 0, outcome.err
    return outcome.out


def test_a_method(tmp_path, monkeypatch):
    names = {
        "Method": Method,
        "pool_probabilities": pool_probabilities,
        "unlabeled_indices": unlabeled_indices,
        "most_uncertain": most_uncertain,
    }
    monkeypatch.setitem(METHODS, "leastConfident", run(METHOD, **names).LeastConfident())
    out = iterations_of(tmp_path, "leastConfident", datasets=Datasets({"DIGITS": DIGITS}))
    assert re.search(r"^leastConfident +1/1", out, re.MULTILINE)
    layout, method = Layout(tmp_path / "DIGITS", "run0", 10.0), parse_method("leastConfident", DIGITS)
    assert len(set(np.load(layout.index_list(method, 2, 20)).tolist())) == 20

    class Scripted(torch.nn.Module):
        def forward(self, images):
            return images.flatten(1)[:, :3]

    leads = torch.tensor([5, 1, 9, 3, 7], dtype=torch.uint8)
    pixels = torch.zeros(5, 2, 2, dtype=torch.uint8)
    pixels[:, 0, 0] = leads
    images = Images(pixels, torch.arange(5) % 3, 0.0, 0.01)
    network = Scripted()
    network.scales = {}
    assert pick_images(network, images, images, 3, "leastConfident", labeled=torch.tensor([3])).tolist() == [
        1,
        0,
        4,
    ]


def test_a_data_set(tmp_path, monkeypatch):
    class OfDigits:
        """torchvision's class, on fewer images than it would download."""

        def __init__(self, root, train, download):
            raw = read_digits(root)
            self.data = raw.train_images if train else raw.test_images
            self.targets = raw.train_labels if train else raw.test_labels

    names = {"KMNIST": OfDigits, "RawSplits": RawSplits, "replace": replace, "Datasets": Datasets}
    names |= {
        name: getattr(mnist.experiment, name) for name in ("MNIST", "FASHION_MNIST", "DIGITS", "IMAGES")
    }
    kuzushiji = run(DATA, **names)
    signature(torchvision.datasets.KMNIST).bind("folder", True, download=True)
    small = replace(kuzushiji.KUZUSHIJI.source, validation_per_class=30, pool_size=1000)
    # in this process: others would not find what was executed here instead of imported
    here = replace(kuzushiji.KUZUSHIJI, source=small, one_core_per_chain=False)
    protocols = kuzushiji.DATASETS.experiments | {"KMNIST": here}
    options = ("--dataset", "KMNIST")
    out = iterations_of(tmp_path, "gradFmap/80", *options, datasets=Datasets(protocols))
    assert "KMNIST, ir 10" in out


def test_a_network(tmp_path):
    names = {"mobilenet_v3_small": torchvision.models.mobilenet_v3_small, "Tapped": Tapped}
    names |= {"replace": replace, "SVHN": svhn.experiment.SVHN, "IMAGES": svhn.experiment.IMAGES}
    small = run(NETWORK, **names).SMALL
    network = small.network(10)
    taps = {}
    network.eval()(torch.randn(2, 3, 32, 32), lambda name, a: taps.setdefault(name, a))
    assert {name: activation.shape[1] for name, activation in taps.items()} == network.scales
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (120, 32, 32, 3), dtype=torch.uint8, generator=generator)
    images = Images(pixels, torch.arange(120) % 10, small.source.mean, small.source.std)
    raw = RawSplits(pixels, images.labels, pixels[:20], images.labels[:20])
    tiny = replace(small.source, read=lambda folder: raw, validation_per_class=2, pool_size=80)
    datasets = Datasets({"SVHN-small": replace(small, source=tiny)})
    assert "gradFmap/1072" in iterations_of(tmp_path, "gradFmap/1072", datasets=datasets)
    [(length, scales)] = small.lengths.items()
    assert length == small.default_length == sum(network.scales[name] for name in scales)
    assert len(pick_images(network, images, images, 5, "gradFmap", scales=scales).unique()) == 5


def test_arrays():
    generator = np.random.default_rng(0)
    names = {
        **{"torch": torch, "resnet18": torchvision.models.resnet18, "mean": (0.5,) * 3, "std": (0.25,) * 3},
        **{"Images": Images, "Tapped": Tapped, "pick_images": pick_images},
        "pixels": generator.integers(0, 256, (130, 32, 32, 3), dtype=np.uint8),
        "known_pixels": generator.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8),
        "known_labels": np.arange(20) % 5,
    }
    assert f"`from fisher_al import {', '.join(('Images', 'Tapped', 'pick_images'))}`" in README.read_text()
    assert len(run(ARRAYS, **names).to_label.unique()) == 100
