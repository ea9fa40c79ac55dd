"""`fisher_al.pick`: arrays and a linear classifier in, rows to label next out."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from naive import picks_by_nearest_label
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC, LinearSVC

from fisher_al import UserError, pick
from fisher_al.method.question import methods_on_features

NAMES = np.array(["ant", "bee", "cat"])


def made(classes: int = 3, seed: int = 0):
    """Pool features, validation features with labels, and a classifier that knows 12 pool rows."""
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((classes, 10))
    labels = generator.integers(0, classes, 90)
    labels[:classes] = range(classes)
    rows = centres[labels] + 2 * generator.standard_normal((90, 10))
    names = NAMES[labels]
    classifier = LogisticRegression().fit(rows[:12], names[:12])
    return rows[:60], rows[60:], names[60:], classifier


def naive_picks(pool, validation, labels, classifier, budget, labeled, wrong):
    weight, bias = torch.from_numpy(classifier.coef_), torch.from_numpy(classifier.intercept_)
    if len(weight) == 1:  # the margin of the second of two classes
        weight, bias = torch.cat([0 * weight, weight]), torch.cat([0 * bias, bias])
    numbers = torch.from_numpy(np.searchsorted(classifier.classes_, labels))
    rows = torch.from_numpy(pool), torch.from_numpy(validation)
    return picks_by_nearest_label(*rows, numbers, list(wrong), (weight, bias), budget, labeled)


@pytest.mark.parametrize("classes", [2, 3])
def test_picks_are_those_of_the_definitions(classes):
    pool, validation, labels, classifier = made(classes)
    wrong = np.flatnonzero(classifier.predict(validation) != labels)
    assert 0 < len(wrong) < 25
    picks = pick(pool, validation, labels, classifier, 25, labeled=range(12))
    assert picks.tolist() == naive_picks(pool, validation, labels, classifier, 25, range(12), wrong)


def test_predictions_may_be_told():
    pool, validation, labels, classifier = made()
    told = labels.copy()
    told[[3, 5]] = np.where(labels[[3, 5]] == "ant", "bee", "ant")
    picks = pick(pool, validation, labels, classifier, 10, validation_predictions=told)
    assert picks.tolist() == naive_picks(pool, validation, labels, classifier, 10, (), [3, 5])


@pytest.mark.parametrize("method", sorted(methods_on_features()))
def test_every_method_picks_unlabeled_rows(method):
    pool, validation, labels, classifier = made()
    labeled = np.arange(0, 24, 2)
    known = {"method": method, "labeled": labeled, "y_labeled": ["ant", "bee"] * 6}
    picks = pick(pool, validation, labels, classifier, 15, **known)
    assert picks.shape == (15,)
    assert len(set(picks.tolist())) == 15
    assert not set(picks.tolist()) & set(labeled.tolist())
    arguments = pool.astype(np.float32), validation, list(labels), classifier, 15
    again = pick(*arguments, **known)
    assert picks.tolist() == again.tolist()


@pytest.mark.parametrize("kind", [RidgeClassifier, LinearSVC])
def test_other_linear_classifiers_do(kind):
    pool, validation, labels, _ = made()
    assert len(pick(pool, validation, labels, kind().fit(validation, labels), 5)) == 5


def test_coefficients_of_two_classes_may_be_a_vector():
    """As RidgeClassifier's are."""
    pool, validation, labels, classifier = made(2)
    with_matrix = pick(pool, validation, labels, classifier, 10).tolist()
    classifier.coef_ = classifier.coef_[0]
    assert pick(pool, validation, labels, classifier, 10).tolist() == with_matrix
    ridge = RidgeClassifier().fit(validation, labels)
    assert len(pick(pool, validation, labels, ridge, 5)) == 5


@pytest.mark.parametrize("method", ["none", "random", "coreset"])
def test_without_a_classifier(method):
    pool, validation, labels, _ = made()
    assert len(pick(pool, validation, labels, None, 5, method=method)) == 5
    neighbours = KNeighborsClassifier().fit(validation, labels)
    assert len(pick(pool, validation, labels, neighbours, 5, method=method)) == 5


