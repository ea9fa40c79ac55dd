"""Training: schedule, evaluation, which epoch is kept, and rotations."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fisher_al.data.images import Images
from fisher_al.errors import UserError
from fisher_al.method.network import seeded_network
from fisher_al.method.predictions import predict
from fisher_al.training.evaluation import BestSoFar, evaluate
from fisher_al.training.fit import TrainingBatches, divergence, fit
from fisher_al.training.objectives import classification, rotation
from fisher_al.training.schedule import Schedule
from fisher_al.training.steps import Replayed
from mnist.experiment import MNIST


def make_images(count, seed, device="cpu"):
    """Images of three classes that differ in which third is bright."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (count,), generator=generator)
    pixels = torch.randint(0, 60, (count, 28, 28), generator=generator)
    for pixel, label in zip(pixels, labels, strict=True):
        pixel[9 * label : 9 * label + 9] += 150
    return Images(pixels.to(torch.uint8), labels, MNIST.source.mean, MNIST.source.std, device)


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
    accuracies = [evaluate(reference, test)]
    for epoch in (1, 2, 3):
        shuffled = chosen[torch.randperm(10, generator=order)]
        for batch in (shuffled[:8], shuffled[8:]):
            loss = F.cross_entropy(reference(inputs[batch]), labels[batch])
            gradients = torch.autograd.grad(loss, list(reference.parameters()))
            with torch.no_grad():
                for (name, weight), gradient in zip(reference.named_parameters(), gradients, strict=True):
                    momentum[name] = 0.5 * momentum[name] + gradient + 1e-3 * weight
                    weight -= (0.05 if epoch < 3 else 0.005) * momentum[name]
        accuracies.append(evaluate(reference, test))

    result = fit(network, train, chosen, schedule, torch.Generator().manual_seed(7), test)
    best = max(accuracies)
    expected = {"acc": best, "acc_last": accuracies[-1]}
    assert result.accuracies == pytest.approx(expected)
    assert result.epoch == accuracies.index(best)
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
        schedule,
        torch.Generator().manual_seed(0),
        test,
        validation,
        on_epoch=lambda epoch, accuracy: seen.append((epoch, accuracy)),
    )
    assert [epoch for epoch, _ in seen] == list(range(9))
    assert seen[-1][1] == max(accuracy for _, accuracy in seen) == result.acc > 80
    assert seen[result.epoch][1] == result.acc > seen[result.epoch - 1][1]
    best = MNIST.network(10)
    best.load_state_dict(result.state_dict)
    assert evaluate(best, test) == result.acc
    assert evaluate(network, test) == result.acc_last


def test_training_that_only_harms_keeps_epoch_zero(network):
    images = make_images(60, 0)
    good = Schedule(epochs=10, batch_size=10, learning_rate=0.05, milestones=())
    generator = torch.Generator().manual_seed(0)
    fit(network, images, torch.arange(60), good, generator, images)
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    bad = Schedule(epochs=2, batch_size=10, learning_rate=1e4, milestones=())
    accuracy = evaluate(network, images)
    result = fit(network, images, torch.arange(60), bad, generator, images)
    assert result.epoch == 0
    assert result.acc == accuracy > result.acc_last
    assert all(torch.equal(weight, before[name]) for name, weight in result.state_dict.items())


class Scripted(torch.nn.Module):
    """A network that is sure of given predictions, one per image; images are told apart by their mean."""

    def __init__(self, images, predictions, sureness=1.0):
        super().__init__()
        logits = F.one_hot(predictions, 3) * torch.as_tensor(sureness).view(-1, 1)
        self.logits = {float(image.mean()): row for image, row in zip(images, logits, strict=True)}
        self.seen = 0

    def forward(self, inputs):
        self.seen += len(inputs)
        return torch.stack([self.logits[float(image.mean())] for image in inputs])


@pytest.mark.parametrize("objective", [classification, rotation])
def test_best_so_far_equals_whole_passes(objective):
    images = make_images(50, 0)
    rest = BestSoFar(images, objective, batch_size=7)
    networks = [MNIST.network(4) for _ in range(30)]
    inputs, labels = objective(*images[:])
    accuracies = [100 * int((net(inputs).argmax(1) == labels).sum()) / len(labels) for net in networks]
    assert len(set(accuracies)) > 3
    for i, network in enumerate(networks):
        found = rest.accuracy(network, to_the_end=i % 5 == 4)
        is_best = i == 0 or accuracies[i] > max(accuracies[:i])
        assert rest.improved == is_best
        assert found == accuracies[i] or (found is None and not is_best and i % 5 != 4)


def test_a_network_that_is_not_the_best_is_found_out_early():
    images = make_images(60, 0)
    inputs, labels = images[:]
    right, half = labels.clone(), labels.clone()
    half[30:] = (half[30:] + 1) % 3
    best = BestSoFar(images, batch_size=10)
    assert best.accuracy(Scripted(inputs, half)) == 50
    again = Scripted(inputs, half)
    assert best.accuracy(again) is None
    assert again.seen == 30  # the misclassified half came first
    perfect = Scripted(inputs, right)
    assert best.accuracy(perfect) == 100
    assert perfect.seen == 60


