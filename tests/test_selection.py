"""Picks on features: the head, what it gets wrong, and what is matched with that."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from naive import balanced_walk, picks_by_nearest_label
from sklearn.linear_model import LogisticRegression

from fisher_al.errors import UserError
from fisher_al.labeling import head as heads
from fisher_al.labeling.head import cross_fitted, fit_head
from fisher_al.labeling.knowledge import Knowledge
from fisher_al.labeling.selection import ON_FEATURES, Strategy, fit, pick
from fisher_al.training.folds import FOLDS

WIDTH, CLASSES = 12, 3
EVERY = (*ON_FEATURES, "grad+margin", "random+coreset+entropy")


def clusters(count: int, seed: int = 0, classes: int = CLASSES) -> tuple[np.ndarray, torch.Tensor]:
    """Features around a centre for each class, and the classes."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, count)
    centres = np.random.default_rng(99).standard_normal((classes, WIDTH))
    rows = centres[labels] + 2 * generator.standard_normal((count, WIDTH))
    return rows.astype(np.float32), torch.from_numpy(labels)


def known(labeled: int = 10, left_out: int = 5) -> Knowledge:
    """60 pool images, 20 validation images of which four only score."""
    rows, labels = clusters(80)
    return Knowledge(
        rows=rows,
        num_classes=CLASSES,
        pool=torch.arange(60),
        validation=torch.arange(60, 80),
        validation_labels=labels[60:],
        labeled=torch.arange(labeled),
        labels=labels[:labeled],
        left_out=torch.arange(30, 30 + left_out),
        spared=torch.arange(20) % 5 == 0,
    )


@pytest.mark.parametrize("classes", [2, 3])
def test_the_head_is_scikit_learns_on_standardised_features(classes):
    rows, labels = clusters(50, classes=classes)
    scaled = (rows - rows.mean(0)) / rows.std(0)
    theirs = LogisticRegression(C=heads.STRENGTH / WIDTH, class_weight="balanced", max_iter=1000)
    expected = theirs.fit(scaled.astype(np.float64), labels).predict_proba(scaled)
    found = fit_head(rows, labels.numpy(), classes)(torch.from_numpy(rows)).softmax(1)
    assert found.detach().numpy() == pytest.approx(expected, abs=1e-3)


def test_a_class_without_images_is_never_predicted():
    rows, labels = clusters(50)
    labels[labels == 1] = 2
    found = fit_head(rows, labels.numpy(), 4)(torch.from_numpy(rows)).softmax(1)
    assert found[:, [1, 3]].max() == 0
    only = fit_head(rows, np.full(50, 2), 4)(torch.from_numpy(rows)).softmax(1)
    assert (only[:, 2] == 1).all()


def test_cross_fitting_asks_the_head_that_has_not_seen_the_image(monkeypatch):
    rows, labels = clusters(30)
    fitted = []

    def spy(features, classes, num_classes):
        head = fit_head(features, classes, num_classes)
        fitted.append(({row.tobytes() for row in features}, head))
        return head

    monkeypatch.setattr(heads, "fit_head", spy)
    validation = np.arange(10, 30)
    probabilities = cross_fitted(rows, labels.numpy(), validation, CLASSES, 0)
    assert len(fitted) == FOLDS
    assert all({row.tobytes() for row in rows[:10]} < seen for seen, _ in fitted)
    for row, found in zip(rows[validation], probabilities, strict=True):
        [head] = [head for seen, head in fitted if row.tobytes() not in seen]
        torch.testing.assert_close(found, head(torch.from_numpy(row)).softmax(0).detach())


def test_calibration_changes_no_prediction_and_makes_what_is_told_more_likely():
    now = known(30, 0)
    fitted = fit(now, Strategy("random", 1))
    features = torch.from_numpy(now.rows)
    before, after = (head(features).detach() for head in (fitted.head, fitted.calibrated))
    assert before.argmax(1).tolist() == after.argmax(1).tolist()
    temperature = (before[0, 0] / after[0, 0]).item()
    logits = fitted.probabilities.log()
    losses = [
        torch.nn.functional.cross_entropy(logits / t, now.validation_labels).item()
        for t in (temperature / 1.2, temperature, temperature * 1.2, 1)
    ]
    assert losses[1] == min(losses)


