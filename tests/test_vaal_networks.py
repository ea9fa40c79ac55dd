"""VAAL's networks, losses and picks against naive ones."""

import copy
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fisher_al.data.images import Images
from fisher_al.training.fit import EpochSelection
from fisher_al.training.objectives import classification
from mnist.experiment import DIGITS
from svhn.experiment import SVHN
from vaal.images import as_inputs, vae_images
from vaal.model import VAE, Discriminator, PairedBatchNorm, frozen_statistics
from vaal.protocol import PROTOCOLS, Protocol
from vaal.sampler import discriminator_outputs, pick
from vaal.solver import Adversaries, discriminator_loss, endless_batches, kl_divergence, train_round, vae_loss
from vaal.strided import DoublingConv, HalvingConv

SMALL = Protocol(
    batch_size=4, latent=6, vae_width=4, discriminator_width=16, beta=0.7, adversarial_weight=0.3
)


def networks(channels=1, size=32):
    torch.manual_seed(0)
    return VAE(channels, size, SMALL.vae_width, SMALL.latent), Discriminator(6, 16)


@pytest.mark.parametrize(("channels", "size"), [(1, 32), (3, 32), (3, 64), (1, 16)])
def test_shapes(channels, size):
    vae, discriminator = networks(channels, size)
    images = torch.rand(8, channels, size, size)
    reconstructions, mean, log_variance = vae(images, torch.randn(8, 6))
    assert reconstructions.shape == images.shape
    assert mean.shape == log_variance.shape == (8, 6)
    assert discriminator(mean).shape == (8,)
    assert len([layer for layer in discriminator if isinstance(layer, nn.Linear)]) == 5
    with pytest.raises(ValueError, match="multiple of 16"):
        VAE(channels, 28, 4, 6)


def test_channels_of_the_protocol():
    for name, widths in (("MNIST", [64, 128, 256, 512]), ("SVHN", [128, 256, 512, 1024])):
        vae = VAE(3, 32, PROTOCOLS[name].vae_width, PROTOCOLS[name].latent)
        assert [len(layer[0].weight) for layer in vae.encoder[:4]] == widths
        assert [len(layer[0].weight) for layer in vae.decoder[2:5]] == widths[:0:-1]
        assert vae.to_mean.out_features == 32


