"""Descriptors against plain autograd on single images in float64."""

import pytest
import torch
from naive import lenet_descriptor

from fisher_al.data.images import Images
from fisher_al.method.descriptors import ForwardPass, describe, residuals
from fisher_al.method.pseudo_labels import nearest_validation_label, predicted_label, true_label
from mnist.experiment import MNIST


@pytest.fixture
def network():
    torch.manual_seed(0)
    return MNIST.network(10)


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (11, 28, 28), dtype=torch.uint8, generator=generator)
    return Images(
        pixels, torch.randint(0, 10, (11,), generator=generator), MNIST.source.mean, MNIST.source.std
    )


@pytest.mark.parametrize("length", [10, 20, 30, 80, 90])
def test_pooled_scores_equal_single_image_autograd(network, images, length):
    scales = MNIST.lengths[length]
    described = describe(network, images, scales, 4, lambda p, labels: p.scores(labels))
    assert described.shape == (11, length, 2)
    for i, (image, label) in enumerate(images.batches(1)):
        z, g = lenet_descriptor(network, image, int(label), scales)
        torch.testing.assert_close(described[i, :, 0].double(), z, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(described[i, :, 1].double(), g, atol=1e-7, rtol=1e-3)


def test_batch_size_and_several_labels_do_not_mix_images(network, images):
    scales = MNIST.lengths[80]
    channels = [lambda p, labels: p.scores(labels), lambda p, labels: p.scores(predicted_label(p, labels))]
    whole = describe(network, images, scales, 11, *channels)
    single = describe(network, images, scales, 1, *channels)
    assert whole.shape == (11, 80, 3)
    torch.testing.assert_close(whole, single, atol=1e-6, rtol=1e-4)
    assert not torch.allclose(whole[..., 1], whole[..., 2])


def test_label_rules(network, images):
    inputs, labels = next(images.batches(11))
    one_pass = ForwardPass(network, inputs, MNIST.lengths[30])
    assert torch.equal(true_label(one_pass, labels), labels)
    assert torch.equal(predicted_label(one_pass, labels), network(inputs).argmax(1))


def test_nearest_validation_label_by_double_loop(network, images):
    inputs, labels = next(images.batches(11))
    widths = (10, 20, 50)
    one_pass = ForwardPass(network, inputs, ("conv1", "conv2", "fc1"))
    generator = torch.Generator().manual_seed(2)
    validation = torch.rand(40, 80, generator=generator)
    validation_labels = torch.randint(0, 10, (40,), generator=generator)

    def similarity(a, b):
        total, start = 0.0, 0
        for width in widths:
            x, y = (v[start : start + width].double() for v in (a, b))
            x, y = ((v - v.mean()) / (v.std() + 1e-10) for v in (x, y))
            total, start = total + float((x * y).sum()), start + width
        return total

    expected = [
        int(validation_labels[max(range(40), key=lambda j: similarity(features, validation[j]))])
        for features in one_pass.features
    ]
    rule = nearest_validation_label(validation, validation_labels, widths)
    assert rule(one_pass, labels).tolist() == expected


@pytest.mark.parametrize("scale", [1, 20, 100])
def test_directions_of_scores_are_not_lost_where_the_network_is_sure(scale):
    logits = scale * torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    labels = logits.argmax(1)
    others = logits.double().softmax(1).scatter(1, labels[:, None], 0)
    expected = others.scatter(1, labels[:, None], -others.sum(1, keepdim=True))
    found = residuals(logits, labels).double()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-38)  # below that there is no float32


class WithoutClosedForm(torch.nn.Module):
    """The same network for those that have no closed form: gradients come from autograd."""

    closed_form_scales = frozenset()

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images, tap):
        return self.network(images, tap)


@pytest.mark.parametrize("length", [10, 20, 30, 80, 90])
def test_class_scores_equal_the_scores_of_each_class(network, images, length):
    inputs, _ = next(images.batches(11))
    scales = MNIST.lengths[length]
    for model in (network, WithoutClosedForm(network)):
        one_pass = ForwardPass(model, inputs, scales)
        every = one_pass.class_scores()
        assert every.shape == (11, 10, length)
        for label in range(10):
            _, g = lenet_descriptor(network, inputs[3:4], label, scales)
            torch.testing.assert_close(every[3, label].double(), g, atol=1e-7, rtol=1e-3)
            scores = one_pass.scores(torch.full((11,), label))
            torch.testing.assert_close(every[:, label], scores, atol=1e-7, rtol=1e-4)
