"""Tapped modules: against TappedResNet, the LeNet and plain autograd."""

from collections import OrderedDict
from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import mobilenet_v2, mobilenet_v3_small, resnet18

from fisher_al.data.images import Images
from fisher_al.errors import UserError
from fisher_al.method.descriptors import ForwardPass
from fisher_al.method.registry import METHODS
from fisher_al.method.resnet import TappedResNet
from fisher_al.method.tapped import Tapped
from fisher_al.method.uncertainty import statistics_in_blocks
from fisher_al.training.checkpoints import load_weights
from mnist.custom_models.lenet import LeNet

LAYERS = {"layer1": 64, "layer2": 128, "layer3": 256, "layer4": 512}


def settled(network):
    """The network in eval mode, with biases and batch-norm statistics as after some training."""
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = 1.0
                layer.bias.normal_(0, 0.1)
        network.train()(torch.randn(64, 3, 32, 32))
    return network.eval()


def assert_same(found, expected, network, scales):
    """Descriptors (..., L) agree to 1e-4 of the largest value of each scale, whose sizes differ much."""
    widths = [network.scales[name] for name in scales]
    assert found.shape == expected.shape
    parts = (descriptors.double().split(widths, -1) for descriptors in (found, expected))
    for part, wanted in zip(*parts, strict=True):
        assert wanted.abs().max() > 0
        assert (part - wanted).abs().max() <= 1e-4 * wanted.abs().max()


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def mobilenet(build=mobilenet_v2):
    """A narrow MobileNet of 5 classes; features.0.1 is a batch-norm right below an in-place activation."""
    module = settled(build(num_classes=5, width_mult=0.25))
    scales = {
        "features.0.1": module.features[0][1].num_features,
        "features.6": 8 if build is mobilenet_v2 else 16,
        "pooled": module.classifier[-1].in_features,
    }
    return Tapped(module, scales, head=f"classifier.{len(module.classifier) - 1}")


@pytest.mark.parametrize("scales", [("layer3", "pooled"), (*LAYERS, "pooled", "fc")])
def test_same_as_tapped_resnet(scales):
    known = settled(TappedResNet((2, 2, 2, 2), 7))
    plain = resnet18(num_classes=7)
    plain.load_state_dict(known.state_dict())
    tapped = Tapped(plain.eval(), {**LAYERS, "pooled": 512, "fc": 7}, head="fc")
    assert tapped.scales == known.scales
    images, labels = torch.randn(6, 3, 32, 32), torch.tensor([0, 6, 2, 2, 5, 1])
    expected, found = ForwardPass(known, images, scales), ForwardPass(tapped, images, scales)
    torch.testing.assert_close(found.logits, expected.logits)
    assert_same(found.features, expected.features, known, scales)
    assert_same(found.scores(labels), expected.scores(labels), known, scales)
    assert_same(found.class_scores(), expected.class_scores(), known, scales)


def plain_descriptor(module, image, label, scales):
    """One image's z and g of a MobileNet, spelled out without hooks."""
    convolution, norm, activation = module.features[0]
    tapped = {"features.0.1": norm(convolution(image))}
    tapped["features.6"] = module.features[1:7](activation(tapped["features.0.1"].clone()))
    hidden = module.features[7:](tapped["features.6"]).mean((2, 3))
    tapped["pooled"] = module.classifier[:-1](hidden)
    loss = F.cross_entropy(module.classifier[-1](tapped["pooled"]), label)
    gradients = torch.autograd.grad(loss, [tapped[name] for name in scales])
    values = [tapped[name] for name in scales]
    return (torch.cat([v.reshape(v.shape[1], -1).mean(1) for v in part]) for part in (values, gradients))


@pytest.mark.parametrize("build", [mobilenet_v2, mobilenet_v3_small])
@pytest.mark.parametrize("scales", [("features.0.1", "features.6", "pooled"), ("features.6",), ("pooled",)])
def test_scores_equal_single_image_autograd(build, scales):
    network = mobilenet(build).requires_grad_(False).to(memory_format=torch.channels_last)
    images, labels = torch.randn(4, 3, 32, 32), torch.tensor([3, 1, 4, 1])
    one_pass = ForwardPass(network, images.contiguous(memory_format=torch.channels_last), scales)
    scores, every = one_pass.scores(labels), one_pass.class_scores()
    assert scores.shape == (4, sum(network.scales[name] for name in scales))
    exact = deepcopy(network.module).double().requires_grad_(True)
    for i in range(4):
        z, g = plain_descriptor(exact, images[i : i + 1].double(), labels[i : i + 1], scales)
        assert_same(one_pass.features[i], z, network, scales)
        assert_same(scores[i], g, network, scales)
        assert_same(every[i, labels[i]], g, network, scales)


