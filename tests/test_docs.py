"""README and docs/ say what the code does and what was measured."""

import json
import math
import re
import statistics
from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT, read_csv
from faults import FAULTS
from pages import DOCS, README, methods_table, running_text, section, table
from scipy import stats

from fisher_al.results.comparison import area_difference, label_saving, paper_differences
from fisher_al.results.curve_files import read_json
from fisher_al.results.curves import Curve
from fisher_al.results.published import published_mean
from mnist.experiment import MNIST

RESULTS, COST, LATER = DOCS / "results.md", DOCS / "cost.md", DOCS / "later-methods.md"


def recorded(name: str) -> dict:
    """Numbers that a benchmark wrote."""
    return json.loads((ROOT / "benchmarks" / f"{name}.json").read_text())


def recorded_curves(figure: str) -> dict[str, Curve]:
    [curves] = read_json(ROOT / "images" / f"mnist-{figure}.json", experiment=MNIST).values()
    return {curve.chain.curve_name: curve for curve in curves}


def shown_curves(figure: str) -> dict[str, Curve]:
    """Curves of a figure's tables: the third leaves out those of the second."""
    elsewhere = recorded_curves("fig2") if figure == "fig3" else ()
    return {kind: curve for kind, curve in recorded_curves(figure).items() if kind not in elsewhere}


def published_saving(figure: str, other: str, accuracy: float) -> float:
    """Share of labels that ours needs fewer by the published means."""
    ours, theirs = (recorded_curves(figure)[kind] for kind in ("gradFmap/80", other))
    means = [replace(c, runs=("mean",), values=published_mean(c.chain)[None]) for c in (ours, theirs)]
    return label_saving(*means, accuracy)


SECTIONS = {
    "fig1": "## A pool without imbalance (figure 1)",
    "fig2": "## A pool with 100x imbalance (figure 2)",
    "fig3": "## Labels and initial weights (figure 3)",
}
TABLES = [(README, "## Results", "fig2"), *((RESULTS, SECTIONS[figure], figure) for figure in SECTIONS)]


def test_table_of_methods_is_the_registry():
    assert table(section(README, "## Methods")) == methods_table(beyond_the_paper=False)
    assert table(section(LATER, "## Methods")) == methods_table(beyond_the_paper=True)


@pytest.mark.parametrize(("page", "heading", "figure"), TABLES)
def test_table_of_results_is_in_the_published_numbers(page, heading, figure):
    curves, rows = shown_curves(figure), table(section(page, heading))
    assert {row[0].strip("`") for row in rows} == set(curves)
    for kind, runs, *cells in rows:
        curve = curves[kind.strip("`")]
        assert runs == str(curve.counts.max())
        for batch, cell in zip((1, 3, 5, 10), cells, strict=True):
            mean, std = curve.mean[batch - 1], curve.std[batch - 1]
            published = published_mean(curve.chain)[batch - 1]
            in_parentheses = "" if math.isnan(published) else f" ({published:.1f})"
            assert cell == f"{mean:.1f} ± {std:.1f}{in_parentheses}"


@pytest.mark.parametrize("figure", SECTIONS)
def test_differences_from_the_published_curves_are_those_of_the_numbers(figure):
    differences = [[f"`{kind}`", *cells] for kind, *cells in paper_differences(shown_curves(figure).values())]
    assert table(section(RESULTS, SECTIONS[figure]), 1) == differences
    points = [cell for _, *cells in differences for cell in cells if cell]
    far, text = (
        sum(cell.endswith("*") for cell in points),
        " ".join(section(RESULTS, SECTIONS[figure]).split()),
    )
    assert f"{far} point{'' if far == 1 else 's'} of {len(points)}" in text
    ours_alone, by_chance = 0, 0.0
    for curve in shown_curves(figure).values():
        known = np.isfinite(published_mean(curve.chain))
        distance = np.abs(curve.mean - published_mean(curve.chain)) / (curve.std / np.sqrt(curve.counts))
        ours_alone += np.count_nonzero(distance[known] > 2)
        by_chance += 2 * stats.t.sf(2, curve.counts[known] - 1).sum()
    assert f"by our error alone {ours_alone}" in text
    assert re.search(rf"[Cc]hance (alone )?gives {by_chance:.0f}\b", text)
    if figure == "fig2":
        said = (
            f"Of {len(points)} points, {far} are more than two standard errors away from the published curve"
        )
        assert f"{said}, where chance gives {by_chance:.0f}." in running_text(README)


@pytest.mark.parametrize("figure", SECTIONS)
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