def test_classes_that_the_head_does_not_know_leave_its_confidence_alone():
    now, strategy = known(30, 0), Strategy("random", 1, hold_validation=True)
    seen, kept = now.labels != 2, now.validation_labels != 2
    now = replace(now, labeled=now.labeled[seen], labels=now.labels[seen])
    without = replace(
        now,
        validation=now.validation[kept],
        validation_labels=now.validation_labels[kept],
        spared=now.spared[kept],
    )
    told = [fit(some, strategy).calibrated.linear.weight for some in (now, without)]
    torch.testing.assert_close(*told)
    each = torch.tensor([now.validation_labels.tolist().index(label) for label in range(CLASSES)])
    single = replace(
        known(0), validation=now.validation[each], validation_labels=torch.arange(CLASSES), spared=seen[:3]
    )
    fitted = fit(single, Strategy("random", 1))  # no head knew the class of the image that it left out
    assert torch.equal(fitted.calibrated.linear.weight, fitted.head.linear.weight)


@pytest.mark.parametrize("count", [2, 3])
def test_one_validation_image_a_class_is_enough(count):
    rows, _ = clusters(count)
    labels = np.arange(count)
    probabilities = cross_fitted(rows, labels, labels, count, 0)
    assert probabilities.argmax(1).tolist() != labels.tolist()  # no head has seen its class


def naive_picks(now: Knowledge, head, targets, budget: int) -> list[int]:
    """gradFmap by the definitions; targets : of all validation images."""
    rows, matchable = torch.from_numpy(now.rows), (~now.spared).nonzero().squeeze(1).tolist()
    return picks_by_nearest_label(
        rows[now.pool],
        rows[now.validation[matchable]],
        now.validation_labels[matchable],
        [matchable.index(target) for target in targets.tolist()],
        (head.linear.weight, head.linear.bias),
        budget,
        {*now.labeled.tolist(), *now.left_out.tolist()},
    )


@pytest.mark.parametrize("held", [False, True])
def test_picks_are_those_of_the_definitions(held):
    now, strategy = known(), Strategy("gradFmap", 20, held)
    fitted = fit(now, strategy)
    wrong = (fitted.predictions() != now.validation_labels) & ~now.spared
    targets = wrong.nonzero().squeeze(1)
    assert 0 < len(targets) < 20  # no k-centre
    found = pick(now, fitted, strategy)
    assert found.positions.tolist() == naive_picks(now, fitted.head, targets, 20)
    assert set(found.matched.tolist()) == set(targets.tolist())
    assert found.scores.max() <= 1


@pytest.mark.parametrize("budget", [3, 40])
@pytest.mark.parametrize("method", ["none", "grad", "gradFmap", "gradGmap"])
def test_a_copy_of_an_image_matches_it_as_fully_as_can_be(method, budget):
    now = known()
    now.rows[10:30] = now.rows[60:80]  # pool images, of the validation images
    strategy = Strategy(method, budget, hold_validation=True)
    fitted = fit(now, strategy)
    targets = ((fitted.predictions() != now.validation_labels) & ~now.spared).nonzero().squeeze(1)
    assert len(targets) > 3  # k-centre chooses of them where the budget is 3
    found = pick(now, fitted, strategy)
    copies = min(budget, len(targets))
    assert found.matched[:copies].tolist() == (found.positions[:copies] - 10).tolist()
    assert set(found.matched[:copies].tolist()) <= set(targets.tolist())
    assert len(found.matched[:copies].unique()) == copies
    assert found.scores[:copies].tolist() == pytest.approx([1] * copies, abs=1e-4)
    assert (found.scores[copies:] < 0.999).all()


def test_labels_are_levelled_with_the_validation_images_that_only_score():
    now = known()
    counts = now.validation_labels.bincount(minlength=CLASSES)
    most = counts.argmax()
    spared = now.validation_labels == most
    spared[spared.nonzero()[0]] = False  # one image of the most frequent class is left to match
    now, strategy = replace(now, spared=spared), Strategy("balanced", 12)
    fitted = fit(now, strategy)
    probabilities = fitted.head(torch.from_numpy(now.rows[:60])).double().softmax(1).detach().numpy()
    counts += now.labels.bincount(minlength=CLASSES)
    taken = [*now.labeled.tolist(), *now.left_out.tolist()]
    assert pick(now, fitted, strategy).positions.tolist() == balanced_walk(
        probabilities, counts.tolist(), 12, taken
    )


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("labeled", [0, 10])
@pytest.mark.parametrize("method", EVERY)
def test_every_method_picks_what_may_be_picked(method, labeled, held):
    now, strategy = known(labeled), Strategy(method, 15, held)
    fitted = fit(now, strategy)
    assert (fitted.head is None) == (held and not labeled)
    found = pick(now, fitted, strategy)
    allowed = set(range(60)) - set(now.labeled.tolist()) - set(now.left_out.tolist())
    assert len(set(found.positions.tolist())) == 15
    assert set(found.positions.tolist()) <= allowed
    assert found.positions.tolist() == pick(now, fit(now, strategy), strategy).positions.tolist()
    assert all(len(part) == 15 for part in (found.scores, found.matched))


