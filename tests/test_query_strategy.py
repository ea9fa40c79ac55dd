"""FisherKernelMatching: a query strategy as scikit-activeml has them."""

import numpy as np
import pytest
from skactiveml.classifier import ParzenWindowClassifier, SklearnClassifier
from skactiveml.utils import MISSING_LABEL
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from test_pick_arrays import made

from fisher_al import pick
from fisher_al.method.query_strategy import FisherKernelMatching


@pytest.fixture
def question():
    """X, y with 12 labels, a classifier, and the validation samples."""
    pool, validation, names, _ = made()
    _, labels = np.unique(names, return_inverse=True)
    y = np.full(len(pool), MISSING_LABEL)
    generator = np.random.default_rng(1)
    y[:12] = generator.integers(0, 3, 12)
    y[:3] = range(3)
    return {
        "X": pool,
        "y": y,
        "clf": SklearnClassifier(LogisticRegression(), classes=[0, 1, 2]),
        **{"X_val": validation, "y_val": labels},
    }


@pytest.mark.parametrize("method", ["gradFmap", "grad", "gradGmap", "none"])
def test_queries_are_those_of_pick(method, question):
    strategy = FisherKernelMatching(method=method, random_state=0)
    queries = strategy.query(**question, batch_size=30)  # no k-centre, whose first centre is random
    fitted = LogisticRegression().fit(question["X"][:12], question["y"][:12].astype(int))
    arguments = question["X"], question["X_val"], question["y_val"], fitted, 30
    assert queries.tolist() == pick(*arguments, method=method, labeled=range(12)).tolist()


@pytest.mark.parametrize("batch_size", [1, 7])
def test_each_row_of_utilities_is_highest_at_its_query(batch_size, question):
    strategy = FisherKernelMatching(random_state=0)
    queries, utilities = strategy.query(**question, batch_size=batch_size, return_utilities=True)
    assert utilities.shape == (batch_size, 60)
    for place, query in enumerate(queries):
        assert np.nanargmax(utilities[place]) == query
        is_out = np.isnan(utilities[place])
        assert set(np.flatnonzero(is_out)) == {*range(12), *queries[:place]}


@pytest.mark.parametrize("batch_size", [1, 5, 40])
def test_utilities_leave_the_queries_as_they_are_also_among_equals(batch_size, question):
    question["X"], question["X_val"] = np.sign(question["X"][:, :3]), np.sign(question["X_val"][:, :3])
    strategy = FisherKernelMatching(random_state=0)
    queries, utilities = strategy.query(**question, batch_size=batch_size, return_utilities=True)
    assert queries.tolist() == strategy.query(**question, batch_size=batch_size).tolist()
    assert np.nanargmax(utilities, axis=1).tolist() == queries.tolist()


def test_candidates_are_indices_or_samples(question):
    strategy = FisherKernelMatching(random_state=0)
    some = [20, 30, 40, 50]
    by_index = strategy.query(**question, candidates=some, batch_size=3)
    assert set(by_index) <= set(some)
    by_sample, utilities = strategy.query(
        **question, candidates=question["X"][some], batch_size=3, return_utilities=True
    )
    assert [some[place] for place in by_sample] == by_index.tolist()
    assert utilities.shape == (3, 4)


def test_without_labels_features_alone_are_compared(question):
    question["y"][:] = MISSING_LABEL
    queries = FisherKernelMatching(random_state=0).query(**question, batch_size=30)
    none = pick(question["X"], question["X_val"], question["y_val"], None, 30, method="none")
    assert queries.tolist() == none.tolist()


def test_a_classifier_that_guesses_without_labels_is_not_asked(question):
    strategy = FisherKernelMatching(method="none", random_state=0)
    for y in (np.full(60, MISSING_LABEL), np.where(np.arange(60) < 3, 1.0, MISSING_LABEL)):
        asked = {**question, "y": y, "batch_size": 30}
        guessing = {**asked, "clf": ParzenWindowClassifier(classes=[0, 1, 2])}
        assert strategy.query(**guessing).tolist() == strategy.query(**asked).tolist()


def test_another_random_state_decides_otherwise(question):
    strategies = (FisherKernelMatching(random_state=state) for state in range(8))
    assert len({tuple(one.query(**question, batch_size=2).tolist()) for one in strategies}) > 1


def test_the_classifier_is_fitted_as_told_and_left_alone(question):
    strategy, wanted = FisherKernelMatching(random_state=0), {**question, "batch_size": 30}
    queries = strategy.query(**wanted).tolist()
    assert not hasattr(question["clf"], "estimator_")  # a clone was fitted
    weights = np.where(np.arange(60) < 4, 100.0, 0.01)
    weighted = strategy.query(**wanted, sample_weight=weights).tolist()
    assert weighted != queries
    fitted = SklearnClassifier(LogisticRegression(), classes=[0, 1, 2])
    fitted.fit(question["X"], question["y"], sample_weight=weights)
    assert strategy.query(**{**wanted, "clf": fitted}, fit_clf=False).tolist() == weighted


def test_a_random_state_decides(question):
    first, second = (
        FisherKernelMatching(random_state=3).query(**question, batch_size=2).tolist() for _ in range(2)
    )
    assert first == second


@pytest.mark.parametrize(
    ("changes", "error", "told"),
    [
        ({"X_val": np.zeros((30, 4))}, ValueError, "features"),
        ({"y_val": [7] * 30}, ValueError, "`y_val` contains 7"),
        ({"y_val": [0]}, ValueError, "inconsistent numbers of samples"),
        ({"clf": LogisticRegression()}, TypeError, "clf"),
        ({"clf": SklearnClassifier(KNeighborsClassifier(), classes=[0, 1, 2])}, TypeError, "must be linear"),
        ({"fit_clf": "yes"}, TypeError, "fit_clf"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"candidates": [99]}, ValueError, "less than 60"),
    ],
)
def test_what_does_not_fit_raises_as_in_scikit_activeml(changes, error, told, question):
    with pytest.raises(error, match=told):
        FisherKernelMatching().query(**{**question, **changes})


def test_an_unknown_method_raises(question):
    with pytest.raises(TypeError, match="method"):
        FisherKernelMatching(method="random").query(**question)
