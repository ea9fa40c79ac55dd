"""A small folder of images whose colours tell which is which, however they are cropped."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fisher_al.commands.options import DataOptions
from fisher_al.commands.scripts import parse
from fisher_al.data.images import Data
from fisher_al.experiment import Experiment
from fisher_al.files.layout import Layout
from imagenet.experiment import DATASETS, MEAN, STD

CLASSES = ("ant", "bee", "cat", "dog")


def make_folder(root: Path, train: int = 12, val: int = 5) -> Path:
    """JPEG and PNG files of one colour each, of different sizes; the class decides most of the colour."""
    generator = np.random.default_rng(0)
    for split, count in (("train", train), ("val", val)):
        for label, name in enumerate(CLASSES):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                colour = (60 * label + 20, 255 - 15 * i, 100 + 40 * (split == "val"))
                width, height = generator.integers(40, 90, 2)
                image = Image.new("RGB", (int(width), int(height)), colour)
                image.save(folder / f"{name} {i:02d}.{'png' if i % 3 == 0 else 'jpg'}", quality=95)
    return root


def colours(inputs: torch.Tensor) -> torch.Tensor:
    """Mean colour (N, 3) of normalised inputs, from 0 to 255."""
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    return 255 * (inputs.mean((2, 3)) * std + mean)


def folder_experiment(root: Path, datadir: Path, *options: object) -> Experiment:
    """The protocol as a script makes it of its options."""
    arguments = ["--datadir", datadir, "--imagenetdir", root, "--crop", 32, "--workers", 2, *options]
    return parse("", DataOptions, DATASETS, list(map(str, arguments)))[1]


def load_prepared(experiment: Experiment, layout: Layout, seed: int = 0) -> Data:
    """The sets of a run, whose lists are made first."""
    experiment.source.prepare_pool(layout, seed)
    return experiment.source.load(layout, "cpu")
