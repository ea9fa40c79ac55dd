"""One dataset's protocol as data: images, network, methods, sizes and schedules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from fisher_al.data.source import ImageSource
from fisher_al.errors import UserError
from fisher_al.method.base import Method
from fisher_al.method.network import TappedNetwork
from fisher_al.method.registry import METHODS
from fisher_al.training.schedule import Schedule
from fisher_al.training.steps import autocast_type

# Which epoch of an iteration the next one starts from.
KEPT_EPOCHS = ("best", "validation", "last")


@dataclass(frozen=True)
class Variant:
    """How chains depart from the paper's protocol; by default not at all.

    validation_images : how many of each class the methods have; None: all. train_on_validation : whether the
    networks learn their labels, too. keep : which epoch the next iteration starts from: the one best on test
    (as published), best on validation, or the last.
    """

    validation_images: int | None = None
    train_on_validation: bool = False
    keep: str = KEPT_EPOCHS[0]

    @classmethod
    def recorded_in(cls, settings: Mapping[str, Any]) -> Variant:
        """The variant that recorded settings tell of; what cannot be one counts as not said."""
        per_class, trained, keep = (settings.get(own.name, own.default) for own in fields(cls))
        return cls(
            per_class if type(per_class) is int and 0 < per_class < 10**12 else None,
            trained is True,
            keep if keep in KEPT_EPOCHS else KEPT_EPOCHS[0],
        )

    @property
    def folder(self) -> str:
        """Name of the folder of its chains, within the run's; empty if there are no departures."""
        parts = [f"val_{self.validation_images}"] if self.validation_images else []
        parts += ["trained_on_val"] if self.train_on_validation else []
        parts += [f"keep_{self.keep}"] if self.keep != KEPT_EPOCHS[0] else []
        return "_".join(parts)

    @property
    def settings(self) -> dict[str, Any]:
        """What checkpoints record: the departures alone."""
        return {own.name: value for own in fields(self) if (value := getattr(self, own.name)) != own.default}


@dataclass(frozen=True)
class PaperFigure:
    """A figure of the paper, or one beyond it: a pool, the curves on it, and what its annotation claims.

    curves : as results tables name them, for instance `gradFmap/80`, `varMC E=4`, `gradFmap/80 random init`.
    claim : a curve, another one, and the accuracy (percent) at which the first saves labels over the second.
    keep : the epoch that the next iteration starts from. metrics : which accuracies are shown, side by side.
    """

    imbalance_ratio: float
    curves: tuple[str, ...]
    claim: tuple[str, str, float]
    keep: str = KEPT_EPOCHS[0]
    metrics: tuple[str, ...] = ("best",)


@dataclass(frozen=True)
class Experiment:
    """A dataset with its network and protocol (arXiv:2003.00393, section 4 and appendix).

    `network(num_classes)` builds the model; `fisher_al.Tapped` makes one of any module. `lengths` has, for
    every length L of a descriptor, the names of the scales that it concatenates.
    """

    source: ImageSource
    network: Callable[[int], TappedNetwork]
    lengths: Mapping[int, tuple[str, ...]]
    default_length: int
    training: Schedule
    pretraining: Schedule
    iterations: int
    budget: int
    runs: int
    imbalance_ratios: tuple[float, ...]
    mc_samples: int
    methods: tuple[str, ...]
    figures: Mapping[str, PaperFigure] = field(default_factory=dict)
    autocast: bool = False  # train in half precision where there is a GPU
    replays_steps: bool = False  # train by a CUDA graph on a GPU: where steps are too small to fill it
    one_core_per_chain: bool = False  # on a CPU; where training steps are too small to fill several

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def num_classes(self) -> int:
        return self.source.num_classes

    def step_settings(self, device: str) -> dict[str, Any]:
        """How `fit` takes its steps on the device."""
        return {
            "autocast": autocast_type(device) if self.autocast else None,
            "replay": self.replays_steps,
        }


def parse_method(token: str, experiment: Experiment) -> Method:
    """Turn a token of `--methods`, `name` or `name/L`, into a method; L defaults to the experiment's.

    Raises: UserError for an unknown method or an L that the network has not.
    """
    name, slash, text = token.partition("/")
    if name not in METHODS:
        raise UserError(f"--methods {token}: unknown method '{name}', choose from {', '.join(METHODS)}")
    method = METHODS[name]
    if slash and not method.has_scales:
        raise UserError(f"--methods {token}: {name} has no descriptors, write it without '/{text}'")
    if slash and not (text.isdecimal() and len(text) < 10):
        raise UserError(
            f"--methods {token[:80]}: '{text[:40]}' is not a descriptor length; write e.g. {name}/20"
        )
    length = int(text) if slash else experiment.default_length
    return _with_length(method, length, experiment, f"--methods {token}")


def find_method(sub: str, aug: str | None, length: int | None, experiment: Experiment) -> Method:
    """Find the method of the stage options `-sub`, `-aug` (None: the subtype's own) and `-dl`.

    Raises: UserError if there is none, or more than one.
    """
    offered = [method for method in METHODS.values() if not method.scripts or method.aug == aug]
    matches = [method for method in offered if method.sub == sub and aug in (None, method.aug)]
    if not matches:
        pairs = ", ".join(f"-sub {method.sub} -aug {method.aug}" for method in offered)
        raise UserError(f"unknown method '-sub {sub}{f' -aug {aug}' if aug else ''}': choose from {pairs}")
    if len(matches) > 1:
        choices = " or ".join(method.aug for method in matches)
        raise UserError(f"-sub {sub} goes with more than one -aug: add -aug {choices}")
    [method] = matches
    if method.scripts:
        raise UserError(f"-aug {aug}: not a method of this script; use main.py in {method.scripts}/")
    length = experiment.default_length if length is None else length
    return _with_length(method, length, experiment, f"-dl {length}")


def _with_length(method: Method, length: int, experiment: Experiment, option: str) -> Method:
    if not method.has_scales:
        return method
    if length not in experiment.lengths:
        lengths = ", ".join(map(str, sorted(experiment.lengths)))
        raise UserError(
            f"{option}: {experiment.name}'s network has no descriptors of length {length}; choose {lengths}"
        )
    return replace(method, length=length)