def test_label_saving_and_area_are_of_the_published_figure():
    readme, text = running_text(README), running_text(RESULTS)
    for figure, accuracy, pages in (("fig2", 88, (readme, text)), ("fig1", 96, (text,))):
        curves = recorded_curves(figure)
        ours, other = curves["gradFmap/80"], curves["varMC"]
        saving, by_paper = label_saving(ours, other, accuracy), published_saving(figure, "varMC", accuracy)
        difference, low, high = area_difference(ours, other)
        for page in pages:
            assert f"needs {saving:.0%} fewer labels than `varMC` to reach {accuracy}%" in page
            assert f"{difference:+.1f} points larger [{low:+.1f}, {high:+.1f}: 95% interval" in page
        if figure == "fig1":
            assert f"to reach {accuracy}% (by the published curves {by_paper:.0%})" in text
        else:
            here = label_saving(ours, curves["varMC E=4"], accuracy)
            there = published_saving(figure, "varMC E=4", accuracy)
            over_ensemble = f"{there:.0%} over the ensemble of four (here {here:.0%})"
            assert f"By its curves it is {by_paper:.0%} over `varMC`, and {over_ensemble}" in text
            assert f"By the paper's curves it is {by_paper:.0%}." in readme
    curves = recorded_curves("fig3")
    saving = label_saving(curves["gradFmap/80"], curves["gradFmap/80 random init"], 88)
    assert f"needs {saving:.0%} fewer labels to reach 88% than from random weights" in text


def test_rare_classes_are_those_of_the_confusion_matrices():
    data = json.loads((ROOT / "images" / "MNIST_ir_100_batch_3_cmat.json").read_text())
    rows = table(section(RESULTS, "## Rare classes"))
    matrices = data["confusion (true class, predicted class)"]
    assert [row[0].strip("`") for row in rows] == list(matrices)
    for (_, cell, _), runs in zip(rows, matrices.values(), strict=True):
        accuracies = [
            statistics.mean(100 * matrix[c][c] / sum(matrix[c]) for c in data["classes"])
            for matrix in runs.values()
        ]
        assert cell == f"{statistics.mean(accuracies):.1f} ± {statistics.stdev(accuracies):.1f}"


def test_luck_of_the_first_batch_is_the_recorded_benchmark():
    methods, text = recorded("first_batch")["methods"], running_text(RESULTS)
    for method, published in (("random", "84.4 of `random`"), ("gradFmap/80", "86.2")):
        draws = np.array(methods[method]["accuracies of each run"])
        assert draws.shape == (5, 8)
        name = "random picks" if method == "random" else f"`{method}`"
        assert f"{draws.mean():.1f} ± {draws.std(ddof=1):.1f} for {name} (published: {published}" in text
        curve = recorded_curves("fig1")[method]
        assert f"{published_mean(curve.chain)[0]:.1f}" == published.split()[0]
    assert f"{published_mean(recorded_curves('fig1')['varMC'].chain)[0]:.1f} of `varMC`" in text


def test_times_and_accuracies_on_a_gpu_are_those_recorded():
    gpu, text = recorded("gpu"), running_text(COST)
    [alone], beside = gpu["alone"], gpu["four side by side"]

    def later(run):
        """Seconds of the iterations after the first, in which libraries load."""
        return np.array(run["gen_descr"][1:]) + np.array(run["main_descr"][1:])

    first, *_, last = later(alone)
    assert f"takes {first:.1f} s at b = 1 and {last:.1f} s at b = 9" in text
    together = max(later(run).sum() for run in beside)
    assert f"do 36 iterations in {together:.0f} s, where one does 9 in {later(alone).sum():.0f} s" in text
    assert f": {4 * later(alone).sum() / together:.1f} times as many" in text
    accuracies = np.array([run["acc"] for run in (alone, *beside)])
    assert [run["run"] for run in (alone, *beside)] == [5, 6, 7, 8, 9]
    on_cpus = recorded_curves("fig2")["gradFmap/80"].values[5:]
    for values, where in ((accuracies, "to 5 on the GPU"), (on_cpus, "on a CPU")):
        *most, fifth = (f"{mean:.1f}" for mean in values.mean(0)[:5])
        assert f"{', '.join(most)} and {fifth}%" in text.split(where)[0]
    spread = accuracies.std(0, ddof=1)
    assert f"{spread[0]:.1f} to {spread[4]:.1f}" in text


def test_cost_is_the_recorded_benchmark():
    stages, growth, resnet = (recorded("results")[name] for name in ("stages", "growth", "resnet"))
    assert table(section(COST, "## Whole stages")) == [
        [row["work"]]
        + [f"{row[name]:.3g}" if row[name] else "" for name in ("seconds", "plain", "ratio")]
        + [f"{row['of floor']:.0%}", f"{row['published']:g}" if row["published"] else ""]
        for row in stages
    ]
    assert table(section(COST, "## Whole stages"), 1) == [
        [f"{row['pool']:,} images", *(f"{row[name]:.3g}" for name in row if name != "pool")] for row in growth
    ]
    assert table(section(COST, "## ResNet-10")) == [
        [row["ResNet-10, 32 x 32"], f"{row['images/s']:,.0f}", f"{row['of matrix-product speed']:.0%}"]
        for row in resnet
    ]


