"""What a round depends on, counts and reports."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from naive import balanced_walk
from sklearn.metrics import balanced_accuracy_score, recall_score
from test_selection import CLASSES, known

from fisher_al.data.features import Features
from fisher_al.errors import UserError
from fisher_al.files.locks import hold
from fisher_al.labeling import round as round_module
from fisher_al.labeling import simulation
from fisher_al.labeling.catalogue import Catalogue
from fisher_al.labeling.knowledge import spared
from fisher_al.labeling.report import _score, report
from fisher_al.labeling.round import _settings, require_own
from fisher_al.labeling.selection import Strategy, fit, pick

NAMES = ["ant", "bee", "cat"]


def some(**changes):
    one = Catalogue(Path(), NAMES, ["1.jpg", "2.jpg"], {"1.jpg": "ant"}, ["2.jpg"], {"v.jpg": "ant"}, {}, 0)
    return replace(one, **changes)


def test_a_round_is_told_apart_by_all_that_its_picks_depend_on():
    reading, strategy = SimpleNamespace(identity="net", widths={"pooled": 2}), Strategy("random", 1)
    requests = [(reading, strategy, some())]
    changes = {"pool": ["1.jpg"], "labels": {"1.jpg": "bee"}, "left_out": [], "validation": {"v.jpg": "bee"}}
    requests += [(reading, strategy, some(**{name: value})) for name, value in changes.items()]
    requests += [(SimpleNamespace(identity="net", widths={"layer3": 2}), strategy, some())]
    requests += [(SimpleNamespace(identity="other", widths={"pooled": 2}), strategy, some())]
    requests += [(reading, replace(strategy, seed=1), some())]
    settings = [_settings(*request) for request in requests]
    assert all(settings.count(one) == 1 for one in settings)


def test_a_folder_of_anothers_settings_alone_is_left_alone(tmp_path):
    (tmp_path / "round.json").write_text('{"mine": 1}')
    with pytest.raises(UserError, match="name a new folder"):
        require_own(tmp_path, {"seed": 0})


def test_a_round_of_another_process_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(
        round_module, "read_catalogue", lambda *_: SimpleNamespace(pool=[1], labels={}, left_out=[])
    )
    monkeypatch.setattr(round_module, "_settings", lambda *_: {})
    with (
        hold(tmp_path / "out" / "round.lock"),
        pytest.raises(UserError, match="another process works on this round"),
    ):
        round_module.run_round(
            round_module.Sources(tmp_path, tmp_path, ()), None, Strategy("random", 1), tmp_path / "out"
        )


def test_a_report_is_scikit_learns():
    now, strategy = known(), Strategy("margin", 6, near_duplicate=0.5, seed=3)
    fitted = fit(now, strategy)
    picks = pick(now, fitted, strategy)
    assert len(picks.near_duplicates) > 0
    counted = {"pool": range(60), "labels": range(10), "left_out": range(5), "validation": range(20)}
    catalogue = SimpleNamespace(**counted, shared=4, passed_over={}, classes=NAMES)
    found = report(catalogue, now, strategy, fitted, picks)
    counts = [60, 10, 5, 20, 4, 0, len(picks.positions), len(picks.near_duplicates)]
    assert list(found["images"].values()) == counts
    truth, said = now.validation_labels.numpy(), fitted.predictions().numpy()
    balanced = 100 * balanced_accuracy_score(truth, said)
    assert found["accuracy"]["all validation images"]["balanced accuracy"] == pytest.approx(
        balanced, abs=0.05
    )
    recalls = [row["recall"] for row in found["classes"].values()]
    assert recalls == pytest.approx(100 * recall_score(truth, said, average=None), abs=0.05)
    told = fitted.calibrated(torch.from_numpy(now.rows[picks.positions])).softmax(1).mean(0)
    shares = [row["expected among picks"] for row in found["classes"].values()]
    assert shares == pytest.approx((100 * told).tolist(), abs=0.05)


def test_balanced_accuracy_is_the_mean_of_recalls():
    found = _score(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 0, 1]))
    assert (found["accuracy"], found["balanced accuracy"]) == (75.0, 83.3)


@pytest.mark.parametrize("held", [False, True])
def test_labels_are_levelled_with_those_that_the_head_learns(held):
    now, strategy = known(), Strategy("balanced", 12, hold_validation=held)
    fitted = fit(now, strategy)
    counts = now.labels.bincount(minlength=CLASSES)
    if not held:
        counts = counts + now.validation_labels.bincount(minlength=CLASSES)
    probabilities = fitted.head(torch.from_numpy(now.rows[:60])).double().softmax(1).detach().numpy()
    taken = [*now.labeled.tolist(), *now.left_out.tolist()]
    expected = balanced_walk(probabilities, counts.tolist(), 12, taken)
    assert pick(now, fitted, strategy).positions.tolist() == expected


@pytest.mark.parametrize("method", ["random", "gradFmap", "grad+margin"])
def test_what_was_passed_over_is_a_near_duplicate(method):
    now = known()
    rows = now.rows.copy()
    rows[10:60:2] = rows[11:60:2]
    now = replace(now, rows=rows, left_out=torch.empty(0, dtype=torch.long))
    strategy = Strategy(method, 20, near_duplicate=0.999)
    found = pick(now, fit(now, strategy), strategy)
    passed = found.near_duplicates.tolist()
    assert {p // 2 for p in passed} <= {p // 2 for p in found.positions.tolist()}


def test_without_a_head_features_are_matched():
    now, strategy = known(0), Strategy("gradFmap", 15, hold_validation=True)
    assert pick(now, fit(now, strategy), strategy).scores.isfinite().all()


def test_fewer_picks_than_methods():
    now, strategy = known(), Strategy("balanced+margin", 1)
    assert len(pick(now, fit(now, strategy), strategy).positions) == 1


def test_which_images_only_score_does_not_depend_on_their_order():
    labels = {f"{n}.jpg": "cat" for n in range(10)}
    orders = labels, dict(reversed(labels.items()))
    first, again = (dict(zip(order, spared(order).tolist(), strict=True)) for order in orders)
    assert first == again


@pytest.mark.parametrize(("images", "expected"), [(3, 0), (4, 0), (5, 1), (9, 1), (10, 2)])
def test_a_fifth_only_scores_rounded_down(images, expected):
    assert spared({str(n): "cat" for n in range(images)}).sum() == expected


def test_every_round_has_its_own_seed(monkeypatch):
    now, seeds = known(), []
    monkeypatch.setattr(simulation, "fit", lambda known, now: seeds.append(now.seed) or fit(known, now))
    test = Features(now.rows, now.validation, now.validation_labels)
    answers = simulation.Answers(torch.zeros(60, dtype=torch.long), torch.tensor([0]), test)
    list(simulation.simulate(now, answers, Strategy("random", 2), 2, lambda: None))
    assert len(set(seeds)) == 3


def test_folds_are_of_the_seed():
    now = known()
    first, other = (fit(now, Strategy("random", 1, seed=seed)).probabilities for seed in (0, 1))
    assert not torch.equal(first, other)
