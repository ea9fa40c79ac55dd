"""Training: epochs of mini-batches, the best one kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fisher_al.data.batches import EVALUATION_BATCH_SIZE
from fisher_al.data.images import Images
from fisher_al.distributed import align_buffers, process_count, process_rank
from fisher_al.errors import UserError
from fisher_al.training.evaluation import BestSoFar
from fisher_al.training.objectives import Objective, classification
from fisher_al.training.schedule import Schedule
from fisher_al.training.steps import Trainer

OnEpoch = Callable[[int, float], None]


@dataclass
class FitResult:
    """Weights of the epoch that is kept, and accuracies (percent on test) of three epochs.

    Epoch 0 is before training. `acc` is that of the best epoch (the paper's protocol), `acc_last` of the
    last one, `acc_val` of the one that is best on validation, if there was a validation set. If the loss
    became NaN or infinite, training stopped in the epoch `diverged_in` and the rest is of no use.
    """

    state_dict: dict[str, Tensor]
    epoch: int
    acc: float
    acc_last: float
    acc_val: float | None = None
    diverged_in: int | None = None

    @property
    def diverged(self) -> bool:
        return self.diverged_in is not None

    @property
    def accuracies(self) -> dict[str, float]:
        """The accuracies that there are, by name."""
        reported = {"acc": self.acc, "acc_last": self.acc_last, "acc_val": self.acc_val}
        return {name: accuracy for name, accuracy in reported.items() if accuracy is not None}


def fit(
    network: nn.Module,
    train: Images,
    chosen: Tensor,
    schedule: Schedule,
    generator: torch.Generator,
    test: Images,
    validation: Images | None = None,
    objective: Objective = classification,
    evaluation_batch_size: int = EVALUATION_BATCH_SIZE,
    on_epoch: OnEpoch | None = None,
    autocast: torch.dtype | None = None,
    keep: str = "best",
    replay: bool = False,
) -> FitResult:
    """Train the network in place on the `chosen` (n,) images of `train`, and keep one epoch.

    keep : the epoch that is best on `test`, best on `validation`, or the last.

    `generator` reshuffles the images every epoch. Of several processes, each trains on its share of every
    batch. `validation` may be `test` itself. Test and validation passes go only as far as it takes to know
    the best epoch. `on_epoch(epoch, accuracy)` reports the best test accuracy so far. With `autocast`, steps
    are in that precision where it is safe. With `replay`, a GPU replays them as a CUDA graph.
    """
    network.to(memory_format=torch.channels_last)
    trainer = Trainer(network, schedule, autocast, replay)
    batches = TrainingBatches(network, train, chosen, schedule.batch_size, generator)
    selection = EpochSelection(test, validation, objective, evaluation_batch_size, keep)
    for epoch in range(schedule.epochs + 1):
        if epoch > 0:
            trainer.set_learning_rate(schedule.learning_rate_at(epoch))
            network.train()
            for inputs, labels in batches.of_next_epoch():
                trainer.step(*objective(inputs, labels))
            align_buffers(network)
        selection.consider(network, epoch, is_last=epoch == schedule.epochs)
        if on_epoch:
            on_epoch(epoch, selection.result.acc)
        if selection.result.diverged:
            break
    return selection.result


class TrainingBatches:
    """Mini-batches of the chosen images, reshuffled every epoch."""

    def __init__(
        self, network: nn.Module, train: Images, chosen: Tensor, batch_size: int, generator: torch.Generator
    ):
        self._has_buffers = any(True for _ in network.buffers())
        self._train, self._chosen, self._batch_size = train, chosen, batch_size
        self._generator = generator

    def of_next_epoch(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield this process's (inputs, labels) of each batch."""
        order = self._chosen[torch.randperm(len(self._chosen), generator=self._generator)]
        shares = [batch[process_rank() :: process_count()] for batch in self.split(order)]
        seed = 0
        if self._train.augments:
            draw = torch.randint(2**31 - 1, (1,), generator=self._generator)
            seed = (int(draw) + process_rank()) % 2**31
        return self._train.augmented(shares, seed)

    def split(self, order: Tensor) -> Sequence[Tensor]:
        """Indices of each batch.

        The last one is filled up with the first images, so that every process has equally many, and more
        than one where there are batch-norm statistics.
        """
        least = process_count() * (2 if self._has_buffers else 1)
        largest = min(self._batch_size, len(order))
        if largest < least:
            raise UserError(
                f"a step on {largest} images is too small: every process needs {least // process_count()}; "
                "raise --batch-size or --augment-size"
            )
        last = len(order) % self._batch_size
        if last:
            wanted = max(least, -(-last // process_count()) * process_count())
            order = torch.cat([order, order[: min(wanted, self._batch_size) - last]])
        return order.split(self._batch_size)


class EpochSelection:
    """Keeps one epoch, and the test accuracies of the best on test, the best on validation and the last.

    keep : "best" on test, best on "validation", or "last".
    """

    def __init__(
        self,
        test: Images,
        validation: Images | None,
        objective: Objective,
        batch_size: int,
        keep: str = "best",
    ):
        self._keep = keep
        self._test = BestSoFar(test, objective, batch_size)
        self._validation = self._test if validation is test else None
        if validation is not None and validation is not test:
            self._validation = BestSoFar(validation, objective, batch_size)
        self.result = FitResult({}, -1, 0.0, 0.0)

    def consider(self, network: nn.Module, epoch: int, is_last: bool) -> None:
        """Test `network` as it is after `epoch`; `result` is then that of all epochs so far."""
        if not _is_finite(network):
            self.result.diverged_in = epoch
            return
        best_on_validation = False
        if self._validation is not None and self._validation is not self._test:
            self._validation.accuracy(network)
            best_on_validation = self._validation.improved
        accuracy = self._test.accuracy(network, to_the_end=is_last or best_on_validation)
        if accuracy is None:
            return  # found out early not to be the best
        if self._validation is self._test:
            best_on_validation = self._test.improved
        if self._test.improved:
            self.result.acc = accuracy
        if best_on_validation:
            self.result.acc_val = accuracy
        if is_last:
            self.result.acc_last = accuracy
        if {"best": self._test.improved, "validation": best_on_validation, "last": is_last}[self._keep]:
            state = network.state_dict()
            self.result.state_dict = {name: values.detach().clone() for name, values in state.items()}
            self.result.epoch = epoch


def _is_finite(network: nn.Module) -> bool:
    """Whether training went well so far: a loss that is NaN or infinite leaves weights that are, and stays in
    them, so that it is enough to look once an epoch."""
    return bool(torch.stack([values.isfinite().all() for values in network.state_dict().values()]).all())


def divergence(name: str, result: FitResult, schedule: Schedule) -> str:
    """What to tell about a network whose `result` says that it diverged."""
    rate = schedule.learning_rate_at(max(1, result.diverged_in or 0))
    return (
        f"{name}: the loss became NaN or infinite in epoch {result.diverged_in} at learning rate {rate:g}; "
        "its last result is kept as it was; choose a smaller --lr"
    )