def test_all_that_is_left_can_be_picked_and_no_more():
    now = known()
    for method in EVERY:
        strategy = Strategy(method, 45)
        assert len(set(pick(now, fit(now, strategy), strategy).positions.tolist())) == 45
    with pytest.raises(UserError, match="--budget 46: only 45 images of the pool are left"):
        pick(now, fit(now, Strategy("random", 46)), Strategy("random", 46))


def test_images_that_only_score_are_never_matched():
    now, strategy = known(), Strategy("none", 40)
    matched = pick(now, fit(now, strategy), strategy).matched
    assert not now.spared[matched].any()


@pytest.mark.parametrize("method", ["random", "gradFmap", "grad+margin"])
def test_near_duplicates_of_what_is_picked_or_labeled_are_passed_over(method):
    now = known()
    rows = now.rows.copy()
    rows[10:60:2] = rows[11:60:2] * 1.001  # bursts of two; the scale does not matter
    rows[58] = rows[0]
    now = replace(now, rows=rows, left_out=torch.empty(0, dtype=torch.long))
    strategy = Strategy(method, 20, near_duplicate=0.999)
    found = pick(now, fit(now, strategy), strategy)
    picked = found.positions.tolist()
    assert len(picked) == 20
    assert len({position // 2 for position in picked}) == 20
    assert 58 not in picked
    few = pick(now, fit(now, strategy), replace(strategy, budget=40))
    assert len(few.positions) == 25  # no more differ
    assert sorted([*few.positions.tolist(), *few.near_duplicates.tolist()]) == [*range(10, 60)]


@pytest.mark.parametrize("held", [False, True])
def test_copies_of_what_is_skipped_or_trained_on_are_passed_over(held):
    now = known()
    rows = now.rows.copy()
    rows[20], rows[21] = rows[30], rows[now.validation[0]]
    now = replace(now, rows=rows, left_out=torch.tensor([30]))
    strategy = Strategy("random", 49, hold_validation=held, near_duplicate=0.999999)
    found = pick(now, fit(now, strategy), strategy)
    assert 20 in found.near_duplicates
    assert (21 in found.near_duplicates) == (not held)  # held ones are matched: their copies are wanted


def test_scores_and_matches_of_picks_by_uncertainty():
    now, strategy = known(), Strategy("margin", 12)
    fitted = fit(now, strategy)
    found = pick(now, fitted, strategy)
    rows = torch.from_numpy(now.rows)
    two = fitted.head(rows[found.positions]).softmax(1).topk(2).values
    torch.testing.assert_close(found.scores, (1 - two[:, 0] + two[:, 1]).detach())
    similarity = np.corrcoef(rows[found.positions], rows[60:])[:12, 12:]
    assert found.matched.tolist() == similarity.argmax(1).tolist()


def test_methods_take_turns():
    now, strategy = known(), Strategy("margin+random", 7)
    fitted = fit(now, strategy)
    both = pick(now, fitted, strategy).positions
    alone = pick(now, fitted, replace(strategy, method="margin", budget=4)).positions
    assert both[::2].tolist() == alone.tolist()


@pytest.mark.parametrize("method", ["random", "gradFmap", "balanced+margin"])
def test_a_pool_of_bursts_is_gone_through_in_a_moment(method):
    generator = np.random.default_rng(3)
    rows = generator.standard_normal((25, WIDTH))[np.arange(6_025) % 25]
    rows = (rows + 0.001 * generator.standard_normal(rows.shape)).astype(np.float32)
    rows[:25] = generator.standard_normal((25, WIDTH))  # validation images are of no burst
    labels, none = torch.arange(25) % CLASSES, torch.empty(0, dtype=torch.long)
    numbers, spared = torch.arange(6_025), torch.zeros(25, dtype=torch.bool)
    bursts = Knowledge(rows, CLASSES, numbers[25:], numbers[:25], labels, none, none, none, spared)
    strategy = Strategy(method, 40, near_duplicate=0.99)
    fitted, began = fit(bursts, strategy), time.process_time()
    picks = pick(bursts, fitted, strategy)
    assert time.process_time() - began < 5
    assert sorted((picks.positions % 25).tolist()) == [*range(25)]  # one of each burst
    assert len(picks.near_duplicates) >= 6_000 - 25