def test_sentences_on_cost_are_the_recorded_benchmark():
    results, text = recorded("results"), running_text(COST)
    machine, stages = results["machine"], {row["work"]: row for row in results["stages"]}
    speed = f"{machine['matrix product, operations/s'] / 1e9:.0f} GFLOP/s in a matrix product"
    assert f"{machine['processor']} ({machine['capability']}, {speed})" in text
    ours, other = (stages[f"gen_descr.py {name}"]["seconds"] for name in ("gradFmap/80", "varMC, K = 128"))
    against_dropout = f"cost {ours:.1f} s an iteration, the dropout passes of `varMC` {other:.0f} s"
    assert f"{against_dropout}: 1/{other / ours:.0f} " in running_text(RESULTS)
    [k_centre] = (row for name, row in stages.items() if name.startswith("k-centre"))
    [matching] = (row for name, row in stages.items() if name.startswith("matching"))
    assert f"does {k_centre['plain operations'] / k_centre['operations']:.0f} times fewer operations" in text
    assert f"needs {matching['memory'] / 1e6:.0f} MB beyond the descriptors" in text
    speeds = {row["VAAL, MNIST"]: row["iterations/s"] for row in results["vaal"]}
    faster = speeds["--precision bf16"] / speeds["float32"]
    assert f"about {faster:.1f} times faster" in running_text(DOCS / "vaal.md")


def test_chains_side_by_side_are_the_recorded_benchmark():
    throughput, text = recorded("throughput"), running_text(COST)
    in_turn, beside, plain = (row["seconds"] for row in throughput["means"])
    machine = throughput["machine"]
    assert f"cores of an {machine['processor']} ({machine['capability']})" in text
    assert f"take {in_turn:.0f} s one after another" in text
    assert f"and {beside:.0f} s side by side, each on one: {in_turn / beside:.2f} times faster" in text
    assert f"version would take {plain:.0f} s" in text


def test_cost_at_the_size_of_imagenet_is_the_recorded_benchmark():
    scale, text = recorded("at_scale"), running_text(COST)
    single, half, at_full = (scale[name] for name in ("float32", "bfloat16", "all of ImageNet"))
    share = f"{single['matching, of matrix-product speed']:.0%} of matrix-product speed"
    assert f"in {single['matching, s']:.1f} s ({share}) within {single['matching, own MB']:.0f} MB" in text
    assert f"written block by block in {single['writing, s']:.1f} s" in text
    assert f"matching takes {half['matching, s']:.1f} s" in text
    gpu = 60 * at_full["GPU at the same share of its speed: matching, min"]
    assert f"The file has {at_full['file, GB']:.1f} GB" in text
    assert f"{at_full['this machine: matching, min']:.0f} minutes of matching" in text
    assert f"{gpu:.0f} s on a GPU of {at_full['GPU, TFLOP/s']} TFLOP/s" in text
    assert f"takes {at_full['this machine: describing, h']:.1f} h here" in text
    speeds = scale["images/s"]
    network = f"does {speeds['described']:.0f} images of 224 x 224 a second"
    assert f"{network}, where DALI alone decodes {speeds['decoded']:.0f}" in text


def test_faults_are_those_recorded():
    faults = recorded("faults")["faults"]
    page = (DOCS / "reliability.md").read_text()
    assert table(page) == [[str(value) for value in row.values()] for row in faults]
    assert [row["fault"] for row in faults] == [fault.name for fault in FAULTS]
    assert all(row["survived"] == row["tried"] > 0 and row["lost"] == 0 for row in faults)


def test_kills_are_those_recorded():
    kills, page = recorded("faults")["kills"], DOCS / "reliability.md"
    rows = [[row[name] for name in ("script", "tried", "survived", "lost")] for row in kills["scripts"]]
    expected = [[f"`{script}`", *map(str, counted)] for script, *counted in rows]
    assert table(section(page, "## A thousand kills")) == expected
    assert all(survived == tried > 0 and lost == 0 for _, tried, survived, lost in rows)
    total = sum(tried for _, tried, *_ in rows)
    assert f"{total:,} kills in {kills['minutes']:.0f} minutes" in running_text(page)
    assert total >= 1000


def test_hostile_inputs_are_those_recorded():
    hostile, page = recorded("faults")["hostile"], DOCS / "reliability.md"
    rows = [[*row.values()] for row in hostile["inputs"]]
    assert table(section(page, "## Ten thousand hostile inputs")) == [[*map(str, row)] for row in rows]
    assert all(survived == tried > 0 and not any(fell) for _, tried, survived, *fell in rows)
    total = sum(tried for _, tried, *_ in rows)
    assert f"{total:,} inputs in {hostile['minutes']:.0f} minutes" in running_text(page)
    assert total >= 10_000
