"""docs/later-methods.md says what was measured."""

import json
import statistics

import numpy as np
import pytest
from conftest import ROOT
from pages import DOCS, README, running_text, section, table

from fisher_al.results.comparison import area_difference, label_saving
from fisher_al.results.curve_files import read_json
from mnist.experiment import DATASETS

PAGE = DOCS / "later-methods.md"
OURS = "gradFmap/80"
HEADINGS = {"MNIST": "### MNIST", "FashionMNIST": "### Fashion-MNIST"}
LEVELS = {"MNIST": 88, "FashionMNIST": 75}


def curves_of(dataset: str, metric: str) -> dict:
    path = ROOT / "images" / f"{dataset.lower()}-later_{metric}.json"
    by_metric = read_json(path, experiment=DATASETS.experiments[dataset])
    return {curve.chain.curve_name: curve for curve in by_metric[metric]}


def result_rows(dataset: str) -> list[list[str]]:
    """The rows of a results table, from the recorded numbers."""
    last, best = curves_of(dataset, "last"), curves_of(dataset, "best")
    recorded = json.loads((ROOT / "images" / f"{dataset.lower()}-later_rare.json").read_text())["methods"]
    rows = []
    for name, curve in last.items():
        cells = [
            f"{curve.mean[b - 1]:.1f} ± {curve.std[b - 1]:.1f} ({best[name].mean[b - 1]:.1f})"
            for b in (1, 3, 5, 10)
        ]
        difference, low, high = area_difference(curve, last[OURS])
        area = "reference" if name == OURS else f"{difference:+.1f} [{low:+.1f}, {high:+.1f}]"
        of_runs = recorded[name]["runs"].values()
        recall = [statistics.mean(run["recall of the rare, %"][b - 1] for run in of_runs) for b in (3, 10)]
        picked = statistics.mean(sum(run["rare among the picks, %"][:3]) / 3 for run in of_runs)
        rare = [f"{recall[0]:.0f}", f"{recall[1]:.0f}", f"{picked:.0f}"]
        rows.append([f"`{name}`", *cells, area, *rare, f"{recorded[name]['seconds']:.2g}"])
    return rows


def saving_sentence(dataset: str) -> str:
    """How many labels gradShift and ours save on the way to an accuracy."""
    curves, accuracy = curves_of(dataset, "last"), LEVELS[dataset]

    def saving(name: str, other: str) -> str:
        return f"{label_saving(curves[name], curves[other], accuracy):.0%}"

    others = [f"{saving('gradShift/80', other)} than `{other}`" for other in ("similar", "direct")]
    return (
        f"{curves[OURS].counts.max()} runs. To reach {accuracy}%, `gradShift/80` needs "
        f"{saving('gradShift/80', OURS)} fewer labels than ours, {others[0]} and {others[1]}."
    )


# By name in the record, what the table calls a label S.
LABELS = {
    "gradFmap/80": "the nearest validation image's: ours, `gradFmap/80`",
    "gradAbl/80": "the true one: `gradAbl/80`",
    "regression/80": "regression on V",
    "regressionPrior/80": "the same, corrected (now the method `gradShift`)",
    "regressionPriorSoft/80": "the same, expected scores",
    "perceptronPrior/80": "hidden layer of 64, corrected",
}


def label_rows() -> list[list[str]]:
    """The rows of the table of labels S, from the recorded numbers."""
    path = ROOT / "benchmarks" / "better_labels.json"
    methods = json.loads(path.read_text())["methods"]
    rows = []
    for name, recorded in methods.items():
        last, ours = (np.array([*methods[method]["last"].values()]) for method in (name, OURS))
        picked = np.array([*recorded["rare among the picks, %"].values()]).mean(0)
        error = (last - ours).std(0, ddof=1) / np.sqrt(len(last))
        cells = [
            f"{mean:.1f} ± {std:.1f}" for mean, std in zip(last.mean(0), last.std(0, ddof=1), strict=True)
        ]
        gains = [f"{mean:+.1f} ± {e:.1f}" for mean, e in zip((last - ours).mean(0), error, strict=True)]
        rare = ", ".join(f"{share:.0f}" for share in picked)
        rows.append([LABELS[name], *cells, *(["reference"] * 3 if name == OURS else gains), rare])
    return rows


def test_better_labels_are_the_recorded_ones():
    assert table(section(PAGE, "## A better label S")) == label_rows()


def size_rows() -> list[list[str]]:
    """The rows of the table of validation images: at b = 1 and 3, by their number."""
    path = ROOT / "benchmarks" / "validation_sizes.json"
    methods = json.loads(path.read_text())["methods"]
    rows = []
    for name, by_size in methods.items():
        values = [np.array([*runs.values()]) for runs in by_size.values()]
        cells = [
            ", ".join(f"{of_size[:, b - 1].mean():.1f} ± {of_size[:, b - 1].std(ddof=1):.1f}" for b in (1, 3))
            for of_size in values
        ]
        rows.append([f"`{name}`", *cells])
    return rows


def test_accuracies_of_others_are_the_recorded_ones():
    path = ROOT / "images" / "MNIST_ir_100_keep_last_last.json"
    [curves] = read_json(path, experiment=DATASETS.experiments["MNIST"]).values()
    said = {curve.chain.method.token: f"{curve.mean[2]:.1f} ± {curve.std[2]:.1f}" for curve in curves}
    assert (
        f"`falcun` has {said['falcun']}, `badge/50` {said['badge/50']}, `margin` {said['margin']} and "
        f"`clue/50` {said['clue/50']}, where ours has {said[OURS]}"
    ) in running_text(PAGE)


def test_accuracies_with_validation_images_learned_are_the_recorded_ones():
    path = ROOT / "images" / "MNIST_ir_100_val_50_trained_on_val_keep_last_last.json"
    [curves] = read_json(path, experiment=DATASETS.experiments["MNIST"]).values()
    assert table(section(PAGE, "### Learned and matched")) == [
        [
            f"`{curve.chain.method.token}`",
            *(f"{mean:.1f} ± {std:.1f}" for mean, std in zip(curve.mean, curve.std, strict=True)),
        ]
        for curve in curves
    ]


def test_accuracies_by_validation_images_are_the_recorded_ones():
    assert table(section(PAGE, "## How many validation images")) == size_rows()


@pytest.mark.parametrize("dataset", HEADINGS)
def test_results_are_the_recorded_ones(dataset):
    text = section(PAGE, HEADINGS[dataset])
    assert table(text) == result_rows(dataset)
    assert saving_sentence(dataset) in " ".join(text.split())
    curves = curves_of(dataset, "last").values()
    assert len({curve.counts.max() for curve in curves}) == 1
    assert all(np.isfinite(curve.values[: curve.counts[0]]).all() for curve in curves)


def test_readme_has_the_gain_over_ours():
    last = curves_of("MNIST", "last")
    ours, other = last[OURS].mean, last["gradShift/80"].mean
    text = running_text(README)
    assert f"reach {other[0]:.1f}% at b = 1 and {other[2]:.1f}% at b = 3" in text
    assert f"where ours has {ours[0]:.1f} and {ours[2]:.1f}%" in text


def test_readme_says_what_learning_validation_images_gives():
    [*_, learned] = size_rows()
    assert learned[0] == "`train-on-validation`"
    at_500 = learned[2].split(", ")[1].split(" ")[0]
    assert f"a network that learns 500 of them alone reaches {at_500}%" in running_text(README)
