"""docs/labeling.md says what the code does and what was measured."""

import json
import re
import statistics
import sys
import types
from collections.abc import Iterable
from pathlib import Path

import pytest
from conftest import ROOT
from pages import DOCS, running_text, section, table
from rounds import fisher_al, picked

from fisher_al.commands.labeling_options import DEFAULT_METHOD, DEFAULT_WHEN_HELD

PAGE = DOCS / "labeling.md"
WORTH = "## What picks are worth"

Setting = tuple[int, int, bool]


def recorded(seeds: range = range(5)) -> dict[tuple[Setting, str], list[dict]]:
    """Curves by (imbalance, validation images a class, trained on) and method, in order of their seeds."""
    curves: dict[tuple[Setting, str], list[dict]] = {}
    found = json.loads((ROOT / "benchmarks" / "labeling.json").read_text())["curves"]
    for curve in sorted((curve for curve in found if curve["seed"] in seeds), key=lambda c: c["seed"]):
        setting = curve["imbalance"], curve["validation images a class"], curve["trained on"]
        curves.setdefault((setting, curve["method"]), []).append(curve)
    return curves


def last(curves: Iterable[dict], measure: str) -> list[float]:
    return [100 * curve["points"][-1][measure] for curve in curves]


def gain(curves, setting: Setting, method: str, other: str = "random") -> tuple[float, float]:
    """Points of balanced accuracy that a method is ahead of another: mean and standard error over seeds."""
    both = (last(curves[setting, name], "balanced_accuracy") for name in (method, other))
    differences = [a - b for a, b in zip(*both, strict=True)]
    return statistics.mean(differences), statistics.stdev(differences) / len(differences) ** 0.5


def rows(curves, setting: Setting) -> list[list[str]]:
    """A table of the page: methods by balanced accuracy."""
    methods = [method for one, method in curves if one == setting]
    found = []
    for method in methods:
        accuracy = statistics.mean(last(curves[setting, method], "balanced_accuracy"))
        ahead, error = gain(curves, setting, method)
        shares = [
            statistics.mean(last(curves[setting, method], name)) for name in ("rare_recall", "rare_picks")
        ]
        against = "" if method == "random" else f"{ahead:+.1f} ± {error:.1f}"
        found.append([f"`{method}`", f"{accuracy:.1f}", against, *(f"{share:.1f}" for share in shares)])
    return sorted(found, key=lambda row: -float(row[1]))


SETTINGS = ((50, 20, True), (50, 5, True), (50, 5, False))


@pytest.mark.parametrize("number", [0, 1, 2])
def test_tables_are_the_recorded_benchmark(number):
    curves = recorded()
    shown = table(section(PAGE, WORTH), number)
    assert shown == rows(curves, SETTINGS[number])
    assert all(len(found) == 5 for (setting, _), found in curves.items() if setting == SETTINGS[number])
    assert {"`random`", "`margin`", "`entropy`", "`coreset`", "`badge`", "`gradFmap`"} <= {
        r[0] for r in shown
    }


def test_sentences_are_the_recorded_benchmark():
    curves, text = recorded(), running_text(PAGE)
    for per_class in (20, 5):
        first = [curve["points"][0] for curve in curves[(50, per_class, True), "random"]]
        alone = statistics.mean(100 * point["balanced_accuracy"] for point in first)
        assert f"They alone give {alone:.1f}%:" in text
        held = max(
            statistics.mean(last(found, "balanced_accuracy"))
            for (setting, _), found in curves.items()
            if not setting[2]
        )
        if per_class == 20:
            assert alone > held
    two, five, twenty, tenth = (
        gain(curves, setting, DEFAULT_METHOD)[0]
        for setting in ((50, 2, True), (50, 5, True), (50, 20, True), (10, 5, True))
    )
    assert f"With 2 a class, `{DEFAULT_METHOD}` is {two:+.1f} points ahead of random picks" in text
    assert f"with 5 {five:+.1f}, with 20 it is {twenty:+.1f}" in text
    assert f"`{DEFAULT_METHOD}` is {tenth:+.1f} ahead" in text
    held = (50, 5, False)
    ahead, over = (gain(curves, held, DEFAULT_WHEN_HELD, other)[0] for other in ("random", "margin"))
    assert (
        f"`{DEFAULT_WHEN_HELD}` is {ahead:+.1f} points ahead of random, and of `margin` {over:+.1f}" in text
    )
    best = max(
        (method for setting, method in curves if setting == held and "+" not in method),
        key=lambda method: statistics.mean(last(curves[held, method], "balanced_accuracy")),
    )
    assert best == DEFAULT_WHEN_HELD


