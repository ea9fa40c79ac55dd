"""The options of scripts that carry one run through one stage, in groups as in `options`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from fisher_al.commands.options import DataOptions, TrainingOptions
from fisher_al.commands.parsing import (
    PROTOCOL,
    count,
    imbalance_ratio,
    index,
    members,
    option,
    run_folder,
)
from fisher_al.experiment import Experiment
from fisher_al.training.schedule import Schedule


@dataclass(frozen=True)
class OneRunOptions(DataOptions):
    """run"""

    imbalance_ratio: float | None = option(
        "-ir", "--imbalance-ratio", type=imbalance_ratio, help="(default: the protocol's largest)"
    )
    run_folder: str = option(
        "-r", "--run-folder", type=run_folder, metavar="NAME", default="run0", help="name of the run's folder"
    )
    save_folder: Path | None = option(
        "--save-folder", type=Path, help="folder of raw, processed and run folders (default: datadir/dataset)"
    )

    def data_folder(self, name: str) -> Path:
        return self.save_folder or super().data_folder(name)

    def ratio(self, experiment: Experiment) -> float:
        """The pool's imbalance ratio."""
        return self.imbalance_ratio or max(experiment.imbalance_ratios)


@dataclass(frozen=True)
class EnsembleOptions:
    """ensemble"""

    ensemble_size: int = option("-ens", "--ensemble-size", type=members, default=1, help="networks E")
    ensemble_index: int = option("-e", "--ensemble-index", type=index, default=0, help="member, from 0")


@dataclass(frozen=True)
class MethodOptions:
    """method"""

    subtype_method: str = option(
        "-sub", "--subtype-method", default="gradFmap", help="how the label S is chosen"
    )
    augment_method: str | None = option(
        "-aug", "--augment-method", help="acquisition (default: the subtype's own)"
    )
    descriptor_length: int | None = option(
        "-dl", "--descriptor-length", type=index, help="channels L of a descriptor" + PROTOCOL
    )


@dataclass(frozen=True)
class BatchOptions:
    """iteration"""

    batch: int = option("-b", "--batch", type=index, default=0, help="iteration to start from, 0 .. B-1")
    train_size: int | None = option(
        "-ts", "--train-size", type=index, help="labels so far (default: b x budget)"
    )
    unsupervised: int = option(
        *("-unsup", "--unsupervised"),
        type=int,
        choices=(0, 1),
        default=1,
        help="1: from the pretrained model, 0: from random weights",
    )


@dataclass(frozen=True)
class StageTrainingOptions(TrainingOptions):
    """training of a single stage"""

    batch_size: int | None = option("--batch-size", type=count, help="images per training step" + PROTOCOL)

    def override(self, schedule: Schedule) -> Schedule:
        schedule = super().override(schedule)
        return schedule if self.batch_size is None else replace(schedule, batch_size=self.batch_size)
