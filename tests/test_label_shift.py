"""Labels under shifted shares of classes: against a naive computation, and shares that are known."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fisher_al.data.images import Images
from fisher_al.method.descriptors import ForwardPass
from fisher_al.method.label_shift import share_ratios, shifted
from fisher_al.method.network import seeded_network
from fisher_al.method.question import question
from fisher_al.method.registry import METHODS
from mnist.custom_models.lenet import LeNet

SCALES = ("conv1", "conv2", "fc1")


def images_of(labels, seed):
    """Images whose class hardly shows."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(180, (len(labels), 28, 28), generator=generator)
    for row, label in enumerate(labels.tolist()):
        pixels[row, 2 * label : 2 * label + 5] += 40
    return Images(pixels.to(torch.uint8), labels, 0.1307, 0.3081)


def naive_ratio(probabilities, shares):
    """Expectation and maximisation, image by image."""
    ratio = np.ones(len(shares))
    for _ in range(2000):
        found = np.zeros(len(shares))
        for row in probabilities:
            found += row * ratio / (row * ratio).sum() / len(probabilities)
        ratio = found / shares
    return ratio


def test_label_is_the_most_probable_where_classes_have_the_shares_of_the_pool():
    network = seeded_network(LeNet, 10, 0).eval()
    validation, pool = images_of(torch.arange(120) % 10, 0), images_of(torch.arange(60) % 4, 1)
    iteration = question(network, pool, validation, 5, 0, num_classes=10, scales=SCALES, batch_size=25)
    description = METHODS["gradShift"].describe(iteration, 0)
    described = torch.cat(list(description.pool))

    features, z = description.validation[..., 0].double().numpy(), described[..., 0].double().numpy()
    fitted = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    probabilities = fitted.fit(features, validation.labels.numpy()).predict_proba(z)
    weighted = probabilities * naive_ratio(probabilities, np.full(10, 0.1))
    expected = torch.from_numpy(weighted.argmax(1))
    there = (expected < 4).sum()  # the pool has no others
    assert there > (probabilities.argmax(1) < 4).sum()
    of_pool = ForwardPass(network, pool[:][0], SCALES).scores(expected)
    assert torch.allclose(described[..., 1], of_pool, atol=1e-6)
    of_truth = ForwardPass(network, validation[:][0], SCALES).scores(validation.labels)
    assert torch.allclose(description.validation[..., 1], of_truth, atol=1e-6)


def drawn_probabilities(shares, count):
    """Of images at places on a line, the classes' probabilities if they were equally frequent."""
    rng = np.random.default_rng(0)
    centres = np.array([0.0, 2.0, 4.0])
    places = centres[rng.choice(3, count, p=shares)] + rng.normal(size=count)
    likelihood = np.exp(-((places[:, None] - centres) ** 2) / 2)
    return torch.from_numpy(likelihood / likelihood.sum(1, keepdims=True))


def test_shares_of_a_biased_pool_are_found():
    shares = np.array([0.9, 0.07, 0.03])
    found = share_ratios(drawn_probabilities(shares, 40_000), torch.full((3,), 1 / 3)) / 3
    assert found.sum().item() == pytest.approx(1)
    assert found.tolist() == pytest.approx(shares.tolist(), abs=0.01)


def test_shares_are_the_most_likely_ones():
    probabilities = drawn_probabilities([0.6, 0.3, 0.1], 400)
    learned = torch.tensor([0.2, 0.3, 0.5])
    given = shifted(probabilities, 3 * learned)  # as if learned where the classes have other shares
    ratio = share_ratios(given, learned)
    rng = np.random.default_rng(1)

    def likelihood(shares):
        return (given * (shares / learned)).sum(1).log().sum().item()

    best = likelihood(ratio * learned)
    for _ in range(50):
        other = (ratio * learned + torch.from_numpy(rng.uniform(0, 0.05, 3))).clamp_min(0)
        assert likelihood(other / other.sum()) < best + 1e-3
    assert ratio.tolist() == pytest.approx(naive_ratio(given.numpy(), learned.numpy()), rel=1e-2)


def test_class_without_a_validation_image_is_never_meant():
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.2, 0.7, 0.1]])
    ratio = share_ratios(probabilities, torch.tensor([0.5, 0.5, 0.0]))
    assert ratio[2] == 0
    assert shifted(probabilities, ratio).argmax(1).tolist() == [0, 1]
    assert torch.equal(shifted(probabilities, ratio)[:, 2], torch.zeros(2))


@pytest.mark.parametrize("classes", [1, 2])
def test_few_classes_among_the_validation_images_are_enough(classes):
    network = seeded_network(LeNet, 10, 0).eval()
    validation, pool = images_of(torch.arange(12) % classes, 0), images_of(torch.arange(20) % 4, 1)
    iteration = question(network, pool, validation, 5, 0, num_classes=10, scales=SCALES, batch_size=25)
    described = torch.cat(list(METHODS["gradShift"].describe(iteration, 0).pool))
    with torch.inference_mode():
        scores = ForwardPass(network, pool[:][0], SCALES).class_scores()
    is_of = (scores - described[:, None, :, 1]).abs().amax(2) < 1e-5  # of which label the scores are
    assert is_of[:, :classes].any(1).all()


def test_the_search_for_shares_goes_on_until_they_are_found():
    rng = np.random.default_rng(0)
    places = np.array([0.0, 1.0, 2.0])[rng.choice(3, 500, p=[0.9, 0.07, 0.03])] + rng.normal(size=500)
    likelihood = np.exp(-((places[:, None] - np.array([0.0, 1.0, 2.0])) ** 2) / 2)
    probabilities = likelihood / likelihood.sum(1, keepdims=True)
    ratio = np.ones(3)
    for _ in range(20_000):
        weighted = probabilities * ratio
        ratio = 3 * (weighted / weighted.sum(1, keepdims=True)).mean(0)
    found = share_ratios(torch.from_numpy(probabilities), torch.full((3,), 1 / 3))
    assert (found / 3).tolist() == pytest.approx((ratio / 3).tolist(), abs=0.002)


def test_shares_among_the_validation_images_count(monkeypatch):
    seen = []
    monkeypatch.setattr(
        "fisher_al.method.label_shift.share_ratios",
        lambda probabilities, shares: seen.append(shares.tolist()) or torch.ones(10),
    )
    labels = torch.tensor([0] * 6 + [1] * 3 + [4])
    network, images = seeded_network(LeNet, 10, 0).eval(), images_of(labels, 0)
    iteration = question(network, images, images, 5, 0, num_classes=10, scales=SCALES, batch_size=25)
    METHODS["gradShift"].describe(iteration, 0)
    assert seen == [pytest.approx([0.6, 0.3, 0, 0, 0.1, 0, 0, 0, 0, 0])]