def test_further_seeds_are_the_recorded_benchmark():
    curves = recorded(range(5, 15))
    settings = (50, 20, True), (50, 5, True), (50, 2, True), (50, 5, False)
    shown = table(section(PAGE, WORTH), 3)
    assert [row[0] for row in shown] == [
        f"`{name}`" for name in ("margin", "coreset", "gradFmap", "gradShift", "balanced+margin")
    ]
    for name, *cells in shown:
        for setting, cell in zip(settings, cells, strict=True):
            assert len(curves[setting, name.strip("`")]) == 10
            ahead, error = gain(curves, setting, name.strip("`"))
            assert cell == f"{ahead:+.1f} ± {error:.1f}"


def test_gain_of_the_label_shift_is_the_recorded_benchmark():
    def ahead(seeds: range, per_class: int) -> str:
        mean, error = gain(recorded(seeds), (50, per_class, False), "gradShift", DEFAULT_WHEN_HELD)
        return f"{mean:+.1f} ± {error:.1f}"

    first, further = range(5), range(5, 15)
    assert (
        f"With 20 a class that are only matched it is {ahead(first, 20)} points ahead of `gradFmap` "
        f"({ahead(further, 20)} on the further seeds), with 5 a class {ahead(first, 5)} ({ahead(further, 5)})"
    ) in running_text(PAGE)


def test_scale_is_the_recorded_benchmark():
    scale = json.loads((ROOT / "benchmarks" / "labeling_at_scale.json").read_text())
    text = running_text(PAGE)
    for row in scale["rounds"]:
        assert f"{row['images']:,} images" in text
        assert f"{row['seconds']:.0f} s" in text
        assert f"{row['peak MB'] / 1000:.1f} GB" in text
    embedding = scale["embedding"]
    assert f"{embedding['share']:.0%} of the speed of the network alone" in text


@pytest.mark.parametrize("name", ["pick", "simulate"])
def test_every_option_has_its_row(name):
    usage = fisher_al(name, "--help").out
    offered = set(re.findall(r"^  (?:-\w, )?(--[a-z-]+)", usage, re.MULTILINE)) - {"--help"}
    page = section(PAGE, "## Options")
    shown = [cell for number in range(3) for row in table(page, number) for cell in row[0].split("`")[1::2]]
    documented = {cell.split()[0] for cell in shown}
    assert len(offered) > 15
    assert offered <= documented
    if name == "simulate":
        both = offered | {"--labels", "--method", "--scales"}
        assert documented == both


def test_defaults_are_those_of_the_options():
    text = running_text(PAGE)
    assert f"`{DEFAULT_METHOD}`; with `--hold-validation` `{DEFAULT_WHEN_HELD}`" in text
    usage = " ".join(fisher_al("pick", "--help").out.split())
    assert f"(default: {DEFAULT_METHOD}; with --hold-validation {DEFAULT_WHEN_HELD})" in usage


def test_the_view_of_fiftyone_has_the_picks_in_order(animals, monkeypatch):
    """The page's snippet, on a round of ours; the library itself is not there."""

    class Record(dict):
        """What a sample, label or data set was made of."""

        def __init__(self, *name, **values):
            super().__init__(values, name=name)

        def add_samples(self, samples):
            self["samples"] = samples

        def sort_by(self, field):
            return sorted(self["samples"], key=lambda sample: sample[field])

    shown = []
    names = {"Sample": Record, "Classification": Record, "Dataset": Record}
    fiftyone = types.SimpleNamespace(**names, launch_app=lambda view: shown.extend(view))
    monkeypatch.setitem(sys.modules, "fiftyone", fiftyone)
    monkeypatch.chdir(animals)
    [snippet] = (
        c for c in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL) if "fiftyone" in c
    )
    exec(snippet, {})
    assert [Path(sample["filepath"]) for sample in shown] == [
        animals / "pool" / k for k in picked(animals, "round1")
    ]
    assert all(Path(sample["filepath"]).is_file() for sample in shown)
    assert [sample["rank"] for sample in shown] == list(range(1, 7))
    assert all(0 < sample["predicted"]["confidence"] <= 1 for sample in shown)
