"""Which chains and initial models the options of run.py and run_plot.py ask for."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fisher_al.chain import Chain
from fisher_al.commands.options import override_schedule
from fisher_al.data.batches import default_evaluation_batch_size
from fisher_al.distributed import process_count
from fisher_al.errors import UserError
from fisher_al.experiment import Experiment, PaperFigure
from fisher_al.files.layout import Layout
from fisher_al.method.registry import Method, parse_method
from fisher_al.running.tasks import ChainTask, InitialModel

# The paper's number of runs: together they keep a GPU a little busier than one.
REPLICAS_ON_GPU = 10

RANDOM_INIT = " random init"


@dataclass(frozen=True)
class CurveKind:
    """What tells the curves of one figure apart."""

    method: Method
    ensemble_size: int
    pretrained: bool


def parse_curve(text: str, experiment: Experiment) -> CurveKind:
    """The curve that results tables call `text`, such as `varMC E=4` or `gradFmap/80 random init`."""
    token, _, ensemble = text.removesuffix(RANDOM_INIT).partition(" E=")
    pretrained = not text.endswith(RANDOM_INIT)
    return CurveKind(parse_method(token, experiment), int(ensemble or 1), pretrained)


def chosen_figure(experiment: Experiment, args: argparse.Namespace) -> PaperFigure | None:
    """The figure that --figure names. Raises UserError if the dataset has none of that name."""
    if args.figure is None:
        return None
    if args.figure not in experiment.figures:
        names = ", ".join(experiment.figures) or "none"
        raise UserError(f"--figure {args.figure}: {experiment.name} has {names}; or name --methods yourself")
    return experiment.figures[args.figure]


def chosen_curves(experiment: Experiment, args: argparse.Namespace) -> list[CurveKind]:
    """The curves of --figure, or those that --methods, -ens and -unsup make together."""
    figure = chosen_figure(experiment, args)
    if figure is not None and not args.methods:
        return [parse_curve(text, experiment) for text in figure.curves]
    starts = args.unsupervised if isinstance(args.unsupervised, list) else [args.unsupervised]
    methods = dict.fromkeys(parse_method(token, experiment) for token in args.methods or experiment.methods)
    if len(set(args.ensemble_size) - {1}) > 1:
        sizes = " ".join(map(str, args.ensemble_size))
        raise UserError(
            f"-ens {sizes}: ensembles of several sizes share the files of their networks; "
            "give one size beside 1, and each another --datadir"
        )
    return [
        CurveKind(method, ensemble_size, bool(start))
        for start in dict.fromkeys(starts)
        for method in methods
        for ensemble_size in (dict.fromkeys(args.ensemble_size) if method.kind.ensembles else [1])
    ]


def data_folder(experiment: Experiment, args: argparse.Namespace) -> Path:
    """Folder of the dataset's raw and processed files and runs."""
    return args.datadir / experiment.name


def _layout(
    experiment: Experiment,
    args: argparse.Namespace,
    run: str,
    ratio: float,
    pretrained: bool,
    ensemble_size: int,
) -> Layout:
    folder, as_lists = data_folder(experiment, args), experiment.folder is not None
    return Layout(folder, run, ratio, args.noisy_ratio, pretrained, ensemble_size, as_lists)


def _runs(experiment: Experiment, args: argparse.Namespace) -> list[str]:
    stop = experiment.runs if args.run_stop is None else args.run_stop
    if stop <= args.run_start:
        raise UserError(
            f"--run-start {args.run_start} --run-stop {stop}: no run in that range; raise --run-stop"
        )
    return [f"run{number}" for number in range(args.run_start, stop)]


def chosen_ratios(experiment: Experiment, args: argparse.Namespace) -> list[float]:
    """Imbalance ratios, as -ir, --figure or the protocol say."""
    figure = chosen_figure(experiment, args)
    default = experiment.imbalance_ratios if figure is None else [figure.imbalance_ratio]
    return list(dict.fromkeys(args.imbalance_ratio or default))


def make_initial_models(experiment: Experiment, args: argparse.Namespace, device: str) -> list[InitialModel]:
    """Initial models of ensembles, and in any case the single ones that most methods start from."""
    schedule = override_schedule(experiment.pretraining, args)
    sizes = [curve.ensemble_size for curve in chosen_curves(experiment, args)] + args.ensemble_size
    return [
        InitialModel(
            experiment,
            _layout(experiment, args, run, ratio, pretrained, ensemble_size),
            member,
            schedule,
            args.seed,
            device,
        )
        for ratio in chosen_ratios(experiment, args)
        for run in _runs(experiment, args)
        for pretrained in (False, True)
        for ensemble_size in dict.fromkeys([1, *sorted(sizes)])
        for member in range(ensemble_size)
    ]


def make_chains(experiment: Experiment, args: argparse.Namespace, device: str) -> list[Chain]:
    """The chains that the options ask for."""
    return [
        Chain(
            experiment=experiment,
            layout=_layout(experiment, args, run, ratio, curve.pretrained, curve.ensemble_size),
            method=curve.method,
            training=override_schedule(experiment.training, args),
            iterations=args.iterations or experiment.iterations,
            budget=args.augment_size or experiment.budget,
            mc_samples=args.sample_steps or experiment.mc_samples,
            gen_batch_size=getattr(args, "gen_batch_size", 1),  # run_plot.py describes nothing
            test_batch_size=default_evaluation_batch_size(device, experiment.image_shape),
            seed=args.seed,
            device=device,
        )
        for ratio in chosen_ratios(experiment, args)
        for run in _runs(experiment, args)
        for curve in chosen_curves(experiment, args)
    ]


def plan_chains(chains: Sequence[Chain], replicas: int | None) -> list[ChainTask]:
    """The chains as tasks: one by one, or the runs of a method together where replicas train side by side.

    Raises UserError if `replicas` were asked for of a network that cannot.
    """
    experiment = chains[0].experiment
    can_stack = not list(experiment.network(experiment.num_classes).buffers())
    if replicas is None:
        replicas = REPLICAS_ON_GPU if can_stack and chains[0].device != "cpu" and process_count() == 1 else 1
    if replicas > 1 and not can_stack:
        raise UserError(
            f"--replicas {replicas}: the network of {experiment.name} has batch-norm statistics and cannot "
            "train side by side; leave --replicas out, or use --jobs"
        )
    alike: dict[tuple[object, ...], list[Chain]] = {}
    for chain in chains:
        layout = chain.layout
        key = chain.method.token, layout.imbalance_ratio, layout.pretrained, layout.ensemble_size
        alike.setdefault(key if replicas > 1 else (*key, layout.run), []).append(chain)
    return [
        ChainTask(tuple(runs[start : start + replicas]), replicas)
        for runs in alike.values()
        for start in range(0, len(runs), replicas)
    ]
