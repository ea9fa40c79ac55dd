"""Options of `fisher-al pick` and `fisher-al simulate`: networks, images and ways to pick."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

from fisher_al.commands.options import LoaderOptions
from fisher_al.commands.parsing import option, real_number, switch, whole_number, worker_count
from fisher_al.commands.scripts import choose_device
from fisher_al.labeling.backbone import load_backbone
from fisher_al.labeling.deeper import widths_of
from fisher_al.labeling.round import Reading
from fisher_al.labeling.selection import ON_FEATURES
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
        "--resize",
        type=pixels,
        help="short side of the image before the crop (default: alike; with --crop alone 8/7 of it)",
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
        help="pass over images that are more similar than this to one picked, skipped or trained on; 1: none",
    )
