"""How many validation images does a method need, and from how many on is it better to train on them?

    python3 benchmarks/validation_sizes.py --initial     # from the root; options as of mnist/run.py
    python3 benchmarks/validation_sizes.py               # a run takes some minutes on two cores

Methods match some validation images of each class, and never train on them. `train-on-validation` trains on
nothing else. All start from the same initial models, with the last epoch kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fisher_al.commands.plan import campaign_chains
from fisher_al.commands.run import RunScriptOptions, run_main
from fisher_al.commands.scripts import parse, run_script
from fisher_al.files.run_log import versions
from fisher_al.files.storage import save_json
from fisher_al.method.registry import METHODS
from fisher_al.results.curve_files import command_line
from fisher_al.results.curves import collect_curves
from fisher_al.results.plotting import Line, plot_panels
from mnist.experiment import DATASETS

TOKENS = ("gradFmap/80", "gradShift/80", "similar", "train-on-validation")
# Images per class; None: all, which are 1,000.
SIZES = (10, 50, 125, None)
SHOWN = (1, 3)  # iterations b
PLAN = ("-ir", "100", "--iterations", "3", "--keep", "last", "--methods", *TOKENS)
ROOT = Path(__file__).resolve().parents[1]
RECORD, PICTURE = Path(__file__).with_suffix(".json"), ROOT / "images" / "mnist-validation-sizes.png"


def of_size(size: int | None) -> tuple[str, ...]:
    """The option that gives methods so many validation images of each class."""
    return () if size is None else ("--validation-images", str(size))


def record(arguments: Sequence[str]) -> None:
    """Write and draw the accuracies, by method, number of validation images, and run."""
    found: dict[str, dict[int, Any]] = {token: {} for token in TOKENS}
    lines: dict[str, list[Line]] = {f"b = {b}": [] for b in SHOWN}
    for size in SIZES:
        options, experiment = parse("", RunScriptOptions, DATASETS, (*arguments, *of_size(size)))
        images = (size or experiment.source.validation_per_class) * experiment.num_classes
        for curve in collect_curves(campaign_chains(experiment, options), "last"):
            values = dict(zip(curve.runs, curve.values.round(4).tolist(), strict=True))
            found[curve.chain.method.token][images] = values
    save_json({"command": command_line(), "versions": versions(), "methods": found}, RECORD)
    for token, by_images in found.items():
        values = np.array([[*runs.values()] for runs in by_images.values()])  # (sizes, runs, iterations)
        method = METHODS[token.partition("/")[0]]
        for b in SHOWN:
            accuracies = values[:, :, b - 1]
            drawn = Line(
                *(token, np.array([*by_images]), accuracies.mean(1), accuracies.std(1, ddof=1)),
                *(method.color, method.marker),
            )
            lines[f"b = {b}"].append(replace(drawn, style="--") if method.asks_nothing else drawn)
    plot_panels(
        *(lines, "validation images V", [PICTURE], "top-1 test accuracy of the last epoch, %"),
        title="MNIST, 100x imbalance",
        logarithmic=True,
    )
    print(RECORD, PICTURE, sep="\n")


def main(arguments):
    arguments = [*PLAN, *arguments]
    if "--initial" in arguments:
        return run_main(DATASETS, arguments)
    for size in SIZES:
        code = run_main(DATASETS, [*arguments, *of_size(size)])
        if code:
            return code
    record(arguments)
    return 0


if __name__ == "__main__":
    run_script(main)
