"""How networks are trained and looked at: modes, batches, passes, precision."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from test_own_network import network, sets  # noqa: F401, fixtures
from test_training import make_images
from test_uncertainty import make_iteration

from fisher_al import METHODS, Images, UserError, pick_images
from fisher_al.data.features import Features
from fisher_al.method.linear_head import LinearHead
from fisher_al.method.question import descriptors_of, question
from fisher_al.method.uncertainty import statistics_in_blocks
from fisher_al.training.fit import fit
from fisher_al.training.schedule import Schedule
from fisher_al.training.steps import Trainer
from mnist.experiment import MNIST


def test_statistics_are_of_training_alone():
    trained = torch.nn.Sequential(MNIST.network(10), torch.nn.BatchNorm1d(10))
    train, schedule = make_images(9, 0), Schedule(epochs=1, batch_size=4, learning_rate=0.01, milestones=())
    fit(trained, train, torch.arange(9), schedule, torch.Generator().manual_seed(0), train)
    assert trained[1].num_batches_tracked == 3


@pytest.mark.parametrize("name", ["varMC", "margin", "none", "gradFmap", "similar"])
def test_networks_are_looked_at_in_eval_mode(name, sets, network):  # noqa: F811
    method, scales = METHODS[name], tuple(network.scales)
    iteration = question(network, *sets, 9, 0, num_classes=10, scales=scales, batch_size=64, mc_samples=4)

    def picks(is_training):
        now = replace(iteration, load_network=lambda member: deepcopy(network).train(is_training))
        return method.pick(now, torch.arange(0), descriptors_of(method, now, in_memory=True)).tolist()

    assert picks(True) == picks(False)


def test_batches_are_as_large_as_asked_for(sets, network):  # noqa: F811
    seen = []
    network.module.flat.register_forward_hook(lambda layer, inputs, output: seen.append(len(output)))
    pick_images(network, *sets, 5, "margin", batch_size=7)
    assert max(seen) == 7


def test_fewer_passes_than_members_or_than_fit_a_batch():
    iteration = replace(make_iteration(6), ensemble_size=2, mc_samples=1, describe_batch_size=1)
    assert torch.cat(list(METHODS["varMC"].describe(iteration, 0).pool)).shape == (6, 10, 2)


def test_more_passes_than_fit_a_batch():
    iteration = replace(make_iteration(6), mc_samples=8, describe_batch_size=1)
    assert torch.cat(list(METHODS["varMC"].describe(iteration, 0).pool)).shape == (6,)


def test_passes_are_of_their_own_image():
    rows = 3 * torch.randn(7, 4, generator=torch.Generator().manual_seed(0))
    head = LinearHead(torch.eye(4), torch.zeros(4))  # without dropout, all passes are alike
    statistics = METHODS["varMC"].statistics
    blocks = statistics_in_blocks(head, Features(rows.numpy()), statistics, 8, 24, torch.Generator())
    torch.testing.assert_close(torch.cat(list(blocks))[..., 1], rows.softmax(1))


@pytest.mark.parametrize("precision", [torch.bfloat16, None])
def test_steps_are_in_the_precision_that_is_asked_for(precision):
    trained, seen = MNIST.network(4), []
    trained.fc2.register_forward_hook(lambda layer, inputs, logits: seen.append(logits.dtype))
    trainer = Trainer(trained, MNIST.training, precision)
    trainer.step(torch.zeros(2, 1, 28, 28), torch.zeros(2, dtype=torch.long))
    assert seen == [precision or torch.float32]


def test_gradients_in_float16_are_scaled():
    assert Trainer(MNIST.network(4), MNIST.training, torch.float16)._scaler.is_enabled()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("method", ["cor", "gradShift", "badge", "gradFmap"])
def test_networks_of_other_precision_pick_what_theirs_in_float32_does(method, dtype, sets, network):  # noqa: F811
    other = deepcopy(network).to(dtype)
    own = dict.fromkeys(weight.dtype for weight in other.parameters())
    picks = pick_images(other, *sets, 5, method, mc_samples=3).tolist()
    assert picks == pick_images(deepcopy(other).float(), *sets, 5, method, mc_samples=3).tolist()
    assert dict.fromkeys(weight.dtype for weight in other.parameters()) == own


def test_images_of_other_precision_are_picked_from_in_float32(sets, network):  # noqa: F811
    inputs = [(images[:][0].permute(0, 2, 3, 1), images.labels) for images in sets]
    doubled = [Images(pixels.double(), labels, 0.0, 1.0) for pixels, labels in inputs]
    assert doubled[0][:1][0].dtype == torch.float64
    picks = pick_images(network, *doubled, 5, "gradShift").tolist()
    assert picks == pick_images(network, *sets, 5, "gradShift").tolist()


def test_what_is_not_finite_is_told(sets, network):  # noqa: F811
    with pytest.raises(UserError, match=r"images \(2, 8, 8\): hold NaN or infinity"):
        Images(torch.full((2, 8, 8), torch.nan), None, 0.5, 0.5)
    torch.nn.init.constant_(network.module.classifier.bias, torch.inf)
    with pytest.raises(UserError, match=r"network: its module\.classifier\.bias holds NaN or infinity"):
        pick_images(network, *sets, 5)