def test_images_that_were_nearly_missed_are_looked_at_early():
    images = make_images(60, 0)
    inputs, labels = images[:]
    some, others = labels.clone(), labels.clone()
    some[:10] = (some[:10] + 1) % 3
    others[40:50] = (others[40:50] + 1) % 3
    sureness = torch.ones(60)
    sureness[40:50] = 0.1
    best = BestSoFar(images, batch_size=10)
    best.accuracy(Scripted(inputs, some, sureness))
    again = Scripted(inputs, others)
    assert best.accuracy(again) is None
    assert again.seen == 20  # those that were missed, and then these


def test_accuracy_is_of_the_epoch_best_on_validation(network):
    train, test, validation = make_images(60, 0), make_images(200, 1), make_images(41, 2)
    schedule = Schedule(epochs=6, batch_size=10, learning_rate=0.02, milestones=())

    def result(epochs):
        copied = MNIST.network(10)
        copied.load_state_dict(network.state_dict())
        shortened, generator = replace(schedule, epochs=epochs), torch.Generator().manual_seed(0)
        result = fit(copied, train, torch.arange(60), shortened, generator, test, validation)
        return result, evaluate(copied, test), evaluate(copied, validation)

    _, tests, validations = zip(*map(result, range(7)), strict=True)
    found, _, _ = result(6)
    assert found.acc == max(tests)
    assert found.acc_last == tests[-1]
    assert found.acc_val == tests[validations.index(max(validations))]


def test_one_image_left_over_is_joined_by_the_first():
    normalised = torch.nn.Sequential(MNIST.network(10), torch.nn.BatchNorm1d(10))
    train, schedule = make_images(9, 0), Schedule(epochs=1, batch_size=4, learning_rate=0.01, milestones=())
    generator = torch.Generator().manual_seed(0)
    batches = TrainingBatches(normalised, train, torch.arange(9), 4, generator)
    order = torch.tensor([8, 3, 1, 0, 2, 7, 6, 5, 4])
    assert [batch.tolist() for batch in batches.split(order)] == [[8, 3, 1, 0], [2, 7, 6, 5], [4, 8]]
    fit(normalised, train, torch.arange(9), schedule, generator, train)
    with pytest.raises(UserError, match="every process needs 2"):
        fit(normalised, train, torch.arange(1), schedule, generator, train)


def test_every_process_has_images_of_every_batch(monkeypatch):
    monkeypatch.setattr("fisher_al.training.fit.process_count", lambda: 3)
    for left_over in range(1, 8):
        order = torch.arange(8 + left_over)
        batches = TrainingBatches(
            MNIST.network(10), make_images(16, 0), order, 8, torch.Generator().manual_seed(0)
        ).split(order)
        assert all(3 <= len(batch) <= 8 for batch in batches)
        assert torch.cat(batches).unique().tolist() == order.tolist()


def test_evaluate_and_predict_do_not_depend_on_batch_size(network):
    images = make_images(37, 0)
    predictions = predict(network, images, 37)
    assert torch.equal(predict(network, images, 5), predictions)
    expected = 100 * (predictions == images.labels).float().mean().item()
    assert evaluate(network, images, 5) == pytest.approx(expected)


def test_rotation_shows_all_four_copies():
    inputs = torch.rand(3, 1, 28, 28)
    turned, quarters = rotation(inputs, torch.zeros(3))
    assert turned.shape == (12, 1, 28, 28)
    for copy, quarter, i in zip(turned, quarters, [0, 1, 2] * 4, strict=True):
        assert np.array_equal(copy[0].numpy(), np.rot90(inputs[i, 0].numpy(), int(quarter)))
    assert quarters.bincount().tolist() == [3, 3, 3, 3]


def test_a_diverged_network_stops_with_its_epoch(network):
    train, test = make_images(40, 0), make_images(30, 1)
    schedule = Schedule(epochs=3, batch_size=8, learning_rate=0.05, milestones=(2,))
    network.fc1.weight.data *= 1e30
    epochs = []
    diverged = fit(
        network,
        train,
        torch.arange(20),
        schedule,
        torch.Generator().manual_seed(2),
        test,
        on_epoch=lambda epoch, _: epochs.append(epoch),
    )
    assert (diverged.diverged_in, epochs) == (1, [0, 1])  # the other epochs are not trained
    assert divergence("run0 b=1", replace(diverged, diverged_in=2), schedule).startswith(
        "run0 b=1: the loss became NaN or infinite in epoch 2 at learning rate 0.005; "
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_replayed_steps_equal_launched_ones(monkeypatch):
    """With batches of two sizes, and a learning rate that drops."""
    replays = []
    replay = torch.cuda.CUDAGraph.replay
    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", lambda graph: (replays.append(1), replay(graph)))
    schedule = Schedule(epochs=4, batch_size=8, learning_rate=0.05, milestones=(3,))
    train, test = make_images(42, 0, "cuda"), make_images(30, 1, "cuda")
    states, results = [], []
    for replayed in (False, True):
        network = seeded_network(MNIST.network, 10, 0).cuda()
        generator = torch.Generator().manual_seed(7)
        result = fit(network, train, torch.arange(42), schedule, generator, test, replay=replayed)
        states.append(network.state_dict())
        results.append(result.accuracies)
    assert len(replays) == 4 * 5 - Replayed.WARM_UP
    assert results[0] == results[1]
    torch.testing.assert_close(*states, atol=1e-6, rtol=1e-5)
