"""Dependence of features and scores over views: naive loops, known correlations, degenerate input."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from naive import dependence, logdet

from fisher_al.data.images import Images
from fisher_al.method.descriptors import ForwardPass
from fisher_al.method.information import diagonal_information, gaussian_information, trace_correlation
from fisher_al.method.pseudo_labels import most_dependent_label
from fisher_al.method.views import draw_views
from mnist.experiment import MNIST

N, C = 3, 4
ESTIMATORS = {"cor": trace_correlation, "amiFull": gaussian_information, "amiDiag": diagonal_information}


def draw(views, channels, seed=0):
    generator = torch.Generator().manual_seed(seed)
    Z = torch.randn(N, views, channels, generator=generator)
    G = torch.randn(N, views, C, channels, generator=generator)
    return Z, G + 0.5 * Z.unsqueeze(2)


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize(("views", "channels"), [(40, 5), (8, 6), (128, 20)])
def test_estimators_equal_the_formula(name, views, channels):
    Z, G = draw(views, channels)
    scores = ESTIMATORS[name](Z, G)
    assert scores.dtype == torch.float64
    np.testing.assert_allclose(scores.numpy(), dependence(name, Z, G), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_information_of_gaussians_with_known_correlation(rho):
    generator = torch.Generator().manual_seed(0)
    views, channels = 200_000, 3
    z = torch.randn(1, views, channels, generator=generator)
    noise = torch.randn(1, views, channels, generator=generator)
    g = (rho * z + (1 - rho**2) ** 0.5 * noise).unsqueeze(2)
    twice_information = -channels * np.log(1 - rho**2)  # 2 I(z; g) in nats
    for estimator in (gaussian_information, diagonal_information):
        assert float(estimator(z, g)) == pytest.approx(twice_information, abs=0.01)


def degenerate():
    Z, G = draw(16, 6)
    constant = torch.ones_like(Z)
    dead = Z.clone()
    dead[..., :3] = 0
    return {
        "constant features": (constant, G),
        "constant features and scores": (constant, torch.full_like(G, 1e-3)),
        "dead channels": (dead, G * (dead != 0).unsqueeze(2)),
        "saturated softmax": (Z, torch.zeros_like(G)),
        "nearly saturated softmax": (Z, G * 1e-18),
        "scores proportional to features": (Z, 1e-4 * Z.unsqueeze(2).expand_as(G)),
        "huge features": (Z * 1e6, Z.unsqueeze(2).expand_as(G) * 1e6),
        "all zero": (torch.zeros_like(Z), torch.zeros_like(G)),
        "one view": (Z[:, :1], G[:, :1]),
        "fewer views than channels": (Z[:, :4], G[:, :4]),
    }


@pytest.mark.parametrize("estimator", ESTIMATORS.values())
@pytest.mark.parametrize("case", degenerate())
def test_degenerate_input_stays_finite(estimator, case):
    assert torch.isfinite(estimator(*degenerate()[case])).all()


def test_rank_deficient_moments_agree_with_high_rank_formula():
    # two ways to the same determinant: through channels x channels, and through views x views
    Z, G = draw(4, 6)
    scores = gaussian_information(Z, G)
    for n in range(N):
        for c in range(C):
            z, g = Z[n].double().numpy(), G[n, :, c].double().numpy()
            expected = logdet(z) + logdet(g) - logdet(np.hstack([z, g]))
            assert float(scores[n, c]) == pytest.approx(expected, rel=1e-5)


def make_images(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 28, 28), dtype=torch.uint8, generator=generator)
    return Images(pixels, torch.zeros(count, dtype=torch.long), MNIST.source.mean, MNIST.source.std)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_labels_equal_a_plain_search_over_classes(name, monkeypatch):
    torch.manual_seed(0)
    network, images = MNIST.network(10), make_images(5)
    scales, views = MNIST.lengths[30], draw_views(12, (1, 28, 28), torch.Generator().manual_seed(3))
    inputs, labels = next(images.batches(5))
    one_pass = ForwardPass(network, inputs, scales)
    chosen = most_dependent_label(ESTIMATORS[name], network, scales, views)(one_pass, labels)

    expected = []
    for i in range(5):
        copies = views.of(inputs[i : i + 1]).squeeze(1)
        described = ForwardPass(network, copies, scales)
        G = torch.stack([described.scores(torch.full((12,), c)) for c in range(10)], dim=1)
        scores = dependence(name, described.features.unsqueeze(0), G.unsqueeze(0))
        expected.append(int(scores.argmax()))
    assert chosen.tolist() == expected

    # the bounds on memory do not show in the result
    monkeypatch.setattr("fisher_al.method.pseudo_labels.VIEWS_AT_ONCE", 24)
    monkeypatch.setattr("fisher_al.method.pseudo_labels.VIEWS_PER_PASS", 5)
    again = most_dependent_label(ESTIMATORS[name], network, scales, views)(one_pass, labels)
    assert torch.equal(again, chosen)


MEASURE_MEMORY = """
import resource, torch
from fisher_al.data.images import Images
from fisher_al.method.descriptors import describe
from fisher_al.method.information import gaussian_information
from fisher_al.method.pseudo_labels import most_dependent_label
from fisher_al.method.views import draw_views
from mnist.experiment import MNIST

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # GB

before = peak()
pixels, labels = torch.zeros(200, 28, 28, dtype=torch.uint8), torch.zeros(200, dtype=torch.long)
images = Images(pixels, labels, MNIST.source.mean, MNIST.source.std)
network, scales = MNIST.network(10), MNIST.lengths[80]
views = draw_views(128, (1, 28, 28), torch.Generator().manual_seed(0))
rule = most_dependent_label(gaussian_information, network, scales, views)
describe(network, images, scales, 10**6, lambda one, labels: one.scores(rule(one, labels)))
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read as Linux reports it")
def test_memory_does_not_grow_with_views_times_images():
    # the scores of all views at once would take 8 GB in float32; a chunk takes what it takes for any pool
    done = subprocess.run([sys.executable, "-c", MEASURE_MEMORY], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 1
