"""How many validation images does it take? Figure and numbers for docs/later-methods.md.

    python3 benchmarks/validation_sizes.py      # from the root, after mnist/run.py --initial -ir 100

Runs three iterations with 10, 50, 125 and all validation images of each class, of methods that match them and
of training on them alone, as options of mnist/run.py say. What is done is skipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fisher_al.commands.plan import campaign_chains
from fisher_al.commands.run import RunScriptOptions, run_main
from fisher_al.commands.scripts import parse, run_script
from fisher_al.results.curve_files import write_json
from fisher_al.results.curves import Curve, collect_curves
from fisher_al.results.plotting import Line, plot_panels
from mnist.experiment import DATASETS

ROOT = Path(__file__).parents[1]
METHODS = ("gradFmap/80", "gradShift/80", "similar", "train-on-validation")
PER_CLASS = (10, 50, 125, None)
ITERATIONS = 3
PLAN = ("-ir", "100", "--keep", "last", "--iterations", str(ITERATIONS), "--methods", *METHODS)


def size_of(curve: Curve) -> int:
    """How many validation images the method had."""
    source, per_class = curve.chain.experiment.source, curve.chain.variant.validation_images
    return source.num_classes * (per_class or source.validation_per_class)


def lines(curves: Sequence[Curve], batch: int) -> list[Line]:
    """One line per method over the number of validation images, after `batch`."""
    drawn = []
    for token in METHODS:
        of_method = sorted((c for c in curves if c.chain.method.token == token), key=size_of)
        method = of_method[0].chain.method
        drawn.append(
            Line(
                label=of_method[0].label,
                x=np.array([size_of(curve) for curve in of_method]),
                mean=np.array([curve.mean[batch - 1] for curve in of_method]),
                deviation=np.array([curve.std[batch - 1] for curve in of_method]),
                color=method.color,
                marker=method.marker,
            )
        )
    return drawn


def main(arguments):
    curves: list[Curve] = []
    for per_class in PER_CLASS:
        variant = () if per_class is None else ("--validation-images", str(per_class))
        options = [*PLAN, *variant, *arguments]
        if code := run_main(DATASETS, options):
            return code
        chosen, experiment = parse("", RunScriptOptions, DATASETS, options)
        curves += collect_curves(campaign_chains(experiment, chosen), "last")
    stem = f"{curves[0].chain.experiment.name.lower()}-validation-sizes"
    write_json(curves, "last", ROOT / "images" / f"{stem}.json")
    panels = {f"b = {batch}": lines(curves, batch) for batch in (1, ITERATIONS)}
    paths = [ROOT / "images" / f"{stem}.png"]
    plot_panels(panels, "validation images", paths, "accuracy of the last epoch, %", logarithmic=True)
    print(*paths)
    return 0


if __name__ == "__main__":
    run_script(main)
