"""The SVHN protocol of the paper, and the same on other files of SVHN's format."""

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path

from fisher_al.commands.options import Experiments, Parser, count
from fisher_al.errors import UserError
from fisher_al.experiment import Experiment, PaperFigure, RawSplits, Schedule
from svhn.custom_models.resnet10 import ResNet10


# The reader is needed once, and what it imports takes seconds.
def _read(folder: Path, verify: bool) -> RawSplits:
    from svhn.custom_datasets.svhn import read_svhn

    # unverified runs have a folder of their own, beside that of the files
    return read_svhn((folder if verify else folder.parent / "SVHN") / "raw", verify)


COMPARED = (
    *("random", "varMC", "varMC E=4", "none/256", "gradAbl/256", "grad/256", "gradFmap/256", "gradFmap/768"),
    "vaal",
)

SVHN = Experiment(
    name="SVHN",
    network=ResNet10,
    read=partial(_read, verify=True),
    num_classes=10,
    image_shape=(32, 32, 3),
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    validation_per_class=(10_439,) * 8 + (10_438,) * 2,
    pool_size=500_000,
    scales={768: ("layer3", "pooled"), 256: ("layer3",), 512: ("pooled",)},
    default_length=768,
    training=Schedule(epochs=35, batch_size=128, learning_rate=0.1, milestones=(15, 30)),
    pretraining=Schedule(epochs=8, batch_size=128, learning_rate=0.1, milestones=(3, 6)),
    iterations=10,
    budget=1250,
    runs=5,
    imbalance_ratios=(1, 100),
    mc_samples=64,
    methods=("random", "varMC", "none/256", "gradAbl/256", "grad/256", "gradFmap/256", "gradFmap/768"),
    figures={
        "fig1": PaperFigure(1, COMPARED, ("gradFmap/768", "varMC", 92)),
        "fig2": PaperFigure(100, COMPARED, ("gradFmap/768", "varMC", 80)),
    },
)

UNVERIFIED_NAME = "SVHN-unverified"


def _add_options(parser: Parser) -> None:
    parser.add_argument(
        "--allow-unverified-data",
        action="store_true",
        help=f"take the .mat files in SVHN/raw though they are not SVHN; runs go to {UNVERIFIED_NAME}",
    )
    parser.add_argument(
        "--validation-per-class", type=count, help="of unverified data, validation images per class"
    )
    parser.add_argument("--pool-size", type=count, help="of unverified data, images of the pool at ratio 1")


def _adapt(experiment: Experiment, args: argparse.Namespace) -> Experiment:
    """SVHN by the protocol; unverified data under another name, with the sizes that the options give."""
    sizes = {"--validation-per-class": args.validation_per_class, "--pool-size": args.pool_size}
    if not args.allow_unverified_data:
        for option, value in sizes.items():
            if value is not None:
                raise UserError(f"{option} {value}: only with --allow-unverified-data; SVHN has its sizes")
        return experiment
    for option, value in sizes.items():
        if value is None:
            raise UserError(f"--allow-unverified-data: say with {option} how many of its images to use")
    print("these files are not SVHN: no result of theirs is a result on SVHN")
    return replace(
        experiment,
        name=UNVERIFIED_NAME,
        read=partial(_read, verify=False),
        validation_per_class=args.validation_per_class,
        pool_size=args.pool_size,
    )


EXPERIMENTS = Experiments({"SVHN": SVHN}, _add_options, _adapt)
