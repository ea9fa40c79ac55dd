"""The installed wheel works outside the checkout, for everything that needs no script."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

USE = """
import torch, fisher_al
from fisher_al import Images, Tapped, pick_images
from fisher_al.results.published import published_mean
from fisher_al.chain import Chain
from fisher_al.experiment import parse_method
from fisher_al.files.layout import Layout
from mnist.experiment import MNIST

print(fisher_al.__file__)
layers = torch.nn.Flatten(), torch.nn.Linear(16, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3)
network = Tapped(torch.nn.Sequential(*layers), {"pooled": 8}, head="3")
pixels = torch.randint(0, 256, (50, 4, 4), dtype=torch.uint8)
validation = Images(pixels[:20], torch.arange(20) % 3, 0.5, 0.5)
print(len(pick_images(network, Images(pixels, None, 0.5, 0.5), validation, 7).unique()))
chain = Chain.by_protocol(MNIST, Layout(".", "run0", 100.0), parse_method("gradFmap/80", MNIST))
print(published_mean(chain)[0])
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder in which the wheel is installed."""
    folder = tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns(".*", "local_data", "build", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, folder / "checkout", ignore=ignored)  # building leaves files behind
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, folder / "checkout"]
    subprocess.run(build, check=True)
    [wheel] = folder.glob("fisher_al-*.whl")
    target = folder / "installed"
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", target, wheel], check=True)
    return target


def test_arrays_protocols_and_published_curves(installed, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-c", USE], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    where, picked, published = done.stdout.split()
    assert Path(where).is_relative_to(installed)
    assert (picked, published) == ("7", "71.6")
