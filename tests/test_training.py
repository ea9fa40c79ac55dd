"""Training: schedule, evaluation, which epoch is kept, and the rotation task."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fisher_al.data import Images
from fisher_al.experiment import Schedule
from fisher_al.training import FitResult, classification, evaluate, fit, predict, rotation
from mnist.experiment import MNIST


def make_images(count, seed):
    """Images of three classes that differ in which third is bright."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (count,), generator=generator)
    pixels = torch.randint(0, 60, (count, 28, 28), generator=generator)
    for pixel, label in zip(pixels, labels, strict=True):
        pixel[9 * label : 9 * label + 9] += 150
    return Images(pixels.to(torch.uint8), labels, MNIST, "cpu")


@pytest.fixture
def network():
    torch.manual_seed(0)
    return MNIST.network(10)


def test_schedule_drops_at_milestones_counted_from_one():
    rates = [MNIST.training.learning_rate_at(epoch) for epoch in range(1, 51)]
    expected = [0.05] * 14 + [0.005] * 15 + [0.0005] * 15 + [0.00005] * 6
    assert rates == pytest.approx(expected)


def test_fit_equals_a_plain_loop(network):
    train, test = make_images(40, 0), make_images(30, 1)
    schedule = Schedule(epochs=3, batch_size=8, learning_rate=0.05, milestones=(3,), weight_decay=1e-3)
    chosen = torch.tensor([1, 5, 7, 20, 21, 22, 30, 31, 39, 2])

    reference = MNIST.network(10)
    reference.load_state_dict(network.state_dict())
    inputs, labels = next(train.batches(40))
    order = torch.Generator().manual_seed(7)
    momentum = {name: torch.zeros_like(weight) for name, weight in reference.named_parameters()}
    expected = [evaluate(reference, test)]
    for epoch in (1, 2, 3):
        shuffled = chosen[torch.randperm(10, generator=order)]
        for batch in (shuffled[:8], shuffled[8:]):
            loss = F.cross_entropy(reference(inputs[batch]), labels[batch])
            gradients = torch.autograd.grad(loss, list(reference.parameters()))
            with torch.no_grad():
                for (name, weight), gradient in zip(reference.named_parameters(), gradients, strict=True):
                    momentum[name] = 0.5 * momentum[name] + gradient + 1e-3 * weight
                    weight -= (0.05 if epoch < 3 else 0.005) * momentum[name]
        expected.append(evaluate(reference, test))

    result = fit(network, train, chosen, test, schedule, torch.Generator().manual_seed(7))
    assert result.test_accuracies == pytest.approx(expected)
    for name, weight in reference.named_parameters():
        torch.testing.assert_close(network.state_dict()[name], weight.detach(), atol=1e-5, rtol=1e-4)


def test_fit_learns_and_keeps_the_best_epoch(network):
    train, test, validation = make_images(60, 0), make_images(100, 1), make_images(50, 2)
    schedule = Schedule(epochs=8, batch_size=10, learning_rate=0.05, milestones=())
    seen = []
    result = fit(
        network,
        train,
        torch.arange(60),
        test,
        schedule,
        torch.Generator().manual_seed(0),
        validation=validation,
        on_epoch=lambda epoch, accuracy: seen.append((epoch, accuracy)),
    )
    assert seen == list(enumerate(result.test_accuracies))
    assert len(result.validation_accuracies) == 9
    assert result.accuracies["acc"] == max(result.test_accuracies) > 80
    best = MNIST.network(10)
    best.load_state_dict(result.state_dict)
    assert evaluate(best, test) == result.accuracies["acc"]


def test_training_that_only_harms_keeps_epoch_zero(network):
    images = make_images(60, 0)
    good = Schedule(epochs=10, batch_size=10, learning_rate=0.05, milestones=())
    fit(network, images, torch.arange(60), images, good, torch.Generator().manual_seed(0))
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    bad = Schedule(epochs=2, batch_size=10, learning_rate=1e4, milestones=())
    result = fit(network, images, torch.arange(60), images, bad, torch.Generator().manual_seed(0))
    assert result.epoch == 0
    assert result.accuracies["acc"] == result.test_accuracies[0] > result.accuracies["acc_last"]
    assert all(torch.equal(weight, before[name]) for name, weight in result.state_dict.items())


def test_reported_accuracies():
    result = FitResult({}, 2, [10.0, 50.0, 80.0, 70.0], [10.0, 60.0, 60.0, 55.0])
    assert result.accuracies == {"acc": 80.0, "acc_last": 70.0, "acc_val": 50.0}


def test_evaluate_and_predict_do_not_depend_on_batch_size(network):
    images = make_images(37, 0)
    predictions = predict(network, images, 37)
    assert torch.equal(predict(network, images, 5), predictions)
    expected = 100 * (predictions == images.labels).float().mean().item()
    assert evaluate(network, images, classification, 5) == pytest.approx(expected)


def test_rotation_shows_all_four_copies():
    inputs = torch.rand(3, 1, 28, 28)
    turned, quarters = rotation(inputs, torch.zeros(3))
    assert turned.shape == (12, 1, 28, 28)
    for copy, quarter, i in zip(turned, quarters, [0, 1, 2] * 4, strict=True):
        assert np.array_equal(copy[0].numpy(), np.rot90(inputs[i, 0].numpy(), int(quarter)))
    assert quarters.bincount().tolist() == [3, 3, 3, 3]
