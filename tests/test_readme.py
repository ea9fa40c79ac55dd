"""The README says what the code does and what was measured."""

import json
import math
import statistics
from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT, read_csv
from faults import FAULTS

from fisher_al.method.registry import methods_table
from fisher_al.results.comparison import area_difference, label_saving
from fisher_al.results.curve_files import read_json
from fisher_al.results.curves import Curve
from fisher_al.results.published import published_mean
from mnist.experiment import MNIST


def readme_table(start: str, end: str) -> list[list[str]]:
    """Cells of the table between two headings, without its header; its first cells are code."""
    section = (ROOT / "README.md").read_text().split(start)[1].split(end)[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in row] for row in rows]


def test_table_of_methods_is_the_registry():
    assert readme_table("### Methods", "### What is reported") == methods_table()


def recorded_curves(figure: str) -> dict[str, Curve]:
    curves, _ = read_json(ROOT / "images" / f"mnist-{figure}.json", MNIST)
    return {curve.chain.curve_name: curve for curve in curves}


def published_saving(figure: str, other: str, accuracy: float) -> float:
    """Share of labels that ours needs fewer by the published means."""
    ours, theirs = (recorded_curves(figure)[kind] for kind in ("gradFmap/80", other))
    means = [replace(c, runs=("mean",), values=published_mean(c.chain)[None]) for c in (ours, theirs)]
    return label_saving(*means, accuracy)


TABLES = {
    "fig2": ("## Results", "The figure at the top"),
    "fig3": ("### Labels and initial weights", "![Curves of the label's estimators"),
    "fig1": ("### Without imbalance", "![Curves without imbalance"),
}


@pytest.mark.parametrize("figure", TABLES)
def test_table_of_results_is_in_the_published_numbers(figure):
    curves, rows = recorded_curves(figure), readme_table(*TABLES[figure])
    elsewhere = set(recorded_curves("fig2")) if figure == "fig3" else set()
    assert {row[0].strip("`") for row in rows} == set(curves) - elsewhere
    for kind, runs, *cells in rows:
        curve = curves[kind.strip("`")]
        assert runs == str(curve.counts.max())
        for batch, cell in zip((1, 3, 5, 10), cells, strict=True):
            mean, std = curve.mean[batch - 1], curve.std[batch - 1]
            published = published_mean(curve.chain)[batch - 1]
            in_parentheses = "" if math.isnan(published) else f" ({published:.1f})"
            assert cell == f"{mean:.1f} ± {std:.1f}{in_parentheses}"


@pytest.mark.parametrize("figure", TABLES)
def test_numbers_beside_a_figure_are_its_runs(figure):
    points = read_csv(ROOT / "images" / f"mnist-{figure}.csv")
    curves = recorded_curves(figure).values()
    assert len(points) == sum(len(curve.mean) for curve in curves)
    drawn = [values[np.isfinite(values)] for curve in curves for values in curve.values.T]
    for point, values in zip(points, drawn, strict=True):
        accuracies = [float(point[f"run{i}"]) for i in range(10) if point.get(f"run{i}")]
        assert accuracies == pytest.approx(values.tolist(), abs=1e-3)
        assert len(accuracies) == int(point["runs"])
        assert float(point["mean"]) == pytest.approx(statistics.mean(accuracies), abs=1e-3)
        assert float(point["std"]) == pytest.approx(statistics.stdev(accuracies), abs=1e-3)


def test_cost_is_the_recorded_benchmark():
    recorded = json.loads((ROOT / "benchmarks" / "results.json").read_text())
    readme = (ROOT / "README.md").read_text()
    for row in recorded["stages"]:
        cells = [f"{row[name]:.3g}" if row[name] else "" for name in ("seconds", "plain", "ratio")]
        cells += [f"{row['of floor']:.0%}", f"{row['published']:g}" if row["published"] else ""]
        line = next(line for line in readme.splitlines() if line.startswith(f"| {row['work']} "))
        assert [cell.strip() for cell in line.strip("|").split("|")][1:] == cells
    for row in recorded["growth"]:
        line = next(line for line in readme.splitlines() if line.startswith(f"| {row['pool']:,} images "))
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[1:] == [f"{row[name]:.3g}" for name in row if name != "pool"]
    for row in recorded["resnet"]:
        cells = [f"{row['images/s']:,.0f}", f"{row['of matrix-product speed']:.0%}"]
        line = next(
            line for line in readme.splitlines() if line.startswith(f"| {row['ResNet-10, 32 x 32']} ")
        )
        assert [cell.strip() for cell in line.strip("|").split("|")][1:] == cells