@pytest.mark.parametrize("size", [2, 4, 8, 16])  # on both sides of where the product takes over
def test_strided_convolutions_are_the_librarys(size):
    torch.manual_seed(0)
    halving, doubling = HalvingConv(3, 5).double(), DoublingConv(5, 3).double()
    kernels = [layer.weight.unflatten(1, (4, 4, 3)).permute(0, 3, 1, 2) for layer in (halving, doubling)]
    images = torch.randn(2, 3, size, size, dtype=torch.float64, requires_grad=True)
    coarse = torch.randn(2, 5, size // 2, size // 2, dtype=torch.float64, requires_grad=True)
    for layer, inputs, expected in (
        (halving, images, F.conv2d(images, kernels[0], stride=2, padding=1)),
        (doubling, coarse, F.conv_transpose2d(coarse, kernels[1], stride=2, padding=1)),
    ):
        found, direction = layer(inputs), torch.randn_like(expected)
        torch.testing.assert_close(found, expected)
        wanted = torch.autograd.grad(expected, (inputs, layer.weight), direction, retain_graph=True)
        torch.testing.assert_close(torch.autograd.grad(found, (inputs, layer.weight), direction), wanted)


def test_a_paired_batch_is_two_passes():
    vae = networks()[0].double()
    apart = copy.deepcopy(vae)
    for module in apart.modules():
        if isinstance(module, PairedBatchNorm):
            module.__class__ = nn.BatchNorm2d
    images, noise = torch.rand(8, 1, 32, 32, dtype=torch.float64), torch.randn(8, 6, dtype=torch.float64)
    found = vae(images, noise)
    expected = [apart(*part) for part in zip(images.chunk(2), noise.chunk(2), strict=True)]
    for output, parts in zip(found, zip(*expected, strict=True), strict=True):
        torch.testing.assert_close(output, torch.cat(parts))
    for mine, theirs in zip(vae.buffers(), apart.buffers(), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_losses_by_hand():
    mean = torch.tensor([[1.0, -2.0], [0.0, 0.0]], dtype=torch.float64)
    log_variance = torch.tensor([[0.0, math.log(4)], [0.0, 0.0]], dtype=torch.float64)
    # 1/2 (1 + 1 - 1 - 0) + 1/2 (4 + 4 - 1 - log 4), and that of the standard normal itself
    assert kl_divergence(mean, log_variance).tolist() == pytest.approx([4 - math.log(2), 0])
    images = torch.tensor([[0.0, 1.0], [1.0, 1.0]], dtype=torch.float64).view(2, 1, 1, 2)
    reconstructions = torch.tensor([[0.5, 1.0], [1.0, 0.0]], dtype=torch.float64).view(2, 1, 1, 2)
    logits = torch.tensor([0.0, math.log(3)], dtype=torch.float64)  # probabilities 1/2 and 3/4
    error = 0.25 / 2 + 1 / 2
    divergence = 4 - math.log(2) + 0  # one image each half
    fooled = math.log(2) + math.log(4 / 3)
    loss = vae_loss(images, reconstructions, mean, log_variance, logits, 0.7, 0.3)
    assert loss.item() == pytest.approx(error + 0.7 * divergence + 0.3 * fooled)
    assert discriminator_loss(logits).item() == pytest.approx(math.log(2) + math.log(4))


def test_each_step_leaves_the_other_network_alone():
    adversaries = Adversaries(*networks(), SMALL, torch.Generator().manual_seed(0))
    images = torch.rand(8, 1, 32, 32)
    both = adversaries.vae, adversaries.discriminator
    for step, (changed, untouched) in (
        (adversaries.step_vae, both),
        (adversaries.step_discriminator, both[::-1]),
    ):
        before = [copy.deepcopy(network.state_dict()) for network in (changed, untouched)]
        for parameter in untouched.parameters():
            parameter.grad = None
        step(images)
        assert all(parameter.grad is None for parameter in untouched.parameters())
        # batch-norm statistics included
        assert all(torch.equal(v, before[1][name]) for name, v in untouched.state_dict().items())
        assert not any(torch.equal(v, before[0][name]) for name, v in changed.state_dict().items())


def test_the_auto_encoder_steps_along_the_loss_of_the_protocol():
    vae, discriminator = networks()
    reference, images = copy.deepcopy(vae), torch.rand(8, 1, 32, 32)
    outputs = reference(images, torch.randn(8, 6, generator=torch.Generator().manual_seed(0)))
    loss = vae_loss(images, *outputs, discriminator(outputs[1]), beta=0.7, adversarial_weight=0.3)
    loss.backward()
    Adversaries(vae, discriminator, SMALL, torch.Generator().manual_seed(0)).step_vae(images)
    for found, expected in zip(vae.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad)


def test_a_round_alternates_as_the_protocol_says():
    """Two steps of the auto-encoder and three of the discriminator to one of the task network."""
    protocol = replace(SMALL, vae_steps=2, discriminator_steps=3, train_iterations=5, decays=5)
    pixels = torch.arange(20, dtype=torch.uint8).view(-1, 1, 1).expand(-1, 28, 28).contiguous()
    pool = Images(pixels, torch.arange(20) % 10, DIGITS.source.mean, DIGITS.source.std)
    labeled, seen, rates = torch.arange(6, 13), [], []

    class Spied(Adversaries):
        def step_vae(self, images):
            self.note("vae", images)

        def step_discriminator(self, images):
            self.note("discriminator", images)

        def note(self, name, images):
            halves = images.amax((1, 2, 3)).mul(255).round().long().chunk(2)
            assert set(halves[0].tolist()) <= set(labeled.tolist())
            assert not set(halves[1].tolist()) & set(labeled.tolist())
            assert [len(half) for half in halves] == [4, 4]
            seen.append(name)
            rates.append({group["lr"] for each in self.optimizers for group in each.param_groups})

    network = DIGITS.network(10)
    adversaries = Spied(*networks(), protocol, torch.Generator().manual_seed(0))
    selection = EpochSelection(pool, None, classification, 20)
    train_round(
        network,
        adversaries,
        pool,
        vae_images(pool, DIGITS.source.mean, DIGITS.source.std),
        labeled,
        selection,
        protocol,
        lambda *purpose: torch.Generator().manual_seed(1),
    )
    assert seen == (["vae"] * 2 + ["discriminator"] * 3) * 5
    assert rates == [{protocol.learning_rate_at(iteration)} for iteration in range(5) for _ in range(5)]
    assert len({rate for some in rates for rate in some}) == 5


def test_frozen_statistics_normalise_by_the_batch():
    vae, images = networks()[0], torch.rand(8, 1, 32, 32)
    with torch.no_grad():
        with frozen_statistics(vae):
            frozen = vae.encode(images)[0]
        assert torch.equal(vae.encode(images)[0], frozen)
        assert not torch.allclose(vae.eval().encode(images)[0], frozen)


def test_bf16_steps_in_the_same_direction():
    gradients = []
    for precision in ("float32", "bf16"):
        protocol = replace(SMALL, precision=precision)
        adversaries = Adversaries(*networks(), protocol, torch.Generator().manual_seed(0))
        adversaries.step_vae(torch.rand(64, 1, 32, 32, generator=torch.Generator().manual_seed(1)))
        gradients.append(torch.cat([p.grad.flatten() for p in adversaries.vae.parameters()]))
    assert F.cosine_similarity(*gradients, dim=0) > 0.99
    assert not torch.equal(*gradients)


def test_learning_rate_and_tests_of_the_protocol():
    assert [Protocol().learning_rate_at(i) for i in (0, 399, 400, 9_999)] == pytest.approx(
        [5e-4, 5e-4, 4.5e-4, 5e-4 * 0.9**24]
    )
    assert sorted(Protocol().tested) == [2_000, 4_000, 6_000, 8_000, 10_000]
    short = Protocol(train_iterations=7)
    assert short.learning_rate_at(6) == pytest.approx(5e-4 * 0.9**21)
    assert max(short.tested) == 7
    assert Protocol(train_iterations=2).tested == {1, 2}


def test_batches_are_whole_passes():
    indices = torch.tensor([3, 5, 8, 9, 11])
    batches = endless_batches(indices, 2, torch.Generator().manual_seed(0))
    drawn = torch.cat([next(batches) for _ in range(5)])
    assert drawn[:5].sort().values.equal(indices)
    assert drawn[5:].sort().values.equal(indices)
    assert next(endless_batches(indices, 12, torch.Generator())).unique().equal(indices)


def test_images_of_the_auto_encoder():
    pixels, labels = torch.randint(0, 256, (5, 28, 28), dtype=torch.uint8), torch.zeros(5, dtype=torch.long)
    small = vae_images(
        Images(pixels, labels, DIGITS.source.mean, DIGITS.source.std), DIGITS.source.mean, DIGITS.source.std
    )
    assert small.dtype == torch.uint8
    assert torch.equal(small, F.pad(pixels, (2, 2, 2, 2)).unsqueeze(1))
    colours = torch.randint(0, 256, (5, 32, 32, 3), dtype=torch.uint8)
    assert torch.equal(
        vae_images(
            Images(colours, labels, SVHN.source.mean, SVHN.source.std), SVHN.source.mean, SVHN.source.std
        ),
        colours.permute(0, 3, 1, 2),
    )
    large = torch.full((5, 64, 48, 3), 200, dtype=torch.uint8)
    assert vae_images(
        Images(large, labels, SVHN.source.mean, SVHN.source.std), SVHN.source.mean, SVHN.source.std
    ).unique().tolist() == [200]
    inputs = as_inputs(small)
    assert inputs.shape == (5, 1, 32, 32)
    assert inputs.max() == small.max() / 255


def test_picks_are_the_lowest_outputs_of_the_unlabeled():
    vae, discriminator = networks()
    vae(torch.rand(64, 1, 32, 32), torch.zeros(64, 6))  # running statistics to evaluate by
    images = torch.randint(0, 256, (400, 1, 32, 32), dtype=torch.uint8)
    unlabeled = torch.arange(0, 400, 1)[torch.arange(400) % 7 > 0]
    outputs = discriminator_outputs(vae, discriminator, images, unlabeled)
    precise, judge = copy.deepcopy(vae).double().eval(), copy.deepcopy(discriminator).double()
    naive = torch.stack([judge(precise.encode(images[i : i + 1].double() / 255)[0])[0] for i in unlabeled])
    torch.testing.assert_close(outputs.double(), naive, rtol=0, atol=1e-5)
    picks = pick(naive, unlabeled, 50)
    assert len(picks.unique()) == 50
    assert (picks % 7 > 0).all()
    rest = naive[~torch.isin(unlabeled, picks)]
    assert naive[torch.isin(unlabeled, picks)].max() <= rest.min()
