"""Training loops: classification on the labeled images, and the rotation pretext task."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fisher_al.data import Images
from fisher_al.experiment import Schedule

# Large enough to be efficient, small enough that a LeNet's activations stay in the processor's cache.
EVALUATION_BATCH_SIZE = 250

Task = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
ROTATIONS = 4


@dataclass
class FitResult:
    """Weights of the best epoch and accuracies (percent) per epoch, epoch 0 being before training."""

    state_dict: dict[str, Tensor]
    epoch: int
    test_accuracies: list[float] = field(default_factory=list)
    validation_accuracies: list[float] = field(default_factory=list)

    @property
    def accuracies(self) -> dict[str, float]:
        """The three ways to report: best test epoch (the paper's), last epoch, best validation epoch."""
        reported = {"acc": self.test_accuracies[self.epoch], "acc_last": self.test_accuracies[-1]}
        if self.validation_accuracies:
            best = max(self.validation_accuracies)
            reported["acc_val"] = self.test_accuracies[self.validation_accuracies.index(best)]
        return reported


def classification(inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The task of telling classes apart: inputs and labels as they are."""
    return inputs, labels


def rotation(inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The pretext task: all four copies of the inputs (4N, ...), turned by 0, 90, 180, 270 degrees; labels
    0-3 say by how many quarters (Gidaris et al., arXiv:1803.07728)."""
    turned = torch.cat([torch.rot90(inputs, quarters, dims=(2, 3)) for quarters in range(ROTATIONS)])
    quarters = torch.arange(ROTATIONS, device=inputs.device).repeat_interleave(len(inputs))
    return turned.contiguous(memory_format=torch.channels_last), quarters


def predict_probabilities(
    network: nn.Module, images: Images, batch_size: int = EVALUATION_BATCH_SIZE
) -> Tensor:
    """Softmax (N, C) of every image."""
    network.eval()
    with torch.inference_mode():
        return torch.cat([network(inputs).softmax(1) for inputs, _ in images.batches(batch_size)])


def predict(network: nn.Module, images: Images, batch_size: int = EVALUATION_BATCH_SIZE) -> Tensor:
    """Predicted class (N,) of every image."""
    return predict_probabilities(network, images, batch_size).argmax(1)


def evaluate(
    network: nn.Module, images: Images, task: Task = classification, batch_size: int = EVALUATION_BATCH_SIZE
) -> float:
    """Top-1 accuracy in percent."""
    network.eval()
    correct = torch.zeros((), dtype=torch.long, device=images.device)
    total = 0
    with torch.inference_mode():
        for batch in images.batches(batch_size):
            inputs, labels = task(*batch)
            correct += (network(inputs).argmax(1) == labels).sum()
            total += len(labels)
    return 100 * correct.item() / total


def fit(
    network: nn.Module,
    train: Images,
    chosen: Tensor,
    test: Images,
    schedule: Schedule,
    generator: torch.Generator,
    validation: Images | None = None,
    task: Task = classification,
    evaluation_batch_size: int = EVALUATION_BATCH_SIZE,
    on_epoch: Callable[[int, float], None] | None = None,
) -> FitResult:
    """Train `network` in place on the `chosen` images of `train` and keep the epoch that is best on `test`.

    chosen : (n,) indices into `train`, reshuffled every epoch by `generator`. Epoch 0, before training,
    counts as one of the epochs (the paper's protocol). `on_epoch(epoch, test accuracy)` reports progress.
    """
    network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=schedule.learning_rate,
        momentum=schedule.momentum,
        weight_decay=schedule.weight_decay,
        fused=True,
    )
    result = FitResult(copy.deepcopy(network.state_dict()), epoch=0)
    for epoch in range(schedule.epochs + 1):
        if epoch > 0:
            for group in optimizer.param_groups:
                group["lr"] = schedule.learning_rate_at(epoch)
            order = chosen[torch.randperm(len(chosen), generator=generator)]
            _train_epoch(network, train, order, schedule.batch_size, optimizer, task)
        accuracy = evaluate(network, test, task, evaluation_batch_size)
        if epoch == 0 or accuracy > result.test_accuracies[result.epoch]:
            result.state_dict, result.epoch = copy.deepcopy(network.state_dict()), epoch
        result.test_accuracies.append(accuracy)
        if validation is not None:
            result.validation_accuracies.append(evaluate(network, validation, task, evaluation_batch_size))
        if on_epoch:
            on_epoch(epoch, accuracy)
    return result


def _train_epoch(
    network: nn.Module,
    train: Images,
    order: Tensor,
    batch_size: int,
    optimizer: torch.optim.Optimizer,
    task: Task,
) -> None:
    network.train()
    for batch in train.batches(batch_size, order):
        inputs, labels = task(*batch)
        optimizer.zero_grad()
        F.cross_entropy(network(inputs), labels).backward()
        optimizer.step()
