"""Monte-Carlo dropout: the variation ratio, and sampling against a plain loop."""

import pytest
import torch
import torch.nn.functional as F

from fisher_al.data import Images
from fisher_al.uncertainty import UNCERTAINTIES, sample_statistics
from mnist.experiment import MNIST


def test_variation_ratio_by_hand():
    votes = torch.tensor([[0, 1], [0, 1], [0, 2], [1, 2]])  # four passes over two images
    probabilities = 0.7 * F.one_hot(votes, 3).float() + 0.1
    uncertainty = UNCERTAINTIES["varMC"]
    statistics = uncertainty.statistics(probabilities)
    assert statistics.shape == (2, 3, 2)
    assert uncertainty.score(statistics).tolist() == pytest.approx([0.25, 0.5])


def test_ensemble_members_are_averaged_before_the_formula():
    certain_of_0 = torch.tensor([[[1.0, 0.0]]])
    certain_of_1 = torch.tensor([[[0.0, 1.0]]])
    uncertainty = UNCERTAINTIES["varMC"]
    statistics = [uncertainty.statistics(p) for p in (certain_of_0, certain_of_1)]
    assert uncertainty.score(sum(statistics) / 2).tolist() == [0.5]


def test_sampling_agrees_with_plain_dropout():
    torch.manual_seed(0)
    network = MNIST.network(10)
    pixels = torch.randint(0, 256, (3, 28, 28), dtype=torch.uint8)
    images = Images(pixels, torch.zeros(3, dtype=torch.long), MNIST, "cpu")
    samples = 4000
    generator = torch.Generator().manual_seed(1)
    sampled = sample_statistics(network, images, UNCERTAINTIES["varMC"], samples, 2 * samples, generator)

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
    images = Images(pixels, torch.zeros(6, dtype=torch.long), MNIST, "cpu")

    def sample(seed):
        generator = torch.Generator().manual_seed(seed)
        return sample_statistics(network, images, UNCERTAINTIES["varMC"], 8, 24, generator)

    assert torch.equal(sample(0), sample(0))
    assert not torch.equal(sample(0), sample(1))
    means = sample(0)[..., 1]
    assert len(means.unique(dim=0)) == 6
