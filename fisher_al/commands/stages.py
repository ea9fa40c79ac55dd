"""What unsup.py, gen_descr.py and main_descr.py do: one stage of one run, from options to files."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fisher_al.chain import Chain
from fisher_al.commands import options as cli
from fisher_al.commands.options import Experiments, Parser, choose_device, override_schedule
from fisher_al.data.batches import default_evaluation_batch_size
from fisher_al.data.in_memory import prepare_pool
from fisher_al.distributed import is_main, main_first
from fisher_al.errors import UserError
from fisher_al.experiment import Experiment
from fisher_al.files.layout import Layout
from fisher_al.files.locks import BusyError, hold
from fisher_al.files.run_log import GEN_DESCR, MAIN_DESCR, UNSUP, logged
from fisher_al.files.storage import remove_abandoned
from fisher_al.method.registry import Method, find_method
from fisher_al.stages.gen_descr import gen_descr
from fisher_al.stages.main_descr import main_descr
from fisher_al.stages.unsup import unsup
from fisher_al.training.checkpoints import require_settings
from fisher_al.training.fit import OnEpoch


def unsup_main(experiments: Experiments, arguments: Sequence[str]) -> None:
    """`unsup.py`: make both initial models of one run."""
    parser = Parser("Make the initial models of a run: one with random weights, one pretrained on rotations.")
    cli.add_common_options(parser, experiments)
    cli.add_stage_options(parser)
    args = parser.parse_args(arguments)
    experiment = experiments.choose(args)
    schedule = override_schedule(experiment.pretraining, args)
    device = choose_device(args.gpu)
    cli.announce(device)
    with main_first():
        prepare_pool(experiment, _stage_layout(experiment, args, True), args.seed, verify=True)
    for pretrained in (False, True):
        layout = _stage_layout(experiment, args, pretrained)
        path = layout.initial_checkpoint(args.ensemble_index)
        with (
            progress_bar(schedule.epochs, "epoch") as on_epoch,
            alone(layout.initial_log(args.ensemble_index), [path], UNSUP, args) as result,
        ):
            accuracy = unsup(experiment, layout, args.ensemble_index, schedule, args.seed, device, on_epoch)
            result["acc"] = accuracy
        task = "rotations" if pretrained else "classes"
        print(f"{path}: {accuracy:.2f}% of test {task} recognised")


def gen_descr_main(experiments: Experiments, arguments: Sequence[str]) -> None:
    """`gen_descr.py`: describe pool and validation images with the model of one iteration."""
    parser = Parser("Write the descriptors of pool and validation images under the current model.")
    chain, args = _step(parser, experiments, arguments)
    with alone(chain.log, chain.files, GEN_DESCR, args):
        described = gen_descr(chain, args.batch, args.ensemble_index)
    if described:
        print(chain.layout.descriptors("train", chain.method, args.ensemble_index))
    else:
        print(f"{chain.method.token} picks at random at batch {args.batch}: no descriptors needed")


def main_descr_main(experiments: Experiments, arguments: Sequence[str]) -> None:
    """`main_descr.py`: pick images, retrain, write the next batch."""
    parser = Parser(
        "Pick pool images to label, retrain on all labels, and write the next batch's checkpoint."
    )
    parser.add_argument("--test-batch-size", type=cli.count, help="(default: what suits the device)")
    chain, args = _step(parser, experiments, arguments)
    with (
        alone(chain.log, chain.files, MAIN_DESCR, args) as result,
        progress_bar(chain.training.epochs, "epoch") as on_epoch,
    ):
        accuracies = main_descr(chain, args.batch, args.ensemble_index, on_epoch)
        result.update(accuracies)
    size = (args.batch + 1) * chain.budget
    print(chain.layout.best_checkpoint(chain.method, args.batch + 1, size, args.ensemble_index))
    print_accuracies(accuracies, "epoch")


def print_accuracies(accuracies: Mapping[str, float], unit: str) -> None:
    """Print the three accuracies of a checkpoint; `unit` is what was tested: epochs, iterations."""
    print(
        f"test accuracy: best {unit} {accuracies['acc']:.2f}%, last {unit} {accuracies['acc_last']:.2f}%, "
        f"{unit} best on validation {accuracies['acc_val']:.2f}%"
    )


@contextmanager
def alone(log: Path, files: list[Path], stage: str, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Be the only process that works on a chain or initial model, and note what is done in its log.

    Of several that share the work, the main one holds the lock for all.
    """
    facts = {"member": args.ensemble_index, **({} if stage == UNSUP else {"batch": args.batch})}
    try:
        with hold(log.with_suffix(".lock")) if is_main() else nullcontext():
            if is_main():
                remove_abandoned(files)
            with logged([log], stage, **facts) as [result]:
                yield result
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


def _step(
    parser: Parser, experiments: Experiments, arguments: Sequence[str]
) -> tuple[Chain, argparse.Namespace]:
    cli.add_common_options(parser, experiments)
    cli.add_stage_options(parser)
    cli.add_step_options(parser)
    cli.add_sampling_options(parser)
    cli.add_batch_size_option(parser)
    cli.add_start_option(parser)
    args = parser.parse_args(arguments)
    experiment = experiments.choose(args)
    method = find_method(args.subtype_method, args.augment_method, args.descriptor_length, experiment)
    if args.ensemble_size > 1 and not method.kind.ensembles:
        raise UserError(f"-ens {args.ensemble_size}: {method.token} has no ensembles; leave -ens out")
    chain = stage_chain(experiment, args, method)
    cli.announce(chain.device)
    # what is missing, or of another seed, is told before anything is written
    chain.load_model(args.batch, args.ensemble_index)
    require_settings(chain.model_path(args.batch, args.ensemble_index), {"seed": args.seed}, "run it again")
    return chain, args


def stage_chain(experiment: Experiment, args: argparse.Namespace, method: Method) -> Chain:
    """The chain of one run, up to the iteration that the options name."""
    device = choose_device(args.gpu)
    return Chain(
        experiment=experiment,
        layout=_stage_layout(experiment, args, bool(args.unsupervised)),
        method=method,
        training=override_schedule(experiment.training, args),
        iterations=args.batch + 1,
        budget=_budget(args, experiment),
        mc_samples=getattr(args, "sample_steps", None) or experiment.mc_samples,
        gen_batch_size=getattr(args, "gen_batch_size", 1),
        test_batch_size=getattr(args, "test_batch_size", None)
        or default_evaluation_batch_size(device, experiment.image_shape),
        seed=args.seed,
        device=device,
    )


def _budget(args: argparse.Namespace, experiment: Experiment) -> int:
    """Budget per iteration, as -as says or as -ts and -b imply."""
    labeled, batch = args.train_size, args.batch
    budget = args.augment_size or (labeled // batch if labeled and batch else experiment.budget)
    if labeled not in (None, batch * budget):
        raise UserError(
            f"-ts {labeled}: batch {batch} with a budget of {budget} has {batch * budget} labeled images; "
            "correct -ts, -b or -as"
        )
    return budget


def _stage_layout(experiment: Experiment, args: argparse.Namespace, pretrained: bool) -> Layout:
    if args.ensemble_index >= args.ensemble_size:
        raise UserError(
            f"-e {args.ensemble_index}: -ens {args.ensemble_size} has members 0 to {args.ensemble_size - 1}"
        )
    folder = args.save_folder or args.datadir / experiment.name
    ratio = args.imbalance_ratio or max(experiment.imbalance_ratios)
    as_lists = experiment.folder is not None
    return Layout(folder, args.run_folder, ratio, args.noisy_ratio, pretrained, args.ensemble_size, as_lists)
