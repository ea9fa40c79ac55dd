"""What unsup.py, gen_descr.py and main_descr.py do: one stage of one run, from options to files."""

from __future__ import annotations

from argparse import SUPPRESS
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fisher_al.chain import Chain
from fisher_al.commands.options import (
    BudgetOptions,
    ComputeOptions,
    DescribeOptions,
    SamplingOptions,
    VariantOptions,
)
from fisher_al.commands.parsing import count, option
from fisher_al.commands.scripts import Datasets, announce, choose_device, parse
from fisher_al.commands.stage_options import (
    BatchOptions,
    EnsembleOptions,
    MethodOptions,
    OneRunOptions,
    StageTrainingOptions,
)
from fisher_al.distributed import is_main, main_first
from fisher_al.errors import UserError
from fisher_al.experiment import Experiment, find_method
from fisher_al.files.layout import Layout
from fisher_al.files.locks import BusyError, hold
from fisher_al.files.run_log import GEN_DESCR, MAIN_DESCR, UNSUP, logged
from fisher_al.files.storage import remove_abandoned
from fisher_al.method.base import Method
from fisher_al.stages.gen_descr import gen_descr
from fisher_al.stages.main_descr import main_descr
from fisher_al.stages.unsup import InitialModel, unsup
from fisher_al.training.checkpoints import require_pool, require_settings
from fisher_al.training.fit import OnEpoch


@dataclass(frozen=True)
class UnsupOptions(StageTrainingOptions, ComputeOptions, EnsembleOptions, OneRunOptions):
    """Options of unsup.py."""


