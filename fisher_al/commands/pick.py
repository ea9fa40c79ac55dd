"""What `fisher-al pick` does: a folder of images and a few labels in, what to label next out."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fisher_al.commands.labeling_options import (
    DEFAULT_METHOD,
    DEFAULT_WHEN_HELD,
    METHOD_HELP,
    NetworkOptions,
    TargetOptions,
    methods,
)
from fisher_al.commands.options import ComputeOptions
from fisher_al.commands.parsing import Parser, count, option
from fisher_al.commands.scripts import announce
from fisher_al.errors import UserError
from fisher_al.labeling.outputs import ANSWERS, PAGE
from fisher_al.labeling.report import summary
from fisher_al.labeling.round import Sources, run_round
from fisher_al.labeling.selection import ON_FEATURES, Strategy
from fisher_al.method.fisher_kernel import KernelMethod
from fisher_al.method.registry import METHODS
from fisher_al.method.tapped import POOLED


@dataclass(frozen=True)
class PickOptions(NetworkOptions, ComputeOptions, TargetOptions):
    """what to pick from, and how many"""

    pool: Path = option("pool", type=Path, metavar="POOL", help="folder of images, or a file that lists them")
    validation: Path = option(
        "--validation",
        type=Path,
        required=True,
        help="labeled images of all classes: CSV (filepath,label), folder of class folders, Label Studio",
    )
    labels: tuple[Path, ...] = option(
        "--labels", type=Path, nargs="+", default=(), help="the same for images of the pool, as far as known"
    )
    budget: int = option("--budget", type=count, required=True, help="how many images to pick")
    out: Path = option("--out", type=Path, required=True, help="folder for the picks and the labeling page")
    method: str | None = option(
        "--method",
        type=methods,
        metavar="METHOD",
        help=f"{METHOD_HELP} (default: {DEFAULT_METHOD}; with --hold-validation {DEFAULT_WHEN_HELD})",
    )


def pick_main(arguments: Sequence[str]) -> None:
    """`fisher-al pick`: what to label next."""
    parser = Parser("Pick the images to label next.", prog="fisher-al pick")
    parser.add_options(PickOptions)
    options = parser.read(PickOptions, parser.parse_args(arguments))
    reading = options.reading(options.out, options.gpu)
    announce(reading.device)
    method = options.method or (DEFAULT_WHEN_HELD if options.hold_validation else DEFAULT_METHOD)
    strategy = Strategy(method, options.budget, options.hold_validation, options.near_duplicate, options.seed)
    _require_layers_compared(method, options.scales)
    sources = Sources(options.pool, options.validation, options.labels)
    numbers = run_round(sources, reading, strategy, options.out)
    print(summary(numbers))
    if not numbers["images"]["picked"]:
        return
    page = options.out / PAGE
    print(f"\nlabel them in a browser: {page}, or: fisher-al label {shlex.quote(str(options.out))}")
    pool, *answers = (
        shlex.quote(str(path)) for path in (options.pool, *options.labels, options.out / ANSWERS)
    )
    print(f"then: fisher-al pick {pool} ... --labels {' '.join(answers)} --out NEXT")


def _require_layers_compared(method: str, scales: Sequence[str]) -> None:
    """Raise UserError if layers are named, and no method compares them."""
    comparing = [name for name in ON_FEATURES if isinstance(METHODS[name], KernelMethod)]
    if set(scales) != {POOLED} and not set(method.split("+")) & set(comparing):
        raise UserError(f"--scales: {method} compares no layers; choose --method {', '.join(comparing)}")
