"""When the learning rate drops, and how long training goes on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """Mini-batch SGD: the learning rate drops tenfold at each of `milestones` (epochs count from 1).

    Over the first `warmup_epochs` it grows linearly to its full value.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    milestones: tuple[int, ...]
    momentum: float = 0.5
    weight_decay: float = 0.0
    warmup_epochs: int = 0

    def learning_rate_at(self, epoch: int) -> float:
        """Learning rate during `epoch`, which counts from 1."""
        drops = sum(epoch >= milestone for milestone in self.milestones)
        warmth = min(1.0, epoch / self.warmup_epochs) if self.warmup_epochs else 1.0
        return self.learning_rate * warmth * 0.1**drops
