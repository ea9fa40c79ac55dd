"""The options of VAAL's scripts: a dataset's own ones, and those of its protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import imagenet.experiment
import mnist.experiment
import svhn.experiment
from fisher_al.commands.parsing import (
    PROTOCOL,
    Parser,
    count,
    learning_rate,
    option,
    real_number,
    whole_number,
)
from fisher_al.commands.plan import CurveChoice
from fisher_al.commands.scripts import Datasets
from fisher_al.experiment import Experiment, parse_method
from vaal.protocol import PROTOCOLS, Protocol

PRECISIONS = ("float32", "bf16")

_FOLDERS = (mnist.experiment.DATASETS, svhn.experiment.DATASETS, imagenet.experiment.DATASETS)

_non_negative = real_number("a weight of at least 0", lambda value: 0 <= value < float("inf"))

_steps = whole_number(1, 1000)


def choose_datasets(arguments: Sequence[str]) -> Datasets:
    """All datasets, with the own options of the one that the arguments name as --dataset."""
    owners = {name: datasets for datasets in _FOLDERS for name in datasets.experiments}
    parser = Parser(add_help=False)
    parser.add_argument("--dataset", default=next(iter(owners)), choices=owners)
    chosen, _ = parser.parse_known_args(arguments)
    experiments = {name: datasets.experiments[name] for name, datasets in owners.items()}
    return replace(owners[chosen.dataset], experiments=experiments)


def chosen_curves(experiment: Experiment, starts: Sequence[int]) -> list[CurveChoice]:
    """VAAL's curves, one for each kind of initial model."""
    method = parse_method("vaal", experiment)
    return [CurveChoice(method, pretrained=bool(start)) for start in dict.fromkeys(starts)]


@dataclass(frozen=True)
class ProtocolOptions:
    """training of a round (defaults: the dataset's protocol)"""

    train_iterations: int | None = option(
        "--train-iterations", type=count, help="steps of the task network" + PROTOCOL
    )
    batch_size: int | None = option(
        "--batch-size", type=whole_number(2, 10**5), help="images of a step" + PROTOCOL
    )
    learning_rate: float | None = option("--lr", type=learning_rate, help="of Adam" + PROTOCOL)
    latent: int | None = option(
        "--latent", type=whole_number(1, 10**5), help="dimensions of the latent space" + PROTOCOL
    )
    vae_width: int | None = option(
        "--vae-width", type=whole_number(1, 4096), help="channels of its first convolution" + PROTOCOL
    )
    discriminator_width: int | None = option(
        "--discriminator-width", type=whole_number(1, 10**5), help="units of its layers" + PROTOCOL
    )
    beta: float | None = option("--beta", type=_non_negative, help="weight of the KL divergence" + PROTOCOL)
    adversarial_weight: float | None = option(
        "--lambda", type=_non_negative, help="weight of the adversary" + PROTOCOL
    )
    vae_steps: int | None = option("--vae-steps", type=_steps, help="per step of the task network" + PROTOCOL)
    discriminator_steps: int | None = option(
        "--discriminator-steps", type=_steps, help="per step of it" + PROTOCOL
    )
    precision: str | None = option(
        "--precision", choices=PRECISIONS, help="of the auto-encoder's arithmetic (default: float32)"
    )

    def protocol(self, dataset: str) -> Protocol:
        """The dataset's protocol with what the options say otherwise."""
        given = {own.name: getattr(self, own.name) for own in fields(ProtocolOptions)}
        changes = {name: value for name, value in given.items() if value is not None}
        return replace(PROTOCOLS.get(dataset, Protocol()), **changes)
