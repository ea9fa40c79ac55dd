"""The SVHN protocol of the paper, and the same on other files of SVHN's format."""

from dataclasses import dataclass, replace
from pathlib import Path

from fisher_al.commands.options import DataOptions
from fisher_al.commands.parsing import count, option, switch
from fisher_al.commands.scripts import Datasets
from fisher_al.data.in_memory import MemorySource, RawSplits
from fisher_al.errors import UserError
from fisher_al.experiment import Experiment, PaperFigure
from fisher_al.training.schedule import Schedule
from svhn.custom_models.resnet10 import ResNet10


# The reader is needed once, and what it imports takes seconds.
def _read_verified(folder: Path) -> RawSplits:
    from svhn.custom_datasets.svhn import read_svhn

    return read_svhn(folder / "raw", verify=True)


def _read_unverified(folder: Path) -> RawSplits:
    from svhn.custom_datasets.svhn import read_svhn

    # unverified runs have a folder of their own, which the files need not lie in
    raw = folder / "raw"
    return read_svhn(raw if any(raw.glob("*.mat")) else folder.parent / "SVHN" / "raw", verify=False)


COMPARED = (
    *("random", "varMC", "varMC E=4", "none/256", "gradAbl/256", "grad/256", "gradFmap/256", "gradFmap/768"),
    "vaal",
)

IMAGES = MemorySource(
    name="SVHN",
    read=_read_verified,
    num_classes=10,
    image_shape=(32, 32, 3),
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    validation_per_class=(10_439,) * 8 + (10_438,) * 2,
    pool_size=500_000,
)

SVHN = Experiment(
    source=IMAGES,
    network=ResNet10,
    lengths={768: ("layer3", "pooled"), 256: ("layer3",), 512: ("pooled",)},
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


@dataclass(frozen=True)
class SvhnOptions:
    """other files of SVHN's format"""

    allow_unverified_data: bool = switch(
        "--allow-unverified-data",
        "take the .mat files in SVHN/raw though they are not SVHN; runs go to SVHN-unverified",
    )
    validation_per_class: int | None = option(
        "--validation-per-class", type=count, help="of unverified data, validation images per class"
    )
    pool_size: int | None = option(
        "--pool-size", type=count, help="of unverified data, images of the pool at ratio 1"
    )


def _adapt(experiment: Experiment, own: SvhnOptions, options: DataOptions) -> Experiment:
    """SVHN by the protocol; unverified data under another name, with the sizes that the options give."""
    sizes = {"--validation-per-class": own.validation_per_class, "--pool-size": own.pool_size}
    if not own.allow_unverified_data:
        for flag, value in sizes.items():
            if value is not None:
                raise UserError(f"{flag} {value}: only with --allow-unverified-data; SVHN has its sizes")
        return experiment
    for flag, value in sizes.items():
        if value is None:
            raise UserError(f"--allow-unverified-data: say with {flag} how many of its images to use")
    print("these files are not SVHN: no result of theirs is a result on SVHN")
    source = replace(
        experiment.source,
        name=f"{experiment.name}-unverified",
        read=_read_unverified,
        validation_per_class=own.validation_per_class,
        pool_size=own.pool_size,
    )
    return replace(experiment, source=source)


DATASETS = Datasets({"SVHN": SVHN}, SvhnOptions, _adapt)