@pytest.mark.parametrize("scales", [("conv1", "conv2", "fc1", "fc2"), ("conv1", "fc1"), ("conv2",)])
def test_closed_forms_of_the_lenet(scales):
    lenet = LeNet().eval()
    blocks = {
        "conv1": nn.Sequential(lenet.conv1, nn.MaxPool2d(2), nn.ReLU(inplace=True)),
        "conv2": nn.Sequential(lenet.conv2, nn.MaxPool2d(2), nn.ReLU(inplace=True)),
        "flat": nn.Flatten(),
        "fc1": nn.Sequential(lenet.fc1, nn.ReLU(inplace=True)),
        "fc2": lenet.fc2,
    }
    twin = Tapped(nn.Sequential(OrderedDict(blocks)), lenet.scales, head="fc2")
    images, labels = torch.randn(9, 1, 28, 28), torch.randint(0, 10, (9,))
    closed, autograd = ForwardPass(lenet, images, scales), ForwardPass(twin, images, scales)
    torch.testing.assert_close(closed.logits, autograd.logits)
    assert_same(closed.features, autograd.features, twin, scales)
    assert_same(closed.scores(labels), autograd.scores(labels), twin, scales)
    assert_same(closed.class_scores(), autograd.class_scores(), twin, scales)


class Branches(nn.Module):
    """Two convolutions side by side, neither below the other; the head's input is their sum."""

    def __init__(self):
        super().__init__()
        self.left, self.right, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

    def forward(self, images):
        left = self.left(images)
        left += self.right(images).square()
        return self.head(left.mean((2, 3)))


def test_scales_side_by_side():
    network = Tapped(Branches(), {"left": 4, "right": 4}, head="head").requires_grad_(False)
    images, labels = torch.randn(2, 3, 8, 8), torch.tensor([4, 0])
    scores = ForwardPass(network, images, ("left", "right")).scores(labels)
    right = network.module.right(images)
    residual = network(images).softmax(1) - F.one_hot(labels, 5)
    gradient = (residual @ network.module.head.weight)[:, :, None, None] / right[0, 0].numel()
    expected = [(gradient * slope).mean((2, 3)) for slope in (torch.ones_like(right), 2 * right)]
    torch.testing.assert_close(scores, torch.cat(expected, dim=1))


def test_what_the_tap_returns_goes_on_and_what_it_saw_stays():
    network = mobilenet()
    images = torch.randn(2, 3, 32, 32)
    seen, before = {}, {}

    def tap(name, activation):
        seen[name], before[name] = activation, activation.clone()
        return activation

    assert torch.equal(network(images, tap), network(images))
    assert {name: activation.shape[1] for name, activation in seen.items()} == network.scales
    assert all(torch.equal(seen[name], before[name]) for name in seen)
    for scale in network.scales:
        logits = network(images, lambda name, a, scale=scale: torch.zeros_like(a) if name == scale else a)
        torch.testing.assert_close(logits[0], logits[1])
        assert not torch.allclose(logits, network(images))


def test_a_copy_and_another_head():
    network = mobilenet()
    twin = deepcopy(network)
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(twin(images), network(images))
    assert all(name.startswith("module.") for name in network.state_dict())
    fresh = Tapped(mobilenet_v2(num_classes=9, width_mult=0.25), {}, head="classifier.1").eval()
    head = fresh.get_submodule(fresh.head).weight.clone()
    load_weights(fresh, network.state_dict(), "pretrained", kept=(fresh.head,))
    assert torch.equal(fresh.module.features(images), network.module.features(images))
    assert torch.equal(fresh.get_submodule(fresh.head).weight, head)


def test_dropout_at_the_modules_own_layers():
    network, calls = mobilenet(), []

    def dropout(activation, probability):
        calls.append((tuple(activation.shape), probability))
        return torch.zeros_like(activation)

    images = torch.randn(2, 3, 32, 32)
    logits = network.above_dropout(network.below_dropout(images), dropout=dropout)
    assert calls == [((2, 1280), 0.2)]
    torch.testing.assert_close(logits, network.module.classifier[1].bias.expand(2, -1))