@dataclass(frozen=True)
class IterationOptions(ComputeOptions, BudgetOptions, BatchOptions, EnsembleOptions, OneRunOptions):
    """Options of a script that carries one chain through one iteration."""

    def budget(self, experiment: Experiment) -> int:
        """Budget per iteration, as -as says or as -ts and -b imply."""
        labeled, batch = self.train_size, self.batch
        budget = self.augment_size or (labeled // batch if labeled and batch else experiment.budget)
        if labeled not in (None, batch * budget):
            raise UserError(
                f"-ts {labeled}: batch {batch} with a budget of {budget} has {batch * budget} labeled "
                "images; correct -ts, -b or -as"
            )
        return budget


@dataclass(frozen=True)
class StageOptions(
    StageTrainingOptions, DescribeOptions, VariantOptions, SamplingOptions, MethodOptions, IterationOptions
):
    """Options of gen_descr.py."""


@dataclass(frozen=True)
class MainDescrOptions(StageOptions):
    """testing"""

    test_batch_size: int | None = option(
        "--test-batch-size", type=count, help="images tested at once (default: what suits the device)"
    )


def unsup_main(datasets: Datasets, arguments: Sequence[str]) -> None:
    """`unsup.py`: make both initial models of one run."""
    options, experiment = parse(
        "Make the initial models of a run: one with random weights, one pretrained on rotations.",
        UnsupOptions,
        datasets,
        arguments,
        without=datasets.describing,
    )
    device = choose_device(options.gpu)
    models = [
        InitialModel(
            experiment,
            _layout(experiment, options, pretrained),
            options.ensemble_index,
            options.override(experiment.pretraining),
            options.seed,
            device,
        )
        for pretrained in (False, True)
    ]
    announce(device)
    with main_first():
        experiment.source.prepare_pool(models[0].layout, options.seed, verify=True)
    for model in models:
        with (
            progress_bar(model.schedule.epochs, "epoch") as on_epoch,
            alone(model.log, [model.path], UNSUP, member=model.member) as note,
        ):
            note["acc"] = unsup(model, on_epoch)
        recognised = "rotations" if model.layout.pretrained else "classes"
        print(f"{model.path}: {note['acc']:.2f}% of test {recognised} recognised")


def gen_descr_main(datasets: Datasets, arguments: Sequence[str]) -> None:
    """`gen_descr.py`: describe pool and validation images with the model of one iteration."""
    # takes the training options of main_descr.py and leaves them aside: one command line serves both
    options, experiment = parse(
        "Write the descriptors of pool and validation images under the current model.",
        StageOptions,
        datasets,
        arguments,
        changes={name: {"help": SUPPRESS} for name in ("epochs", "lr", "batch_size")},
    )
    chain = _chain(experiment, options)
    batch, member = options.batch, options.ensemble_index
    with alone(chain.log, chain.files, GEN_DESCR, **chain.log_facts(batch, member)):
        described = gen_descr(chain, batch, member)
    if described:
        print(chain.layout.descriptors("train", chain.method, member))
    else:
        print(f"{chain.method.token} needs no descriptors at batch {batch}")


def main_descr_main(datasets: Datasets, arguments: Sequence[str]) -> None:
    """`main_descr.py`: pick images, retrain, write the next batch."""
    options, experiment = parse(
        "Pick pool images to label, retrain on all labels, and write the next batch's checkpoint.",
        MainDescrOptions,
        datasets,
        arguments,
    )
    changes = {} if options.test_batch_size is None else {"evaluation_batch_size": options.test_batch_size}
    chain = _chain(experiment, options, **changes)
    batch, member = options.batch, options.ensemble_index
    with (
        alone(chain.log, chain.files, MAIN_DESCR, **chain.log_facts(batch, member)) as note,
        progress_bar(chain.training.epochs, "epoch") as on_epoch,
    ):
        accuracies = main_descr(chain, batch, member, on_epoch)
        note.update(accuracies)
    print(chain.model_path(batch + 1, member))
    print_accuracies(accuracies, "epoch")


def print_accuracies(accuracies: Mapping[str, float], unit: str) -> None:
    """Print the accuracies of a checkpoint; `unit` is what was tested: epochs, iterations."""
    by_validation = ""
    if "acc_val" in accuracies:
        by_validation = f", {unit} best on validation {accuracies['acc_val']:.2f}%"
    print(
        f"test accuracy: best {unit} {accuracies['acc']:.2f}%, last {unit} {accuracies['acc_last']:.2f}%"
        f"{by_validation}"
    )


@contextmanager
def alone(log: Path, files: list[Path], stage: str, **facts: int) -> Iterator[dict[str, Any]]:
    """Be the only process that works on a chain or initial model, and note what is done in its log.

    Of several that share the work, the main one holds the lock for all.
    """
    try:
        with hold(log.with_suffix(".lock")) if is_main() else nullcontext():
            if is_main():
                remove_abandoned(files)
            with logged(log, stage, **facts) as note:
                yield note
    except BusyError as error:
        raise UserError(f"{log.stem}: another process works on it; wait until it is through") from error


@contextmanager
def progress_bar(total: int, unit: str) -> Iterator[OnEpoch]:
    """Progress bar that appears with the first epoch, so that an earlier error stands alone."""
    with tqdm(total=total, unit=unit, delay=1e-3, disable=not is_main()) as bar:

        def on_epoch(epoch: int, accuracy: float) -> None:
            bar.set_postfix_str(f"{accuracy:.2f}%", refresh=False)
            bar.update(epoch - bar.n)

        yield on_epoch


def _chain(experiment: Experiment, options: StageOptions, **changes: Any) -> Chain:
    method = find_method(
        options.subtype_method, options.augment_method, options.descriptor_length, experiment
    )
    if options.ensemble_size > 1 and not method.ensembles:
        raise UserError(f"-ens {options.ensemble_size}: {method.token} has no ensembles; leave -ens out")
    chain = iteration_chain(
        experiment,
        options,
        method,
        training=options.override(experiment.training),
        mc_samples=options.sample_steps or experiment.mc_samples,
        gen_batch_size=options.gen_batch_size,
        variant=options.variant(),
        **changes,
    )
    chain.require_fair_tests()
    prepare_iteration(chain, options.batch, options.ensemble_index)
    return chain


def prepare_iteration(chain: Chain, batch: int, member: int = 0) -> None:
    """See that the model to start from is there, and make the pool if it is missing."""
    announce(chain.device)
    # what is missing, or of another seed, is told before anything is written
    chain.load_model(batch, member)
    require_settings(chain.model_path(batch, member), {"seed": chain.seed}, "run it again")
    require_pool(chain.pool_path, chain.model_path(0, member), chain.initial_advice)
    with main_first():
        chain.experiment.source.prepare_pool(chain.layout, chain.seed)


def iteration_chain(
    experiment: Experiment,
    options: IterationOptions,
    method: Method,
    **changes: Any,
) -> Chain:
    """The chain of one run, up to the iteration that the options name."""
    return Chain.by_protocol(
        experiment,
        _layout(experiment, options, bool(options.unsupervised)),
        method,
        choose_device(options.gpu),
        iterations=options.batch + 1,
        budget=options.budget(experiment),
        seed=options.seed,
        **changes,
    )


def _layout(experiment: Experiment, options: UnsupOptions | IterationOptions, pretrained: bool) -> Layout:
    index, size = options.ensemble_index, options.ensemble_size
    if index >= size:
        raise UserError(f"-e {index}: -ens {size} has members 0 to {size - 1}")
    folder, ratio = options.data_folder(experiment.name), options.ratio(experiment)
    return Layout(folder, options.run_folder, ratio, options.noisy_ratio, pretrained, size)
