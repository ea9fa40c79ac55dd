"""What `fisher-al pick` does: a folder of images and a few labels in, what to label next out."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fisher_al.commands.options import ComputeOptions, LoaderOptions
from fisher_al.commands.parsing import Parser, count, option, real_number, switch, whole_number, worker_count
from fisher_al.commands.scripts import announce, choose_device
from fisher_al.errors import UserError
from fisher_al.labeling.backbone import load_backbone
from fisher_al.labeling.deeper import widths_of
from fisher_al.labeling.outputs import ANSWERS, PAGE
from fisher_al.labeling.report import summary
from fisher_al.labeling.round import Reading, Sources, run_round
from fisher_al.labeling.selection import ON_FEATURES, Strategy
from fisher_al.method.fisher_kernel import KernelMethod
from fisher_al.method.registry import METHODS
from fisher_al.method.tapped import POOLED

# What gained most where they were chosen (docs/labeling.md): if the head learns from validation images, and
# if it does not.
DEFAULT_METHOD, DEFAULT_WHEN_HELD = "balanced+margin", "gradFmap"
METHOD_HELP = f"{', '.join(ON_FEATURES)}; or several that share the budget, as {DEFAULT_METHOD}"


def methods(text: str) -> str:
    """Option type: a method on features, or several joined by +."""
    for name in text.split("+"):
        if name not in ON_FEATURES:
            raise argparse.ArgumentTypeError(f"'{name}' is none of {', '.join(ON_FEATURES)}")
    return text


pixels = whole_number(16, 4096)
similarity = real_number("a cosine similarity above 0, at most 1", lambda value: 0 < value <= 1)


@dataclass(frozen=True)
class NetworkOptions(LoaderOptions):
    """network and images"""

    backbone: str = option(
        "--backbone",
        default="resnet18",
        help="a classification network of torchvision by its name, or timm:NAME",
    )
    weights: Path | None = option(
        "--weights",
        type=Path,
        help="file with its state dict (default: the weights it comes with)",
    )
    crop: int | None = option(
        "--crop", type=pixels, help="side of the network's inputs (default: the pretrained weights')"
    )
    resize: int | None = option(
        "--resize", type=pixels, help="short side of the image before the crop (default: alike)"
    )
    nproc: int = option(
        "--nproc", type=worker_count, default=1, help="processes that share the work, one GPU each"
    )
    scales: tuple[str, ...] = option(
        "--scales",
        nargs="+",
        default=(POOLED,),
        metavar="LAYER",
        help="layers to compare, such as layer3 pooled; for those below pooled, every image goes through the "
        "network again in every round",
    )
    cache: Path | None = option(
        "--cache", type=Path, help="folder that keeps the features (default: features/ beside --out)"
    )

    def reading(self, out: Path, gpu: int) -> Reading:
        """How images become features. Raises: UserError for a network that cannot be had."""
        backbone = load_backbone(self.backbone, self.weights, self.crop, self.resize)
        return Reading(
            backbone=backbone,
            loader=self.loader,
            workers=self.workers or os.cpu_count() or 1,
            device=choose_device(gpu),
            processes=self.nproc,
            cache=self.cache or out.absolute().parent / "features",
            widths=widths_of(backbone, self.scales),
        )


@dataclass(frozen=True)
class TargetOptions:
    """picks"""

    hold_validation: bool = switch(
        "--hold-validation", "match validation images, and do not train on them: the paper's rule"
    )
    near_duplicate: float = option(
        "--near-duplicate",
        type=similarity,
        default=0.98,
        help="pass over images that are more similar than this to one picked or labeled; 1: none",
    )


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
