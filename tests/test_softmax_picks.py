"""Picks by one softmax of each image, against plain loops in float64."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from naive import balanced_walk
from scipy import stats

from fisher_al.data.features import Features
from fisher_al.method.base import Descriptors
from fisher_al.method.linear_head import NEVER, LinearHead
from fisher_al.method.question import question_on_features
from fisher_al.method.registry import METHODS

CLASSES, POOL, BUDGET = 4, 60, 20


def case():
    """The iteration, in blocks of seven, with some labels; and softmax (N, C) of the pool."""
    rows = torch.randn(POOL + 12, CLASSES, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(POOL) % CLASSES
    pool = Features(rows.numpy(), torch.arange(POOL), labels)
    validation = Features(rows.numpy(), torch.arange(POOL, POOL + 12), torch.arange(12) % CLASSES)
    head = LinearHead(torch.eye(CLASSES), torch.zeros(CLASSES))
    iteration = question_on_features(head, pool, validation, BUDGET, seed=0)
    return replace(iteration, predict_batch_size=7), rows[:POOL].double().softmax(1).numpy()


def largest(uncertainty, labeled):
    """Images from the most uncertain on, without the labeled ones."""
    order = sorted(set(range(POOL)) - set(labeled.tolist()), key=lambda image: -uncertainty[image])
    return order[:BUDGET]


LABELED = torch.tensor([0, 4, 8, 1, 5, 2, 59])  # three of class 0, two of 1, one of 2, one of 3


def test_margin_and_entropy_pick_what_they_say():
    iteration, probabilities = case()
    ordered = np.sort(probabilities, axis=1)
    uncertainties = {
        "margin": 1 - (ordered[:, -1] - ordered[:, -2]),
        "entropy": stats.entropy(probabilities, base=2, axis=1),
    }
    for name, uncertainty in uncertainties.items():
        method = METHODS[name]
        assert method.uncertainty(iteration).numpy() == pytest.approx(uncertainty, abs=1e-6)
        picks = method.pick(iteration, LABELED, Descriptors())
        assert picks.tolist() == largest(uncertainty, LABELED)


@pytest.mark.parametrize("trained", [None, [0, 0, 0, 1, 3], [2] * 9])
def test_balanced_levels_the_labels_that_the_network_learns(trained):
    iteration, probabilities = case()
    counts = [3, 2, 1, 1]
    if trained is not None:
        iteration = replace(iteration, trained_validation_labels=torch.tensor(trained))
        counts = [count + trained.count(number) for number, count in enumerate(counts)]
    picks = METHODS["balanced"].pick(iteration, LABELED, Descriptors())
    assert picks.tolist() == balanced_walk(probabilities, counts, BUDGET, LABELED.tolist())


@pytest.mark.parametrize("batch_size", [7, 50, 60])
def test_balanced_takes_the_first_of_equals(batch_size):
    iteration, _ = case()
    head = LinearHead(100 * torch.eye(CLASSES), torch.zeros(CLASSES))
    iteration = replace(iteration, load_network=lambda member: head, predict_batch_size=batch_size)
    probabilities = head(torch.from_numpy(iteration.pool[torch.arange(POOL)][0].numpy())).detach().softmax(1)
    assert (probabilities == 1).sum() > 20
    picks = METHODS["balanced"].pick(iteration, LABELED, Descriptors())
    assert picks.tolist() == balanced_walk(probabilities.numpy(), [3, 2, 1, 1], BUDGET, LABELED.tolist())


def test_balanced_leaves_out_a_class_that_the_head_does_not_know():
    iteration, probabilities = case()
    head = LinearHead(torch.eye(CLASSES), torch.tensor([0, 0, NEVER, 0]))
    iteration = replace(iteration, load_network=lambda member: head)
    picks = METHODS["balanced"].pick(iteration, LABELED, Descriptors())
    others = np.delete(probabilities, 2, axis=1)
    expected = balanced_walk(others / others.sum(1, keepdims=True), [3, 2, 1], BUDGET, LABELED.tolist())
    assert picks.tolist() == expected


def test_balanced_takes_all_that_is_left():
    iteration, _ = case()
    left = POOL - len(LABELED)
    picks = METHODS["balanced"].pick(replace(iteration, budget=left), LABELED, Descriptors())
    assert sorted(picks.tolist()) == sorted(set(range(POOL)) - set(LABELED.tolist()))
