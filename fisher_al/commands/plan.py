"""Which chains and initial models the options of run.py and run_plot.py ask for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from fisher_al.chain import Chain
from fisher_al.commands.options import CampaignOptions, MethodsOptions, PoolsOptions
from fisher_al.errors import UserError
from fisher_al.experiment import Experiment, PaperFigure, parse_method
from fisher_al.files.layout import Layout
from fisher_al.method.base import Method
from fisher_al.stages.unsup import InitialModel
from fisher_al.training.schedule import Schedule

RANDOM_INIT = " random init"


@dataclass(frozen=True)
class CurveChoice:
    """What tells the curves of one figure apart."""

    method: Method
    ensemble_size: int = 1
    pretrained: bool = True


def parse_curve(text: str, experiment: Experiment) -> CurveChoice:
    """The curve that results tables call `text`, such as `varMC E=4` or `gradFmap/80 random init`."""
    token, _, ensemble = text.removesuffix(RANDOM_INIT).partition(" E=")
    pretrained = not text.endswith(RANDOM_INIT)
    return CurveChoice(parse_method(token, experiment), int(ensemble or 1), pretrained)


def chosen_figure(experiment: Experiment, options: MethodsOptions) -> PaperFigure | None:
    """The figure that --figure names, if it is given.

    Raises: UserError if the dataset has none of that name.
    """
    if options.figure is None:
        return None
    if options.figure not in experiment.figures:
        names = ", ".join(experiment.figures) or "none"
        raise UserError(
            f"--figure {options.figure}: {experiment.name} has {names}; or name --methods yourself"
        )
    return experiment.figures[options.figure]


def chosen_curves(experiment: Experiment, options: CampaignOptions) -> list[CurveChoice]:
    """The curves of --figure, or those that --methods, -ens and -unsup make together."""
    figure = chosen_figure(experiment, options)
    if figure is not None and not options.methods:
        if options.ensemble_size != (1,) or options.unsupervised != (1,):
            raise UserError(
                f"--figure {options.figure}: says itself which ensembles and initial models; "
                "leave -ens and -unsup out, or name --methods"
            )
        return [parse_curve(text, experiment) for text in figure.curves]
    tokens = options.methods or experiment.methods
    methods = dict.fromkeys(parse_method(token, experiment) for token in tokens)
    if len(set(options.ensemble_size) - {1}) > 1:
        sizes = " ".join(map(str, options.ensemble_size))
        raise UserError(
            f"-ens {sizes}: ensembles of several sizes share the files of their networks; "
            "give one size beside 1, and each another --datadir"
        )
    return [
        CurveChoice(method, ensemble_size, bool(start))
        for start in dict.fromkeys(options.unsupervised)
        for method in methods
        for ensemble_size in (dict.fromkeys(options.ensemble_size) if method.ensembles else [1])
    ]


def chosen_ratios(experiment: Experiment, options: PoolsOptions) -> list[float]:
    """Imbalance ratios, as -ir, --figure or the protocol say."""
    figure = chosen_figure(experiment, options) if isinstance(options, MethodsOptions) else None
    default = experiment.imbalance_ratios if figure is None else (figure.imbalance_ratio,)
    return list(dict.fromkeys(options.imbalance_ratio or default))


def _runs(experiment: Experiment, options: PoolsOptions) -> list[str]:
    stop = experiment.runs if options.run_stop is None else options.run_stop
    if stop <= options.run_start:
        raise UserError(
            f"--run-start {options.run_start} --run-stop {stop}: no run in that range; raise --run-stop"
        )
    return [f"run{number}" for number in range(options.run_start, stop)]


def _layouts(experiment: Experiment, options: PoolsOptions) -> list[Layout]:
    """One for each run on each pool."""
    folder = options.data_folder(experiment.name)
    return [
        Layout(folder, run, ratio, options.noisy_ratio)
        for ratio in chosen_ratios(experiment, options)
        for run in _runs(experiment, options)
    ]


def make_initial_models(
    experiment: Experiment, options: CampaignOptions, schedule: Schedule, seed: int, device: str
) -> list[InitialModel]:
    """Initial models of ensembles, and in any case the single ones that most methods start from."""
    sizes = [curve.ensemble_size for curve in chosen_curves(experiment, options)]
    return [
        InitialModel(
            experiment,
            replace(layout, pretrained=pretrained, ensemble_size=ensemble_size),
            member,
            schedule,
            seed,
            device,
        )
        for layout in _layouts(experiment, options)
        for pretrained in (False, True)
        for ensemble_size in dict.fromkeys([1, *sorted([*sizes, *options.ensemble_size])])
        for member in range(ensemble_size)
    ]


def make_chains(
    experiment: Experiment,
    options: PoolsOptions,
    curves: Sequence[CurveChoice],
    device: str = "cpu",
    **changes: Any,
) -> list[Chain]:
    """The chains of these curves in the runs and on the pools that the options ask for.

    changes : of single fields of the chains, beyond what the options say.
    """
    changes |= {"iterations": options.iterations or experiment.iterations}
    changes |= {"budget": options.augment_size or experiment.budget}
    return [
        Chain.by_protocol(
            experiment,
            replace(layout, pretrained=curve.pretrained, ensemble_size=curve.ensemble_size),
            curve.method,
            device,
            **changes,
        )
        for layout in _layouts(experiment, options)
        for curve in curves
    ]


def campaign_chains(
    experiment: Experiment, options: CampaignOptions, device: str = "cpu", **changes: Any
) -> list[Chain]:
    """The chains of all curves that the options ask for."""
    figure = chosen_figure(experiment, options)
    changes |= {"variant": options.variant(figure.keep) if figure else options.variant()}
    changes |= {"mc_samples": options.sample_steps or experiment.mc_samples}
    return make_chains(experiment, options, chosen_curves(experiment, options), device, **changes)
