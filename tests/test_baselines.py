"""The baselines from scikit-activeml, and its core-set as an oracle for our k-centre."""

import numpy as np
import pytest
import torch
from skactiveml.pool import CoreSet
from test_pick_arrays import made

from fisher_al import pick
from fisher_al.method import skactiveml
from fisher_al.method.acquisition import k_centre
from fisher_al.method.skactiveml import badge_picks, coreset_picks
from fisher_al.seeds import derive_seed


@pytest.mark.parametrize("seed", range(4))
def test_k_centre_equals_core_set_where_similarity_and_distance_agree(seed):
    # For vectors of length one, the largest dot product is the smallest Euclidean distance.
    generator = torch.Generator().manual_seed(seed)
    features = torch.nn.functional.normalize(torch.randn(80, 10, generator=generator))
    centres = k_centre(features, 25, generator)
    y = np.full(80, np.nan)
    y[centres[0]] = 0
    picks = CoreSet(random_state=0).query(features.double().numpy(), y, batch_size=24)
    assert centres[1:].tolist() == list(picks)


def test_core_set_goes_to_the_farthest_image():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(60, 5, generator=generator)
    labeled = torch.tensor([3, 7])
    available = torch.tensor([i for i in range(60) if i % 4])
    available = available[~torch.isin(available, labeled)]
    picks = coreset_picks(features, labeled, available, 10, seed=0)

    chosen, expected = labeled.tolist(), []
    for _ in range(10):
        distance = torch.cdist(features[available].double(), features[chosen].double()).amin(1)
        expected.append(int(available[distance.argmax()]))
        chosen.append(expected[-1])
    assert picks.tolist() == expected


def test_core_set_starts_without_labels():
    picks = coreset_picks(torch.rand(30, 4), torch.empty(0, dtype=torch.long), torch.arange(30), 8, seed=1)
    assert len(set(picks.tolist())) == 8


def test_badge_starts_at_the_largest_gradient_and_picks_distinct_available_images():
    generator = torch.Generator().manual_seed(0)
    features = torch.rand(50, 6, generator=generator)
    probabilities = torch.randn(50, 3, generator=generator).softmax(1)
    available = torch.arange(10, 50)
    picks = badge_picks(features, probabilities, available, 12, seed=5)
    residual = probabilities - torch.nn.functional.one_hot(probabilities.argmax(1), 3)
    norm = residual.norm(dim=1) * features.norm(dim=1)
    assert picks[0] == 10 + int(norm[10:].argmax())
    assert len(set(picks.tolist())) == 12
    assert picks.min() >= 10
    assert torch.equal(picks, badge_picks(features, probabilities, available, 12, seed=5))


@pytest.mark.parametrize("method", ["coreset", "typiclust", "badge", "clue", "falcun"])
def test_baselines_look_at_features_and_softmax(method):
    pool, validation, labels, classifier = made()
    labeled, available = torch.arange(12), torch.arange(12, 60)
    features = torch.from_numpy(pool).float()
    softmax = torch.from_numpy(classifier.predict_proba(pool)).float()
    seen = {"coreset": (features, labeled), "typiclust": (features, labeled), "falcun": (softmax.double(),)}
    choose = getattr(skactiveml, f"{method}_picks")
    expected = choose(*seen.get(method, (features, softmax)), available, 8, derive_seed(0, "picks"))
    budget = np.int64(8)  # as numpy counts
    found = pick(pool, validation, labels, classifier, budget, method=method, labeled=range(12))
    assert found.tolist() == expected.tolist()
