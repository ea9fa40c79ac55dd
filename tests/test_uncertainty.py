"""Monte-Carlo dropout: the variation ratio, and sampling against a plain loop."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats

from fisher_al.data.images import Images
from fisher_al.method.base import Descriptors
from fisher_al.method.network import seeded_network
from fisher_al.method.question import question
from fisher_al.method.registry import METHODS
from fisher_al.method.uncertainty import byte_dropout, statistics_in_blocks
from mnist.experiment import MNIST


def make_iteration(count, budget=1):
    """On as many images of noise, by a network that was not trained."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 28, 28), dtype=torch.uint8, generator=generator)
    images = Images(pixels, torch.zeros(count, dtype=torch.long), MNIST.source.mean, MNIST.source.std)
    network = seeded_network(MNIST.network, 10, 0)
    return question(network, images, images, budget, 0, num_classes=10, scales=(), batch_size=24)


def test_variation_ratio_by_hand():
    votes = torch.tensor([[0, 1], [0, 1], [0, 2], [1, 2]])  # four passes over two images
    probabilities = 0.7 * F.one_hot(votes, 3).float() + 0.1
    uncertainty = METHODS["varMC"]
    statistics = uncertainty.statistics(probabilities)
    assert statistics.shape == (2, 3, 2)
    assert uncertainty.score(statistics).tolist() == pytest.approx([0.25, 0.5])


def random_probabilities():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(7, 5, 4, generator=generator).mul(3).softmax(2)


def degenerate_probabilities():
    """Certain, uniform, contradicting and all but certain passes."""
    certain, uniform = torch.eye(4)[0].expand(8, 4), torch.full((8, 4), 0.25)
    contradicting = torch.eye(4).repeat(2, 1)
    nearly = torch.tensor([1 - 3e-30, 1e-30, 1e-30, 1e-30]).expand(8, 4)
    return torch.stack([certain, uniform, contradicting, nearly], dim=1)


@pytest.mark.parametrize("make", [random_probabilities, degenerate_probabilities])
def test_entropies_equal_scipys(make):
    p = make()
    total = stats.entropy(p.double().mean(0).numpy(), base=2, axis=1)
    each = stats.entropy(p.double().numpy(), base=2, axis=2).mean(0)
    spread = np.std(p.double().numpy(), axis=0).mean(1)
    for name, expected in (("entMC", total), ("baldMC", total - each), ("stdMC", spread)):
        uncertainty = METHODS[name]
        np.testing.assert_allclose(uncertainty.score(uncertainty.statistics(p)), expected, atol=2e-6)


@pytest.mark.parametrize("name", ["varMC", "entMC", "baldMC", "stdMC"])
def test_every_uncertainty_is_finite_and_never_lower_for_doubt(name):
    uncertainty = METHODS[name]
    statistics = uncertainty.statistics(degenerate_probabilities())
    assert statistics.shape == (4, 4, 2)
    score = uncertainty.score(statistics)
    assert torch.isfinite(score).all()
    assert score[2] > score[0]  # passes that contradict each other are less certain than passes that agree
    single = uncertainty.score(uncertainty.statistics(random_probabilities()[:1]))
    assert torch.isfinite(single).all()


@pytest.mark.parametrize("name", ["varMC", "entMC", "baldMC"])
def test_an_ensemble_is_uncertain_where_all_its_passes_together_are(name, monkeypatch):
    monkeypatch.setattr("fisher_al.method.uncertainty.ROWS_AT_ONCE", 7)
    uncertainty, iteration = METHODS[name], replace(make_iteration(40, budget=10), ensemble_size=2)
    passes = torch.randn(6, 40, 10, generator=torch.Generator().manual_seed(0)).mul(3).softmax(2)
    members = [uncertainty.statistics(part) for part in (passes[:3], passes[3:])]
    labeled = torch.tensor([0, 5, 39])
    found = uncertainty.pick(iteration, labeled, Descriptors(members)).tolist()
    p = passes.double().numpy()
    scores = {
        "varMC": 1 - np.stack([(p.argmax(2) == c).mean(0) for c in range(10)]).max(0),
        "entMC": stats.entropy(p.mean(0), axis=1),
        "baldMC": stats.entropy(p.mean(0), axis=1) - stats.entropy(p, axis=2).mean(0),
    }[name]
    scores[labeled] = -np.inf
    # votes of six passes tie: of equals any may come
    assert scores[found].tolist() == pytest.approx(sorted(scores, reverse=True)[:10])
    assert len(set(found)) == 10


