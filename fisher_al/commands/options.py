"""The options that scripts share, in groups, each under its docstring in --help.

A script's options are a class that inherits its groups.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fisher_al.chain import GEN_BATCH_SIZE
from fisher_al.commands.parsing import (
    PROTOCOL,
    base_seed,
    count,
    gpu_share,
    imbalance_ratio,
    index,
    iterations,
    learning_rate,
    members,
    noisy_ratio,
    option,
    run_number,
    samples,
    switch,
    worker_count,
)
from fisher_al.data.loaders import LOADERS
from fisher_al.experiment import KEPT_EPOCHS, Variant
from fisher_al.training.schedule import Schedule


@dataclass(frozen=True)
class DataOptions:
    """dataset"""

    dataset: str = option("--dataset", help="which protocol to follow")
    datadir: Path = option("--datadir", type=Path, help="folder of the datasets' folders")
    noisy_ratio: float = option(
        "-nr", "--noisy-ratio", type=noisy_ratio, default=0.0, help="share of random labels"
    )

    def data_folder(self, name: str) -> Path:
        """Folder of the raw and processed files and runs of the dataset of that name."""
        return self.datadir / name


@dataclass(frozen=True)
class ComputeOptions:
    """computation"""

    gpu: int = option("--gpu", type=index, default=0, help="index of the GPU; without one the CPU is used")
    seed: int = option("--seed", type=base_seed, default=0, help="base seed, from which all others derive")


@dataclass(frozen=True)
class LoaderOptions:
    """decoding of image files"""

    loader: str = option("--loader", choices=list(LOADERS), default="dali", help="what decodes the images")
    workers: int | None = option(
        "--workers",
        type=worker_count,
        help="threads (torchvision: processes) that decode (default: all cores)",
    )


@dataclass(frozen=True)
class RunsOptions:
    """runs and pools"""

    run_start: int = option("--run-start", type=run_number, default=0, help="first run")
    run_stop: int | None = option("--run-stop", type=run_number, help="run to stop before" + PROTOCOL)
    imbalance_ratio: tuple[float, ...] | None = option(
        "-ir", "--imbalance-ratio", type=imbalance_ratio, nargs="+", help="pools, by ratio" + PROTOCOL
    )
    iterations: int | None = option("--iterations", type=iterations, help="AL iterations B" + PROTOCOL)


@dataclass(frozen=True)
class BudgetOptions:
    """budget"""

    augment_size: int | None = option(
        "-as", "--augment-size", type=count, help="labels A per iteration" + PROTOCOL
    )


@dataclass(frozen=True)
class SamplingOptions:
    """sampling"""

    sample_steps: int | None = option(
        "-smp", "--sample-steps", type=samples, help="dropout passes or views K" + PROTOCOL
    )


@dataclass(frozen=True)
class DescribeOptions:
    """descriptors"""

    gen_batch_size: int = option(
        "-gbs",
        "--gen-batch-size",
        type=count,
        default=GEN_BATCH_SIZE,
        help="images x passes described at once",
    )


@dataclass(frozen=True)
class MethodsOptions:
    """methods"""

    methods: tuple[str, ...] | None = option(
        "--methods",
        nargs="+",
        metavar="METHOD",
        help="e.g. random varMC gradFmap/80, with a descriptor length where one belongs; README and "
        "docs/later-methods.md list all (default: the paper's)",
    )
    ensemble_size: tuple[int, ...] = option(
        *("-ens", "--ensemble-size"),
        type=members,
        nargs="+",
        default=(1,),
        help="networks for varMC, entMC, baldMC; 1 and a larger size are two curves",
    )
    figure: str | None = option(
        "--figure",
        help="one of the paper's figures, e.g. fig2, or later: its curves; defaults of -ir and --keep",
    )


@dataclass(frozen=True)
class StartsOptions:
    """initial models"""

    unsupervised: tuple[int, ...] = option(
        *("-unsup", "--unsupervised"),
        type=int,
        choices=(0, 1),
        nargs="+",
        default=(1,),
        help="1: from the pretrained model, 0: from random weights",
    )


@dataclass(frozen=True)
class VariantOptions:
    """departures from the paper's protocol, whose chains have a folder of their own in the run's"""

    validation_images: int | None = option(
        "--validation-images",
        type=count,
        help="validation images of each class that methods have (default: all)",
    )
    train_on_validation: bool = switch(
        "--train-on-validation", "networks learn them too; targets are those wrong under cross-fitting"
    )
    keep: str | None = option(
        "--keep",
        choices=KEPT_EPOCHS,
        help="epoch that the next iteration starts from: best on test or validation, or the last "
        "(default: best, as published, or the figure's)",
    )

    def variant(self, keep: str = KEPT_EPOCHS[0]) -> Variant:
        """What chains do otherwise; keep : the epoch, where the options do not say."""
        return Variant(self.validation_images, self.train_on_validation, self.keep or keep)


@dataclass(frozen=True)
class PoolsOptions(BudgetOptions, RunsOptions, DataOptions):
    """Which runs and pools, for scripts that handle many chains."""


@dataclass(frozen=True)
class CampaignOptions(VariantOptions, SamplingOptions, StartsOptions, MethodsOptions, PoolsOptions):
    """The same with the methods."""


@dataclass(frozen=True)
class DrawingOptions:
    """drawing"""

    out: Path | None = option(
        "--out", type=Path, help="folder of the figures (default: datadir/dataset/figures)"
    )


@dataclass(frozen=True)
class TrainingOptions:
    """training"""

    epochs: int | None = option("--epochs", type=index, help="epochs of training" + PROTOCOL)
    lr: float | None = option("--lr", type=learning_rate, help="learning rate" + PROTOCOL)

    def override(self, schedule: Schedule) -> Schedule:
        """The protocol's schedule with what the options say otherwise."""
        given: dict[str, Any] = {"epochs": self.epochs, "learning_rate": self.lr}
        return replace(schedule, **{name: value for name, value in given.items() if value is not None})


@dataclass(frozen=True)
class PlanOptions:
    """plan"""

    jobs: int | None = option(
        "--jobs",
        type=count,
        help="chains to run side by side, on one GPU too (default: 1; mnist/run.py on a CPU, but for DIGITS: "
        "one per core)",
    )
    dry_run: bool = switch("--dry-run", "print the plan and stop")
    status: bool = switch("--status", "print how far every chain is and stop")
    repair: bool = switch("--repair", "first check every file, and delete what is broken to remake it")


@dataclass(frozen=True)
class ClusterOptions:
    """several processes or machines"""

    nproc: int = option(
        "--nproc",
        type=worker_count,
        default=1,
        help="processes, each with its own GPU, that share the images of one chain after another",
    )
    cluster: str | None = option(
        "--cluster", metavar="ADDRESS", help="run on a Ray cluster that shares --datadir"
    )
    cluster_cpus: int | None = option(
        "--cluster-cpus", type=count, help="CPU cores, and threads, of a task on the cluster (default: 1)"
    )
    cluster_gpus: float | None = option(
        "--cluster-gpus", type=gpu_share, help="GPUs of a task (default: 1 where there are any)"
    )
