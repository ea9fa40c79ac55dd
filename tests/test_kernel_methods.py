"""Descriptors of the methods in the Fisher kernel: which label S each one takes, and what stands where."""

import pytest
import torch
from naive import dependence, lenet_descriptor, standardised

from fisher_al.data.images import Images
from fisher_al.method.descriptors import ForwardPass
from fisher_al.method.question import descriptors_of, question
from fisher_al.method.registry import METHODS
from fisher_al.method.views import draw_views
from mnist.experiment import MNIST

SCALES, VIEWS = MNIST.lengths[30], 12
WIDTHS = (10, 20)
COUNT = 9


@pytest.fixture(scope="module")
def iteration():
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (2, COUNT, 28, 28), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 10, (2, COUNT), generator=generator)
    source = MNIST.source
    pool, validation = (Images(*part, source.mean, source.std) for part in zip(pixels, labels, strict=True))
    return question(
        MNIST.network(10).eval(),
        pool,
        validation,
        3,
        0,
        num_classes=10,
        scales=SCALES,
        batch_size=4,
        mc_samples=VIEWS,
    )


def described(iteration, images, labels):
    """z and g (n, L, 2) of these labels, image by image in float64."""
    network = iteration.load_network(0)
    found = [
        torch.stack(lenet_descriptor(network, images[i : i + 1][0], int(label), SCALES), dim=1)
        for i, label in enumerate(labels)
    ]
    return torch.stack(found)


def kernel_rows(descriptors):
    """(n, L) or (n, L, 2) as rows whose products are the similarity: every scale standardised by itself."""
    columns = descriptors.unsqueeze(2) if descriptors.dim() == 2 else descriptors
    parts = [standardised(part) for column in columns.unbind(2) for part in column.split(WIDTHS, dim=1)]
    return torch.cat(parts, dim=1)


def most_dependent(iteration, name):
    """Class by class, over the views that the method draws."""
    network, images = iteration.load_network(0), iteration.pool
    views = draw_views(VIEWS, (1, 28, 28), iteration.generator("views"))
    labels = []
    for i in range(COUNT):
        one_pass = ForwardPass(network, views.of(images[i : i + 1][0]).squeeze(1), SCALES)
        Z, G = one_pass.features.unsqueeze(0), one_pass.class_scores().unsqueeze(0)
        labels.append(int(dependence(name, Z, G).argmax()))
    return torch.tensor(labels)


def labels_by_definition(iteration, name):
    """S of the pool, and of the validation images."""
    pool, validation = iteration.pool, iteration.validation
    network = iteration.load_network(0)
    predicted = [network(images[:][0]).argmax(1) for images in (pool, validation)]
    if name == "gradAbl":
        return pool.labels, validation.labels
    if name == "grad":
        return predicted
    if name in ("gradFmap", "gradGmap"):
        compared = 0 if name == "gradFmap" else slice(0, 2)
        rows = [
            kernel_rows(described(iteration, images, labels)[..., compared])
            for images, labels in zip((pool, validation), predicted, strict=True)
        ]
        return validation.labels[(rows[0] @ rows[1].T).argmax(1)], validation.labels
    return most_dependent(iteration, name), None


NAMES = ("gradAbl", "grad", "gradFmap", "gradGmap", "cor", "amiFull", "amiDiag")


@pytest.fixture(scope="module")
def labels_of(iteration):
    """S of pool and validation images by method, which no two methods agree on."""
    labels = {name: labels_by_definition(iteration, name) for name in NAMES}
    assert len({tuple(of_pool.tolist()) for of_pool, _ in labels.values()}) == len(NAMES)
    return labels


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_those_of_the_label_that_the_method_is_named_after(iteration, labels_of, name):
    found = descriptors_of(METHODS[name], iteration, in_memory=True)
    of_pool, of_validation = labels_of[name]
    expected = described(iteration, iteration.pool, of_pool)
    torch.testing.assert_close(found.pool[0].double(), expected, atol=1e-5, rtol=1e-3)
    if of_validation is not None:
        expected = described(iteration, iteration.validation, of_validation)
        torch.testing.assert_close(found.validation[..., :2].double(), expected, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("name", ["gradFmap", "gradGmap"])
def test_validation_has_scores_of_both_labels_and_the_label(iteration, name):
    found = descriptors_of(METHODS[name], iteration, in_memory=True).validation
    images = iteration.validation
    predicted = iteration.load_network(0)(images[:][0]).argmax(1)
    expected = described(iteration, images, predicted)[..., 1]
    torch.testing.assert_close(found[..., 2].double(), expected, atol=1e-5, rtol=1e-3)
    assert found[:, 0, 3].tolist() == images.labels.tolist()
    assert not found[:, 1:, 3].any()


def test_features_alone_have_no_scores(iteration):
    found = descriptors_of(METHODS["none"], iteration, in_memory=True)
    for images, content in ((iteration.pool, found.pool[0]), (iteration.validation, found.validation)):
        expected = described(iteration, images, images.labels)[..., 0]
        torch.testing.assert_close(content[..., 0].double(), expected, atol=1e-5, rtol=1e-4)
        assert not content[..., 1].any()
