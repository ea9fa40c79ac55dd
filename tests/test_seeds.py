"""What a seed decides, and what is left alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_own_network import network, sets, small_network  # noqa: F401
from test_pick_arrays import made
from test_uncertainty import make_iteration

from fisher_al import METHODS, pick
from fisher_al.method import skactiveml
from fisher_al.method.base import Descriptors
from fisher_al.method.network import seeded_network
from fisher_al.seeds import derive_seed
from fisher_al.training.fit import TrainingBatches
from fisher_al.training.folds import folds
from mnist.experiment import MNIST


def test_seeds_stay_what_they_were():
    assert derive_seed(1, "run0", 10.0) == 729870221602500047
    assert derive_seed(1, 11) != derive_seed(11, 1)


def test_a_seed_decides():
    pool, validation, labels, _ = made()
    picks = [pick(pool, validation, labels, None, 15, method="random", seed=seed) for seed in (0, 1)]
    assert picks[0].tolist() != picks[1].tolist()


@pytest.mark.parametrize("name", ["coreset", "typiclust", "badge", "clue", "falcun"])
def test_another_seed_picks_others(name):
    features = torch.rand(90, 6, generator=torch.Generator().manual_seed(0))
    softmax, available = features[:, :3].softmax(1), torch.arange(90)
    seen = {"falcun": (softmax.double(),), "badge": (features, softmax), "clue": (features, softmax)}
    looked_at = seen.get(name, (features, available[:0]))
    choose = getattr(skactiveml, f"{name}_picks")
    picks = [choose(*looked_at, available, 8, seed).tolist() for seed in (0, 1)]
    assert picks[0] != picks[1]


@pytest.mark.parametrize("name", ["galaxy", "direct"])
def test_another_seed_asks_for_others(name):
    iteration = make_iteration(60, budget=20)
    labeled = torch.arange(5 if name == "direct" else 0)
    picks = [
        METHODS[name].pick(replace(iteration, seed_of=lambda *_, seed=seed: seed), labeled, Descriptors())
        for seed in (0, 1)
    ]
    assert picks[0].tolist() != picks[1].tolist()


def test_folds_have_as_much_of_every_class_and_follow_the_seed():
    labels = np.arange(20) // 5
    divided = [[left_out.tolist() for _, left_out in folds(labels, seed)] for seed in (0, 1)]
    assert divided[0] != divided[1]
    assert [np.bincount(labels[left_out]).tolist() for left_out in divided[0]] == [[1] * 4] * 5


class Augmented:
    augments, seeds = True, []

    def augmented(self, shares, seed):
        self.seeds.append(seed)


def test_every_epoch_is_augmented_otherwise():
    train = Augmented()
    generator = torch.Generator().manual_seed(0)
    batches = TrainingBatches(torch.nn.Linear(1, 1), train, torch.arange(9), 4, generator)
    for _ in range(3):
        batches.of_next_epoch()
    assert len(set(train.seeds)) == 3


def test_global_random_state_is_left_alone():
    before = torch.get_rng_state()
    seeded_network(MNIST.network, 10, 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_head_leaves_global_random_state_alone():
    before = torch.get_rng_state()
    pick(*made(), 5)
    assert torch.equal(torch.get_rng_state(), before)