def test_members_share_the_passes_and_have_masks_of_their_own():
    iteration = replace(make_iteration(6), ensemble_size=2, mc_samples=8)
    descriptions = [torch.cat(list(METHODS["varMC"].describe(iteration, m).pool)) for m in (0, 1)]
    assert not torch.equal(*descriptions)
    for votes in descriptions:  # shares of four passes each
        assert torch.equal(4 * votes[..., 0], (4 * votes[..., 0]).round())
        assert torch.allclose(votes[..., 0].sum(1), torch.ones(6))
    assert any((4 * votes[..., 0] % 2).any() for votes in descriptions)


@pytest.mark.parametrize("probability", [0.25, 0.5])
def test_byte_dropout_drops_as_often_as_it_should(probability):
    activation = torch.rand(64, 10, 12, 12).contiguous(memory_format=torch.channels_last) + 1
    generator = torch.Generator().manual_seed(0)
    dropped = byte_dropout(activation, probability, generator)
    assert dropped.stride() == activation.stride()
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept], activation[kept] / (1 - probability))
    count = kept.numel()
    deviation = (probability * (1 - probability) / count) ** 0.5
    assert abs(float(kept.float().mean()) - (1 - probability)) < 5 * deviation
    # neighbours, in memory and over images, are independent
    kept = kept.permute(0, 2, 3, 1)  # in the order of memory
    for shifted in (kept.flatten().roll(1).view(kept.shape), kept.roll(1, 0)):
        both = float((kept & shifted).float().mean())
        assert abs(both - (1 - probability) ** 2) < 0.005


@pytest.mark.parametrize("probability", [1e-4, 0.9999])
def test_hardly_any_dropout_is_some_and_nearly_all_is_not_all(probability):
    dropped = byte_dropout(torch.ones(20_000), probability, torch.Generator().manual_seed(0))
    assert torch.isfinite(dropped).all()
    assert 0 < (dropped == 0).float().mean() < 1


def test_sampling_agrees_with_plain_dropout():
    torch.manual_seed(0)
    network = MNIST.network(10)
    pixels = torch.randint(0, 256, (3, 28, 28), dtype=torch.uint8)
    images = Images(pixels, torch.zeros(3, dtype=torch.long), MNIST.source.mean, MNIST.source.std)
    samples = 4000
    generator = torch.Generator().manual_seed(1)
    blocks = statistics_in_blocks(
        network, images, METHODS["varMC"].statistics, samples, 2 * samples, generator
    )
    sampled = torch.cat(list(blocks))

    inputs = next(images.batches(3))[0].repeat(100, 1, 1, 1)
    votes, mean = torch.zeros(3, 10), torch.zeros(3, 10)
    with torch.no_grad():
        for _ in range(samples // 100):
            hidden = F.dropout(F.relu(F.max_pool2d(network.conv1(inputs), 2)), 0.25)
            hidden = F.dropout(F.relu(F.max_pool2d(network.conv2(hidden), 2)), 0.25)
            hidden = F.dropout(F.relu(network.fc1(hidden.flatten(1))), 0.5)
            probabilities = network.fc2(hidden).softmax(1)
            votes += F.one_hot(probabilities.argmax(1), 10).unflatten(0, (100, 3)).sum(0) / samples
            mean += probabilities.unflatten(0, (100, 3)).sum(0) / samples
    # five standard errors of a share over 4,000 passes, twice
    torch.testing.assert_close(sampled[..., 0], votes, atol=0.055, rtol=0)
    torch.testing.assert_close(sampled[..., 1], mean, atol=0.005, rtol=0)
    assert (sampled[..., 0].sum(1) - 1).abs().max() < 1e-4


def test_masks_repeat_with_the_seed_and_differ_between_images():
    torch.manual_seed(0)
    network = MNIST.network(10)
    pixels = torch.randint(0, 256, (1, 28, 28), dtype=torch.uint8).repeat(6, 1, 1)
    images = Images(pixels, torch.zeros(6, dtype=torch.long), MNIST.source.mean, MNIST.source.std)

    def sample(seed):
        generator = torch.Generator().manual_seed(seed)
        return torch.cat(
            list(statistics_in_blocks(network, images, METHODS["varMC"].statistics, 8, 24, generator))
        )

    assert torch.equal(sample(0), sample(0))
    assert not torch.equal(sample(0), sample(1))
    means = sample(0)[..., 1]
    assert len(means.unique(dim=0)) == 6