def colour_images(count):
    pixels = torch.randint(0, 256, (count, 32, 32, 3), dtype=torch.uint8)
    return Images(pixels, None, (0.5,) * 3, (0.25,) * 3)


def test_uncertainty_of_a_mobilenet():
    network, images = mobilenet(), colour_images(7)

    def statistics():
        generator = torch.Generator().manual_seed(3)
        return list(statistics_in_blocks(network, images, METHODS["stdMC"].statistics, 8, 32, generator))

    found = torch.cat(statistics())
    assert found.shape == (7, 5, 2)
    assert (found[..., 0] > 0).all()  # passes differ
    torch.testing.assert_close(found[..., 1].sum(1), torch.ones(7))
    assert torch.equal(torch.cat(statistics()), found)


def hooks_left(network):
    return sum(len(layer._forward_hooks) + len(layer._forward_pre_hooks) for layer in network.modules())


@pytest.mark.parametrize("module", [resnet18(num_classes=5), nn.Sequential(nn.Dropout(0.0), nn.Linear(3, 5))])
def test_uncertainty_needs_a_dropout_layer(module):
    network = Tapped(module, {}, head="fc" if hasattr(module, "fc") else "1")
    blocks = statistics_in_blocks(
        network, colour_images(2), METHODS["varMC"].statistics, 2, 4, torch.Generator().manual_seed(0)
    )
    with pytest.raises(UserError, match=f"{type(module).__name__} has no dropout layer"):
        next(blocks)
    assert hooks_left(network) == 0


@pytest.mark.parametrize(
    ("scales", "head", "message"),
    [
        ({"feature.6": 8}, "classifier.1", r"scale 'feature\.6': MobileNetV2 .* features\.6"),
        ({"": 5}, "classifier.1", "scale '': MobileNetV2 has no such layer"),
        ({"pooled": 1280}, "fc", "head 'fc': MobileNetV2 has no such layer; names that come close: "),
        ({"pooled": 1280}, "classifier", "head 'classifier': has no weights of its own"),
    ],
)
def test_names_that_are_not_there(scales, head, message):
    with pytest.raises(UserError, match=message):
        Tapped(mobilenet().module, scales, head)


class Odd(nn.Module):
    """A network of layers that cannot be tapped, on images as 16 tokens (N, 16, 48)."""

    def __init__(self):
        super().__init__()
        self.tokens, self.attention = nn.Linear(48, 8), nn.MultiheadAttention(8, 2, batch_first=True)
        self.relu, self.head = nn.ReLU(), nn.Linear(8, 5)

    def forward(self, images):
        tokens = self.tokens(F.unfold(images, 4, stride=4).mT)
        return self.head(self.relu(self.relu(self.attention(tokens, tokens, tokens)[0].mean(1))))


@pytest.mark.parametrize(
    ("scales", "message"),
    [
        ({"tokens": 8}, r"scale 'tokens': 8 channels are stated, .* shape \(2, 16, 8\)"),
        ({"pooled": 7}, r"scale 'pooled': 7 channels are stated, .* shape \(2, 8\)"),
        ({"pooled": 1}, "scale 'pooled': one channel alone cannot be compared"),
        ({"attention": 8}, "scale 'attention': the layer gives a tuple, not one tensor"),
        ({"relu": 8}, "scale 'relu': the layer runs more than once"),
        ({"pooled": 8, "attention.out_proj": 8}, "'attention.out_proj': the forward pass never calls"),
    ],
)
def test_layers_that_cannot_be_tapped(scales, message):
    network, images = Tapped(Odd(), scales, head="head"), torch.randn(2, 3, 16, 16)
    assert network(images).shape == (2, 5)
    with pytest.raises(UserError, match=message):
        ForwardPass(network, images, tuple(scales))
    assert hooks_left(network) == 0


def test_no_hook_is_left_behind():
    network = mobilenet()
    network.above_dropout(torch.randn(2, 3, 32, 32), lambda name, a: a, lambda a, probability: a)
    assert hooks_left(network) == 0
    with pytest.raises(RuntimeError, match="expected input"):
        ForwardPass(network, torch.randn(2, 1, 32, 32), ("features.6", "pooled"))
    assert hooks_left(network) == 0
