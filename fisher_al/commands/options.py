"""Command line: option types that refuse bad values, the groups of options that scripts share, exit codes."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import torch

from fisher_al.distributed import process_group
from fisher_al.errors import UserError
from fisher_al.experiment import Experiment, Schedule
from fisher_al.memory import keep_freed_memory

PROTOCOL = " (default: the protocol's)"


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Adds the default to the help of an option, unless that is None: then the help says what happens."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """Argument parser whose errors are one line."""

    def __init__(self, description: str = "", add_help: bool = True):
        super().__init__(
            description=description, formatter_class=_HelpFormatter, allow_abbrev=False, add_help=add_help
        )

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see --help)")


@dataclass(frozen=True)
class Experiments:
    """The protocols that a script offers as --dataset, and the options that are its dataset's own.

    `add_options(parser)` adds those; `adapt(experiment, args)` is the chosen protocol with what they say.
    """

    protocols: Mapping[str, Experiment]
    add_options: Callable[[Parser], None] = lambda parser: None
    adapt: Callable[[Experiment, argparse.Namespace], Experiment] = lambda experiment, args: experiment

    def choose(self, args: argparse.Namespace) -> Experiment:
        """The protocol that the options name. Raises UserError if they do not fit."""
        return self.adapt(self.protocols[args.dataset], args)


def run_script(main: Callable[[list[str]], int | None], arguments: list[str] | None = None) -> NoReturn:
    """Run `main` on `arguments` (default: the command line); UserError: one line on stderr, exit code 2."""
    keep_freed_memory()
    try:
        with process_group():
            code = main(sys.argv[1:] if arguments is None else arguments)
        sys.exit(code)
    except UserError as error:
        print("error:", *str(error).splitlines(), file=sys.stderr)  # an option may hold anything
        sys.exit(2)
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror or error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted: run the same command again to go on", file=sys.stderr)
        sys.exit(130)


def whole_number(least: int, most: float = float("inf")) -> Callable[[str], int]:
    """Option type: an integer of at least `least`, and at most `most` where more cannot be meant."""
    allowed = f"of at least {least}" if most == float("inf") else f"from {least} to {most:,}"

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"'{text}' is not a whole number {allowed}")
        return value

    return parse


def real_number(description: str, allowed: Callable[[float], bool]) -> Callable[[str], float]:
    """Option type: a number for which `allowed` holds, described for the error message."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not allowed(value):
            raise argparse.ArgumentTypeError(f"'{text}' is not {description}")
        return value

    return parse


def run_folder(text: str) -> str:
    """Option type: the name of a folder, not a path that leads elsewhere."""
    if text in ("", ".", "..") or Path(text).name != text:
        raise argparse.ArgumentTypeError(f"'{text}' is not the name of a folder, such as run0")
    return text


imbalance_ratio = real_number("a ratio of at least 1", lambda value: 1 <= value < float("inf"))
noisy_ratio = real_number("a share from 0 to 1", lambda value: 0 <= value <= 1)
percentage = real_number("an accuracy in percent", lambda value: 0 < value <= 100)
learning_rate = real_number("a positive learning rate", lambda value: 0 < value < float("inf"))
gpu_share = real_number("a number of GPUs, such as 1 or 0.5", lambda value: 0 <= value < float("inf"))
count = whole_number(1, 10**12)
index = whole_number(0)
members = whole_number(1, 1000)
run_number = whole_number(0, 10_000)


def add_common_options(parser: Parser, experiments: Experiments) -> None:
    """Which dataset, where it lies, and where and from which seed to compute."""
    default_folder = Path(sys.argv[0]).resolve().parents[1] / "local_data"
    names = list(experiments.protocols)
    parser.add_argument("--dataset", default=names[0], choices=names, help="which protocol to follow")
    parser.add_argument(
        "--datadir", type=Path, default=default_folder, help="folder of the datasets' folders"
    )
    parser.add_argument("--gpu", type=index, default=0, help="index of the GPU; without one the CPU is used")
    parser.add_argument("--seed", type=index, default=0, help="base seed, from which all others derive")
    parser.add_argument("-nr", "--noisy-ratio", type=noisy_ratio, default=0.0, help="share of random labels")
    experiments.add_options(parser)


def add_sampling_options(parser: Parser) -> None:
    """How much to label and to sample."""
    parser.add_argument("-smp", "--sample-steps", type=count, help="dropout passes or views K" + PROTOCOL)
    add_budget_option(parser)


def add_budget_option(parser: Parser) -> None:
    """How much to label."""
    parser.add_argument("-as", "--augment-size", type=count, help="budget A of an iteration" + PROTOCOL)


def add_batch_size_option(parser: Parser) -> None:
    """How much to describe at once."""
    parser.add_argument(
        "-gbs", "--gen-batch-size", type=count, default=1024, help="images x passes described at once"
    )


def add_campaign_options(parser: Parser) -> None:
    """Which runs, pools and methods, for scripts that handle many chains."""
    add_range_options(parser)
    add_method_options(parser)


