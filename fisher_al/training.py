"""Training: epochs of mini-batches, the best one kept; of one network or of replicas side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fisher_al.data import Images
from fisher_al.errors import UserError
from fisher_al.evaluation import EVALUATION_BATCH_SIZE, BestSoFar
from fisher_al.experiment import Schedule
from fisher_al.steps import Trainer
from fisher_al.tasks import Task, classification

OnEpoch = Callable[[int, float], None]


@dataclass
class FitResult:
    """Weights of the epoch that is best on test, and accuracies (percent on test) of three epochs.

    Epoch 0 is before training. `acc` is that of the best epoch (the paper's protocol), `acc_last` of the
    last one, `acc_val` of the one that is best on validation, if there was a validation set.
    """

    state_dict: dict[str, Tensor]
    epoch: int
    acc: float
    acc_last: float
    acc_val: float | None = None

    @property
    def accuracies(self) -> dict[str, float]:
        """The accuracies that there are, by name."""
        reported = {"acc": self.acc, "acc_last": self.acc_last, "acc_val": self.acc_val}
        return {name: accuracy for name, accuracy in reported.items() if accuracy is not None}


@dataclass(frozen=True)
class Replica:
    """One network to train: on the `chosen` (n,) images of `train`, reshuffled every epoch by `generator`."""

    network: nn.Module
    train: Images
    chosen: Tensor
    generator: torch.Generator


def fit(
    replicas: Sequence[Replica],
    test: Images,
    schedule: Schedule,
    validation: Images | None = None,
    task: Task = classification,
    evaluation_batch_size: int = EVALUATION_BATCH_SIZE,
    on_epoch: OnEpoch | None = None,
) -> list[FitResult]:
    """Train the replicas' networks in place, and keep of each the epoch that is best on `test`.

    All replicas choose equally many images. Test and validation passes go only as far as it takes to know
    the best epoch. `on_epoch(epoch, accuracy)` reports the best test accuracy so far, averaged over replicas.
    """
    for replica in replicas:
        replica.network.to(memory_format=torch.channels_last)
    trainer = Trainer([replica.network for replica in replicas], schedule)
    batches = _Batches(replicas, schedule.batch_size, task)
    selections = [_EpochSelection(test, validation, task, evaluation_batch_size) for _ in replicas]
    for epoch in range(schedule.epochs + 1):
        if epoch > 0:
            trainer.set_learning_rate(schedule.learning_rate_at(epoch))
            for replica in replicas:
                replica.network.train()
            for inputs, labels in batches.of_next_epoch():
                trainer.step(inputs, labels)
        for replica, selection in zip(replicas, selections, strict=True):
            selection.consider(replica.network, epoch, is_last=epoch == schedule.epochs)
        if on_epoch:
            on_epoch(epoch, sum(selection.result.acc for selection in selections) / len(selections))
    return [selection.result for selection in selections]


class _Batches:
    """Mini-batches of all replicas: (N, ...) of one, (R, N, ...) of several."""

    def __init__(self, replicas: Sequence[Replica], batch_size: int, task: Task):
        self._replicas, self._batch_size, self._task = replicas, batch_size, task
        self._has_buffers = any(True for _ in replicas[0].network.buffers())
        self._images, self._chosen = replicas[0].train, [replicas[0].chosen]
        if len(replicas) > 1:
            # what the replicas train on, one after another, so that a batch is one gather
            count = len(replicas[0].chosen)
            self._images = Images.joined([(replica.train, replica.chosen) for replica in replicas])
            self._chosen = list(torch.arange(count * len(replicas)).split(count))

    def of_next_epoch(self) -> Iterator[tuple[Tensor, Tensor]]:
        orders = [
            chosen[torch.randperm(len(chosen), generator=replica.generator)]
            for chosen, replica in zip(self._chosen, self._replicas, strict=True)
        ]
        for indices in self._split(torch.stack(orders).to(self._images.device)):
            batches = [self._task(*self._images[own]) for own in indices]
            yield batches[0] if len(batches) == 1 else tuple(map(torch.stack, zip(*batches, strict=True)))

    def _split(self, orders: Tensor) -> list[Tensor]:
        """Indices (R, N) of each batch. One image alone has no batch-norm statistics: it joins the others."""
        batches = list(orders.split(self._batch_size, dim=1))
        if self._has_buffers and batches[-1].shape[1] == 1:
            if len(batches) == 1 or self._batch_size == 1:
                raise UserError("batch-norm needs two images a step: raise --batch-size or --augment-size")
            batches[-2:] = [torch.cat(batches[-2:], dim=1)]
        return batches


class _EpochSelection:
    """Keeps the epoch that is best on test, and the test accuracy of the one that is best on validation."""

    def __init__(self, test: Images, validation: Images | None, task: Task, batch_size: int):
        self._test = BestSoFar(test, task, batch_size)
        self._validation = BestSoFar(validation, task, batch_size) if validation is not None else None
        self.result = FitResult({}, -1, 0.0, 0.0)

    def consider(self, network: nn.Module, epoch: int, is_last: bool) -> None:
        if self._validation is not None:
            self._validation.accuracy(network)
        best_on_validation = self._validation is not None and self._validation.improved
        accuracy = self._test.accuracy(network, to_the_end=is_last or best_on_validation)
        if self._test.improved:
            # clones, as weights of replicas are slices of what they share
            state = network.state_dict()
            self.result.state_dict = {name: values.detach().clone() for name, values in state.items()}
            self.result.epoch, self.result.acc = epoch, accuracy
        if best_on_validation:
            self.result.acc_val = accuracy
        if is_last:
            self.result.acc_last = accuracy