def test_nan_is_found_in_later_rows(monkeypatch):
    monkeypatch.setattr("fisher_al.method.arrays.ROWS_AT_ONCE", 4)
    pool = made()[0]
    pool[7, 3] = np.nan
    with pytest.raises(UserError, match="X_pool: row 7 holds NaN"):
        pick(**change(X_pool=pool))


def test_importing_it_does_not_import_scikit_learn():
    code = "import sys, fisher_al; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def change(**changes):
    pool, validation, labels, classifier = made()
    arguments = {
        **{"X_pool": pool, "X_validation": validation, "y_validation": labels},
        **{"classifier": classifier, "budget": 5},
    }
    return {**arguments, **changes}


def overflowing():
    """A classifier whose coefficients are too large for float32."""
    classifier = made()[3]
    classifier.coef_ = classifier.coef_ * 1e39
    return classifier


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"budget": 61}, "budget 61: only 60 images of the pool are unlabeled"),
        ({"budget": 0}, "budget 0: has to be a whole number, 1 or more"),
        *[({"budget": budget}, "has to be a whole number") for budget in (2.5, "3", None, True)],
        ({"method": "cor"}, "unknown method 'cor': choose from"),
        ({"X_pool": np.zeros(5)}, r"X_pool \(5,\): has to be \(n, n_features\)"),
        ({"X_pool": np.full((9, 10), np.nan)}, "X_pool: row 0 holds NaN"),
        ({"X_pool": [["a"] * 10]}, "X_pool: no array of numbers"),
        ({"X_validation": np.zeros((30, 9))}, r"X_validation \(30, 9\): needs rows, of 10 features"),
        ({"X_pool": np.zeros((9, 11)), "X_validation": np.zeros((30, 11))}, "fitted on 10"),
        ({"y_validation": [["ant"], ["bee", "cat"]]}, r"y_validation \(2,\): has to be \(30,\)"),
        ({"y_validation": ["ant"]}, r"y_validation \(1,\): has to be \(30,\)"),
        ({"y_validation": None}, r"y_validation \(0,\): has to be \(30,\)"),
        ({"y_validation": ["dog"] * 30}, "does not know 'dog'"),
        ({"labeled": [60]}, "labeled: 60 is no row of 60"),
        ({"labeled": np.zeros(60, dtype=bool)}, r"labeled: bool \(60,\), but row indices"),
        ({"X_pool": np.zeros((9, 1)), "X_validation": np.zeros((30, 1))}, "with two features or more"),
        ({"X_pool": torch.zeros(9, 10, requires_grad=True)}, "X_pool: no array of numbers"),
        ({"X_validation": np.zeros((0, 10)), "y_validation": []}, r"X_validation \(0, 10\): needs rows"),
        ({"classifier": SVC(kernel="linear").fit(*made()[1:3])}, "SVC (has|compares)"),
        ({"labeled": [0.5]}, "row indices"),
        ({"labeled": [1], "y_labeled": ["dog"]}, "y_labeled: the classifier does not know 'dog'"),
        ({"labeled": [1], "method": "balanced"}, "'balanced': counts the labels so far"),
        ({"classifier": None}, "needs a fitted linear classifier, but NoneType has no coef_"),
        ({"classifier": KNeighborsClassifier()}, "none, random, coreset, typiclust need none"),
        ({"classifier": made()[3].sparsify()}, r"a sparse coef_, which densify\(\) makes dense"),
        ({"classifier": overflowing()}, "coef_ or intercept_ holds NaN, or infinity in float32"),
        ({"classifier": LogisticRegression()}, "LogisticRegression has no coef_"),
    ],
)
def test_what_does_not_fit_is_told(changes, told):
    with pytest.raises(UserError, match=told):
        pick(**change(**changes))


def test_labels_of_new_classes_need_no_classifier():
    asked = change(method="random", classifier=None, labeled=[0], y_labeled=["rare"])
    assert len(pick(**asked)) == asked["budget"]


@pytest.mark.parametrize("method", ["gradFmap", "balanced"])
def test_a_loop_may_begin_without_labels(method):
    begun = pick(**change(method=method, labeled=[], y_labeled=[]))
    assert begun.tolist() == pick(**change(method=method, labeled=None, y_labeled=None)).tolist()