def test_label_saving_and_area_are_of_the_published_figure():
    text = " ".join((ROOT / "README.md").read_text().split())
    for figure, accuracy in (("fig2", 88), ("fig1", 96)):
        curves = recorded_curves(figure)
        ours, other = curves["gradFmap/80"], curves["varMC"]
        saving = label_saving(ours, other, accuracy)
        assert f"needs {saving:.0%} fewer labels than `varMC` to reach {accuracy}%" in text
        difference, low, high = area_difference(ours, other)
        assert f"{difference:+.1f} points larger [{low:+.1f}, {high:+.1f}: 95% interval" in text
    named = (("fig2", "varMC", 88), ("fig2", "varMC E=4", 88), ("fig1", "varMC", 96))
    by_paper = [published_saving(figure, other, accuracy) for figure, other, accuracy in named]
    saving = label_saving(recorded_curves("fig2")["gradFmap/80"], recorded_curves("fig2")["varMC E=4"], 88)
    over_both = (
        f"{by_paper[0]:.0%} over `varMC`, and {by_paper[1]:.0%} over the ensemble of four (here {saving:.0%})"
    )
    assert over_both in text
    assert f"to reach 96% (by the published curves {by_paper[2]:.0%})" in text
    curves = recorded_curves("fig3")
    saving = label_saving(curves["gradFmap/80"], curves["gradFmap/80 random init"], 88)
    assert f"needs {saving:.0%} fewer labels to reach 88% than from random weights" in text


def test_rare_classes_are_those_of_the_confusion_matrices():
    data = json.loads((ROOT / "images" / "MNIST-cmat.json").read_text())
    rows = readme_table("At b = 3 the rare classes decide.", "![Confusion matrices")
    matrices = data["confusion (true class, predicted class)"]
    assert [row[0].strip("`") for row in rows] == list(matrices)
    for (_, cell, _), runs in zip(rows, matrices.values(), strict=True):
        accuracies = [
            statistics.mean(100 * matrix[c][c] / sum(matrix[c]) for c in data["classes"])
            for matrix in runs.values()
        ]
        assert cell == f"{statistics.mean(accuracies):.1f} ± {statistics.stdev(accuracies):.1f}"


def test_cost_against_dropout_is_the_recorded_benchmark():
    seconds = {
        row["work"]: row["seconds"]
        for row in json.loads((ROOT / "benchmarks" / "results.json").read_text())["stages"]
    }
    ours, other = seconds["gen_descr.py gradFmap/80"], seconds["gen_descr.py varMC, K = 128"]
    text = " ".join((ROOT / "README.md").read_text().split())
    assert (
        f"cost {ours:.1f} s an iteration, the dropout passes of `varMC` {other:.0f} s: 1/{other / ours:.0f} "
        in text
    )


def test_faults_are_those_recorded():
    recorded = json.loads((ROOT / "benchmarks" / "faults.json").read_text())["faults"]
    section = (ROOT / "README.md").read_text().split("## Reliability")[1].split("Recorded in")[0]
    lines = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")][2:]
    rows = [[cell.strip() for cell in line] for line in lines]
    assert rows == [[str(value) for value in row.values()] for row in recorded]
    assert [row["fault"] for row in recorded] == [fault.name for fault in FAULTS]
    assert all(row["survived"] == row["tried"] > 0 and row["lost"] == 0 for row in recorded)


def test_luck_of_the_first_batch_is_the_recorded_benchmark():
    methods = json.loads((ROOT / "benchmarks" / "first_batch.json").read_text())["methods"]
    text = " ".join((ROOT / "README.md").read_text().split())
    for method, published in (("random", "84.4 of `random`"), ("gradFmap/80", "86.2")):
        draws = np.array(methods[method]["accuracies of each run"])
        assert draws.shape == (5, 8)
        name = "random picks" if method == "random" else f"`{method}`"
        assert f"{draws.mean():.1f} ± {draws.std(ddof=1):.1f} for {name} (published: {published}" in text
        curve = recorded_curves("fig1")[method]
        assert f"{published_mean(curve.chain)[0]:.1f}" == published.split()[0]
    assert f"{published_mean(recorded_curves('fig1')['varMC'].chain)[0]:.1f} of `varMC`" in text


def test_cost_at_the_size_of_imagenet_is_the_recorded_benchmark():
    recorded = json.loads((ROOT / "benchmarks" / "at_scale.json").read_text())
    text = " ".join((ROOT / "README.md").read_text().split())
    single, half = recorded["float32"], recorded["bfloat16"]
    share = f"{single['matching, of matrix-product speed']:.0%} of matrix-product speed"
    assert f"in {single['matching, s']:.1f} s ({share}) within {single['matching, own MB']:.0f} MB" in text
    assert f"written block by block in {single['writing, s']:.1f} s" in text
    assert f"matching takes {half['matching, s']:.1f} s" in text
    at_full = recorded["all of ImageNet"]
    gpu = 60 * at_full["GPU at the same share of its speed: matching, min"]
    assert f"{at_full['this machine: matching, min']:.0f} minutes of matching" in text
    assert f"{gpu:.0f} s on a GPU of {at_full['GPU, TFLOP/s']} TFLOP/s" in text
    assert f"takes {at_full['this machine: describing, h']:.1f} h here" in text
