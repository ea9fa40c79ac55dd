"""The ImageNet protocol of the paper, on ImageNet or on any folder of images laid out like it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fisher_al.commands.options import DataOptions, LoaderOptions
from fisher_al.commands.parsing import option, real_number, switch, whole_number
from fisher_al.commands.scripts import Datasets
from fisher_al.data.folder_lists import find_classes, read_list, scan_split
from fisher_al.data.folder_source import FolderSource
from fisher_al.data.loaders import LOADERS
from fisher_al.errors import UserError
from fisher_al.experiment import Experiment, PaperFigure
from fisher_al.training.schedule import Schedule
from imagenet.custom_models.resnet18 import ResNet18

NAME = "ImageNet"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

CROP = 224

COMPARED = (
    *("random", "varMC", "varMC E=4", "none/512", "gradAbl/512", "grad/768", "gradFmap/512", "gradFmap/768"),
)

IMAGES = FolderSource(
    name=NAME,
    root=Path(NAME) / "raw",  # until the options name it
    load_files=LOADERS["dali"],
    workers=1,
    num_classes=1000,
    image_shape=(CROP, CROP, 3),
    mean=MEAN,
    std=STD,
    pool_size=1_281_167,
)

IMAGENET = Experiment(
    source=IMAGES,
    network=ResNet18,
    lengths={768: ("layer3", "pooled"), 512: ("pooled",), 448: ("layer1", "layer2", "layer3")},
    default_length=768,
    training=Schedule(
        epochs=60,
        batch_size=128,
        learning_rate=0.1,
        milestones=(30, 50, 57),
        momentum=0.9,
        weight_decay=1e-4,
        warmup_epochs=5,
    ),
    pretraining=Schedule(
        epochs=15,
        batch_size=128,
        learning_rate=0.1,
        milestones=(6, 10, 14),
        momentum=0.9,
        weight_decay=1e-4,
        warmup_epochs=2,
    ),
    iterations=10,
    budget=64_000,
    runs=1,
    imbalance_ratios=(1, 100),
    mc_samples=32,
    methods=("random", "varMC", "none/512", "gradAbl/512", "grad/768", "gradFmap/512", "gradFmap/768"),
    figures={
        "fig1": PaperFigure(1, COMPARED, ("gradFmap/768", "varMC", 65)),
        "fig2": PaperFigure(100, COMPARED, ("gradFmap/768", "varMC", 38)),
    },
    autocast=True,
)


@dataclass(frozen=True)
class ImageNetOptions(LoaderOptions):
    """folder of images"""

    imagenetdir: Path | None = option(
        "--imagenetdir",
        type=Path,
        help="folder with train/<class>/* and val/<class>/* (default: datadir/ImageNet/raw)",
    )
    crop: int = option(
        "--crop", type=whole_number(32, 4096), default=CROP, help="side of the network's inputs, in pixels"
    )
    holdout: float = option(
        "--holdout",
        type=real_number("a share of at least 0 and below 1", lambda value: 0 <= value < 1),
        default=0.0,
        help="share of the validation images that score the results and are not matched; 0: all do both",
    )
    skip_corrupt: bool = switch("--skip-corrupt", "leave out files that are no readable images")
    half: bool = switch("--half", "keep the pool's descriptors in 16 bits")


def _adapt(experiment: Experiment, own: ImageNetOptions, options: DataOptions) -> Experiment:
    """The protocol on the folder that is given: its classes, its size, and its name if it is not ImageNet."""
    # absolute, as machines of a cluster have other working folders
    root = (own.imagenetdir or options.data_folder(NAME) / "raw").absolute()
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", 1))  # of this machine, which share its cores
    source = replace(
        experiment.source,
        root=root,
        load_files=LOADERS[own.loader],
        workers=own.workers or max(1, (os.cpu_count() or 1) // processes),
        image_shape=(own.crop, own.crop, 3),
        holdout=own.holdout,
        skip_corrupt=own.skip_corrupt,
        half=own.half,
    )
    experiment = replace(experiment, source=source)
    if own.imagenetdir is None and not root.is_dir():
        return experiment  # results of ImageNet can be drawn where its images are not
    classes = find_classes(root)
    if _is_whole(root, classes):
        return experiment
    name = _own_name(root)
    if experiment.name != NAME:  # a network of one's own on that folder
        name = f"{experiment.name}-{name}"
    kept = options.data_folder(name) / "processed" / "train_list.txt"
    files, labels = read_list(kept, len(classes)) if kept.is_file() else scan_split(root, "train", classes)[0]
    for file, label in zip(files, labels.tolist(), strict=True):
        if classes[label] != os.path.basename(os.path.dirname(file)):
            raise UserError(
                f"{kept}: {file} has class {label} there, which is now {classes[label]}; undo what was "
                f"added or renamed in {root / 'train'}, or choose another --datadir"
            )
    source = replace(source, name=name, num_classes=len(classes), pool_size=len(files))
    return replace(experiment, source=source, figures={})


def _is_whole(root: Path, classes: Sequence[str]) -> bool:
    """Whether all of ImageNet is there, by the names of classes and the number of training files."""
    if len(classes) != IMAGES.num_classes or not all(re.fullmatch(r"n\d{8}", name) for name in classes):
        return False
    files = (name for wnid in classes for name in os.listdir(root / "train" / wnid))
    return sum(not name.startswith(".") for name in files) == IMAGES.pool_size


def _own_name(root: Path) -> str:
    """Name for the results of another folder: its own, or that of the link to it."""
    for path in (root.resolve(), Path(os.path.abspath(root))):
        if path.name not in (NAME, "raw"):
            return path.name
    raise UserError(
        f"{root}: not all of ImageNet ({IMAGES.num_classes:,} classes, {IMAGES.pool_size:,} training "
        f"images), so its results need another name than {NAME} or raw; rename the folder, or give "
        "--imagenetdir a link of another name to it"
    )


DATASETS = Datasets(
    {NAME: IMAGENET},
    ImageNetOptions,
    _adapt,
    reading=("crop", "loader", "workers", "holdout", "skip_corrupt"),
    describing=("half",),
)
