"""Label savings, areas, ranks, intervals and the comparison with the paper, against values by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT
from scipy.stats import ttest_rel
from test_curves import make_chain

from fisher_al.experiment import Variant
from fisher_al.results.comparison import (
    area_difference,
    area_interval,
    areas,
    label_saving,
    labels_to_reach,
    mean_ranks,
    paper_differences,
)
from fisher_al.results.curves import Curve
from fisher_al.results.published import published_mean

REFERENCE_CURVES = ROOT.parent / "shared" / "paper" / "reference_curves.json"


def make_curve(*rows, token="random", first=0):
    values = np.array(rows, dtype=float)
    chain = make_chain(ROOT, token=token, iterations=values.shape[1])
    return Curve(chain, tuple(f"run{first + number}" for number in range(len(rows))), values)


def test_labels_to_reach_interpolates_the_mean_curve():
    curve = make_curve([50, 60, 80], [54, 64, 84])  # mean 52, 62, 82 at 125, 250, 375 labels
    assert labels_to_reach(curve, 52) == 125
    assert labels_to_reach(curve, 57) == pytest.approx(187.5)
    assert labels_to_reach(curve, 72) == pytest.approx(312.5)
    assert labels_to_reach(curve, 82) == pytest.approx(375)
    assert np.isnan(labels_to_reach(curve, 51))  # reached before the first point: not known where
    assert np.isnan(labels_to_reach(curve, 82.1))


def test_the_first_crossing_counts():
    assert labels_to_reach(make_curve([50, 70, 60, 80]), 65) == pytest.approx(125 + 125 * 0.75)


def test_label_saving():
    fast, slow = make_curve([60, 80, 90]), make_curve([50, 60, 70])
    assert label_saving(fast, slow, 70) == pytest.approx(1 - 187.5 / 375)
    assert label_saving(slow, fast, 70) == pytest.approx(-1)
    assert np.isnan(label_saving(fast, slow, 75))  # the slow one never gets there
    assert np.isnan(label_saving(fast, slow, 55))  # the fast one starts above
    one_more = make_curve([60, 80, 90], [20, 20, 20])  # a run that the slow one has not
    assert label_saving(one_more, slow, 70) == pytest.approx(1 - 187.5 / 375)
    assert np.isnan(label_saving(fast, make_curve([50, 60, 70], first=1), 70))  # no run in common


def test_areas_are_mean_accuracies():
    curve = make_curve([50, 60, 80], [70, 70, 70], [50, np.nan, 80])
    assert areas(curve)[:2] == pytest.approx([62.5, 70])
    assert np.isnan(areas(curve)[2])
    assert area_interval(curve)[0] == pytest.approx(66.25)
    assert areas(make_curve([50], [60])).tolist() == [50, 60]


def test_mean_rank_ties_and_common_runs():
    a, b = make_curve([50, 70], [50, 70]), make_curve([50, 60], [60, 60])
    c = make_curve([90, 90], [40, np.nan])
    # places counted by hand; run1 at b = 2 is left out because c lacks it
    assert mean_ranks([a, b, c]) == pytest.approx([(2.5 + 2 + 2) / 3, (2.5 + 3 + 1) / 3, (1 + 1 + 3) / 3])
    assert np.isnan(mean_ranks([a, make_curve([1, 2], first=7)])).all()
    assert np.isnan(mean_ranks([a, replace(b, chain=replace(b.chain, budget=40))])).all()


def test_difference_is_of_the_labels_that_both_have():
    long, short = make_curve(*[[50, 60, 70, 80, 90]] * 3), make_curve(*[[50, 60, 69]] * 3)
    assert area_difference(long, short) == pytest.approx([0.25] * 3)
    assert area_difference(short, long) == pytest.approx([-0.25] * 3)
    other = replace(short, chain=replace(short.chain, budget=40))
    assert np.isnan(area_difference(long, other)).all()


def test_paired_difference_is_of_the_common_runs():
    a = make_curve([60, 62], [70, 74], [80, 86], [50, 56])
    b = make_curve([50, 50], [61, 61], [31, 31], first=1)
    difference, low, high = area_difference(a, b)
    assert difference == pytest.approx(((72 - 50) + (83 - 61) + (53 - 31)) / 3)
    assert low == high == pytest.approx(22)
    difference, low, high = area_difference(a, make_curve([50, 50]))
    assert difference == pytest.approx(61 - 50)
    assert np.isnan([low, high]).all()  # one pair has no interval


@pytest.mark.parametrize("runs", [2, 5, 10])
def test_interval_is_that_of_a_paired_t_test(runs):
    ours, other = 50 + np.random.default_rng(3).standard_normal((2, runs, 1))
    expected = ttest_rel(ours[:, 0], other[:, 0]).confidence_interval(0.95)
    assert area_difference(make_curve(*ours), make_curve(*other))[1:] == pytest.approx(tuple(expected))


def test_published_curves_are_found_by_method():
    ours = make_chain(ROOT, token="gradFmap/80", iterations=10)
    assert published_mean(ours)[[0, 2, 9]].tolist() == [71.6, 89.75, 93.6]
    assert np.isnan(published_mean(make_chain(ROOT, token="cor/20"))[0])
    assert published_mean(make_chain(ROOT, token="varMC", ensemble_size=4))[1] == 67.6
    assert published_mean(make_chain(ROOT, token="amiDiag/20")) is None
    assert published_mean(make_chain(ROOT, token="vaal"))[[0, 4, 9]] == pytest.approx(
        [51.548, 62.141, 68.164]
    )


def test_there_is_no_published_curve_of_another_protocol():
    ours = make_chain(ROOT, token="gradFmap/80", iterations=10)
    noisy = replace(ours, layout=replace(ours.layout, noisy_ratio=0.1))
    for other in (noisy, replace(ours, budget=40), replace(ours, variant=Variant(keep="last"))):
        assert published_mean(other) is None
    vaal = make_chain(ROOT, token="vaal")
    assert published_mean(replace(vaal, layout=replace(vaal.layout, pretrained=False))) is None


@pytest.mark.skipif(not REFERENCE_CURVES.is_file(), reason=f"needs {REFERENCE_CURVES}")
def test_published_facts_are_carried_over_whole():
    facts = json.loads(REFERENCE_CURVES.read_text())
    carried = json.loads((ROOT / "fisher_al" / "results" / "published.json").read_text())
    assert carried["vaal"] == facts["vaal"]
    for dataset in ("MNIST", "SVHN", "ImageNet"):
        assert carried["curves"][dataset] == {ratio: facts[dataset][ratio] for ratio in ("1", "100")}


def test_difference_from_the_paper_marks_what_is_far():
    # at first 2.1 standard errors of our mean, but 1.9 of the difference of both means
    near = make_curve([71.453, 84.0], [71.547, 83.0], token="gradFmap/80")
    far = make_curve([60.0, 70.0], [60.5, 70.5], token="random")
    unknown = make_curve([60.0, 70.0], token="amiDiag/20")
    assert paper_differences([near, far, unknown]) == [
        ["gradFmap/80", "-0.1", "-0.3"],
        ["random", "+9.8*", "+17.9*"],
    ]
