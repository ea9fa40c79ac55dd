"""The ImageNet protocol of the paper, on ImageNet or on any folder of images laid out like it."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from fisher_al.commands.options import Experiments, Parser, count, real_number, whole_number
from fisher_al.data.folder_lists import find_classes, read_list, scan_split
from fisher_al.errors import UserError
from fisher_al.experiment import Experiment, ImageFolder, PaperFigure, Schedule
from imagenet.custom_models.resnet18 import ResNet18

NAME = "ImageNet"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

COMPARED = (
    *("random", "varMC", "varMC E=4", "none/512", "gradAbl/512", "grad/768", "gradFmap/512", "gradFmap/768"),
)

IMAGENET = Experiment(
    name=NAME,
    network=ResNet18,
    num_classes=1000,
    image_shape=(224, 224, 3),
    mean=MEAN,
    std=STD,
    pool_size=1_281_167,
    scales={768: ("layer3", "pooled"), 512: ("pooled",), 448: ("layer1", "layer2", "layer3")},
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

Loader = Callable[[ImageFolder, Sequence[str], int, str, "int | None"], Iterator[tuple[Tensor, Tensor]]]


# Loaders are imported where they are used, as that takes seconds.
def _load_with_dali(*request: object) -> Iterator[tuple[Tensor, Tensor]]:
    from imagenet.custom_datasets.dali import load

    return load(*request)


def _load_with_torchvision(*request: object) -> Iterator[tuple[Tensor, Tensor]]:
    from imagenet.custom_datasets.torchvision import load

    return load(*request)


LOADERS: dict[str, Loader] = {"dali": _load_with_dali, "torchvision": _load_with_torchvision}


def _add_options(parser: Parser) -> None:
    parser.add_argument(
        "--imagenetdir",
        type=Path,
        help="folder with train/<class>/* and val/<class>/* (default: datadir/ImageNet/raw)",
    )
    parser.add_argument(
        "--crop", type=whole_number(32), default=224, help="side of the network's inputs, in pixels"
    )
    parser.add_argument("--loader", choices=list(LOADERS), default="dali", help="what decodes the images")
    parser.add_argument(
        "--workers", type=count, help="threads (torchvision: processes) that decode (default: all cores)"
    )
    parser.add_argument(
        "--holdout",
        type=real_number("a share of at least 0 and below 1", lambda value: 0 <= value < 1),
        default=0.0,
        help="share of the validation images that score the results and are not matched; 0: all do both",
    )
    parser.add_argument(
        "--skip-corrupt", action="store_true", help="leave out files that are no readable images"
    )
    parser.add_argument("--half", action="store_true", help="keep the pool's descriptors in 16 bits")


def _adapt(experiment: Experiment, args: argparse.Namespace) -> Experiment:
    """The protocol on the folder that is given: its classes, its size, and its name if it is not ImageNet."""
    root = args.imagenetdir or args.datadir / NAME / "raw"
    share = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    folder = ImageFolder(
        root=root,
        crop=args.crop,
        load=LOADERS[args.loader],
        mean=MEAN,
        std=STD,
        workers=args.workers or max(1, (os.cpu_count() or 1) // share),
        holdout=args.holdout,
        skip_corrupt=args.skip_corrupt,
    )
    experiment = replace(
        experiment,
        folder=folder,
        image_shape=(folder.crop, folder.crop, 3),
        half_descriptors=args.half,
    )
    if args.imagenetdir is None and not root.is_dir():
        return experiment  # results of ImageNet can be drawn where its images are not
    classes = find_classes(root)
    if _is_whole(experiment, root, classes):
        return experiment
    name = _own_name(experiment, root)
    kept = (getattr(args, "save_folder", None) or args.datadir / name) / "processed" / "train_list.txt"
    files, _ = read_list(kept, len(classes)) if kept.is_file() else scan_split(root, "train", classes)[0]
    return replace(experiment, name=name, num_classes=len(classes), pool_size=len(files), figures={})


def _is_whole(experiment: Experiment, root: Path, classes: Sequence[str]) -> bool:
    """Whether all of ImageNet is there, by the names of classes and the number of training files."""
    if len(classes) != experiment.num_classes or not all(re.fullmatch(r"n\d{8}", name) for name in classes):
        return False
    files = (name for wnid in classes for name in os.listdir(root / "train" / wnid))
    return sum(not name.startswith(".") for name in files) == experiment.pool_size


def _own_name(experiment: Experiment, root: Path) -> str:
    """Name for the results of another folder: its own, or that of the link to it."""
    for path in (root.resolve(), Path(os.path.abspath(root))):
        if path.name not in (NAME, "raw"):
            return path.name
    raise UserError(
        f"{root}: not all of ImageNet ({experiment.num_classes:,} classes, {experiment.pool_size:,} training "
        f"images), so its results need another name than {NAME} or raw; rename the folder, or give "
        "--imagenetdir a link of another name to it"
    )


EXPERIMENTS = Experiments({NAME: IMAGENET}, _add_options, _adapt)