def add_range_options(parser: Parser) -> None:
    """Which runs and pools, and how many iterations of them."""
    parser.add_argument("--run-start", type=run_number, default=0, help="first run")
    parser.add_argument("--run-stop", type=run_number, help="run to stop before" + PROTOCOL)
    parser.add_argument(
        "-ir", "--imbalance-ratio", type=imbalance_ratio, nargs="+", help="pools, by ratio" + PROTOCOL
    )
    parser.add_argument("--iterations", type=count, help="AL iterations B" + PROTOCOL)


def add_plan_options(parser: Parser) -> None:
    """How to go about many chains."""
    parser.add_argument("--jobs", type=count, default=1, help="chains to run side by side")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    parser.add_argument("--status", action="store_true", help="print how far every chain is and stop")
    parser.add_argument(
        "--repair", action="store_true", help="first check every file, and delete what is broken to remake it"
    )


def add_method_options(parser: Parser) -> None:
    """Which methods, and ensembles of how many networks."""
    parser.add_argument(
        "--methods",
        nargs="+",
        metavar="METHOD",
        help="e.g. random varMC gradFmap/80, with a descriptor length where one belongs; the README lists "
        "all (default: the paper's)",
    )
    parser.add_argument(
        "-ens",
        "--ensemble-size",
        type=members,
        nargs="+",
        default=[1],
        help="networks for varMC, entMC, baldMC; 1 and a larger size are two curves",
    )
    parser.add_argument(
        "--figure",
        help="the curves of one of the paper's figures, e.g. fig2, instead of --methods, -ens and -unsup",
    )


def add_start_option(parser: Parser, several: bool = False) -> None:
    """Which initial model to start from."""
    parser.add_argument(
        "-unsup",
        "--unsupervised",
        type=int,
        choices=(0, 1),
        nargs="+" if several else None,
        default=[1] if several else 1,
        help="1: from the pretrained model, 0: from random weights",
    )


def add_figure_options(parser: Parser, experiments: Experiments) -> None:
    """Which results to show and where to put the figures, for scripts that draw."""
    add_common_options(parser, experiments)
    add_campaign_options(parser)
    add_sampling_options(parser)
    add_start_option(parser, several=True)
    parser.add_argument("--out", type=Path, help="folder of the figures (default: datadir/dataset/figures)")


def add_stage_options(parser: Parser) -> None:
    """Which run a single stage works on, and overrides of the protocol's schedule."""
    add_run_options(parser)
    parser.add_argument("-ens", "--ensemble-size", type=members, default=1, help="networks E")
    parser.add_argument("-e", "--ensemble-index", type=index, default=0, help="member, from 0")
    parser.add_argument("--epochs", type=index, help="epochs of training" + PROTOCOL)
    parser.add_argument("--lr", type=learning_rate, help="learning rate" + PROTOCOL)
    parser.add_argument("--batch-size", type=count, help="images per training step" + PROTOCOL)


def add_run_options(parser: Parser) -> None:
    """Which run to work on, and where it lies."""
    parser.add_argument(
        "-ir", "--imbalance-ratio", type=imbalance_ratio, help="(default: the protocol's largest)"
    )
    parser.add_argument(
        "-r", "--run-folder", type=run_folder, default="run0", help="name of the run's folder"
    )
    parser.add_argument(
        "--save-folder", type=Path, help="folder of raw, processed and run folders (default: datadir/dataset)"
    )


def add_step_options(parser: Parser) -> None:
    """Which iteration of which chain, for gen_descr.py and main_descr.py."""
    parser.add_argument("-sub", "--subtype-method", default="gradFmap", help="how the label S is chosen")
    parser.add_argument("-aug", "--augment-method", help="acquisition (default: the subtype's own)")
    add_batch_options(parser)
    parser.add_argument(
        "-dl", "--descriptor-length", type=index, help="channels L of a descriptor" + PROTOCOL
    )


def add_batch_options(parser: Parser) -> None:
    """Which iteration of the chain."""
    parser.add_argument("-b", "--batch", type=index, default=0, help="iteration to start from, 0 .. B-1")
    parser.add_argument("-ts", "--train-size", type=index, help="labels so far (default: b x budget)")


def choose_device(gpu: int) -> str:
    """Name of the GPU's device, or of the CPU where there is no GPU; torchrun gives every process its own."""
    if not torch.cuda.is_available():
        return "cpu"
    gpu += int(os.environ.get("LOCAL_RANK", 0))
    if gpu >= torch.cuda.device_count():
        raise UserError(f"--gpu {gpu}: this machine's GPUs are 0 to {torch.cuda.device_count() - 1}")
    torch.cuda.set_device(gpu)  # what processes that share the work exchange passes through it
    torch.backends.cudnn.deterministic = True  # the same picks when a run is repeated
    return f"cuda:{gpu}"


def announce(device: str) -> None:
    """Say once, before the work starts, if it is done without a GPU."""
    if device == "cpu":
        print("no GPU found: running on the CPU")


def override_schedule(schedule: Schedule, args: argparse.Namespace) -> Schedule:
    """The protocol's schedule with what the options override."""
    given = {"epochs": "epochs", "learning_rate": "lr", "batch_size": "batch_size"}
    overrides = {name: getattr(args, option, None) for name, option in given.items()}
    return replace(schedule, **{name: value for name, value in overrides.items() if value is not None})
