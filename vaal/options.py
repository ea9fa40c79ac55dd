"""The options of VAAL's scripts: a dataset's own ones, and those of its protocol."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields, replace

import imagenet.experiment
import mnist.experiment
import svhn.experiment
from fisher_al.commands import options as cli
from fisher_al.commands.options import PROTOCOL, Experiments, Parser
from vaal.protocol import PROTOCOLS, Protocol

# What the options of a campaign of many methods would say.
ONLY_VAAL = {"methods": ["vaal"], "ensemble_size": [1], "figure": None, "sample_steps": None}

PRECISIONS = ("float32", "bf16")

_EXPERIMENTS = (mnist.experiment.EXPERIMENTS, svhn.experiment.EXPERIMENTS, imagenet.experiment.EXPERIMENTS)

_non_negative = cli.real_number("a weight of at least 0", lambda value: 0 <= value < float("inf"))


def choose_experiments(arguments: Sequence[str]) -> Experiments:
    """All datasets, with the own options of the one that the arguments name as --dataset."""
    owners = {name: experiments for experiments in _EXPERIMENTS for name in experiments.protocols}
    parser = Parser(add_help=False)
    parser.add_argument("--dataset", default=next(iter(owners)), choices=owners)
    chosen, _ = parser.parse_known_args(arguments)
    protocols = {name: experiments.protocols[name] for name, experiments in owners.items()}
    return replace(owners[chosen.dataset], protocols=protocols)


def add_protocol_options(parser: Parser) -> None:
    """Overrides of the protocol, one option per choice."""
    group = parser.add_argument_group("training of a round (defaults: the dataset's protocol)")
    group.add_argument("--train-iterations", type=cli.count, help="steps of the task network" + PROTOCOL)
    group.add_argument("--batch-size", type=cli.whole_number(2), help="images of a step" + PROTOCOL)
    group.add_argument("--lr", type=cli.learning_rate, dest="learning_rate", help="of Adam" + PROTOCOL)
    group.add_argument("--latent", type=cli.count, help="dimensions of the latent space" + PROTOCOL)
    group.add_argument("--vae-width", type=cli.count, help="channels of its first convolution" + PROTOCOL)
    group.add_argument("--discriminator-width", type=cli.count, help="units of its layers" + PROTOCOL)
    group.add_argument("--beta", type=_non_negative, help="weight of the KL divergence" + PROTOCOL)
    group.add_argument(
        "--lambda", type=_non_negative, dest="adversarial_weight", help="weight of the adversary" + PROTOCOL
    )
    group.add_argument("--vae-steps", type=cli.count, help="per step of the task network" + PROTOCOL)
    group.add_argument("--discriminator-steps", type=cli.count, help="per step of it" + PROTOCOL)
    group.add_argument(
        "--precision", choices=PRECISIONS, help="of the auto-encoder's arithmetic (default: float32)"
    )


def choose_protocol(args: argparse.Namespace) -> Protocol:
    """The dataset's protocol with what the options override."""
    given = {field.name: getattr(args, field.name, None) for field in fields(Protocol)}
    return replace(
        PROTOCOLS[args.dataset], **{name: value for name, value in given.items() if value is not None}
    )
