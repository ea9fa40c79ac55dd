"""One step of SGD, in one or many processes, in single or half precision."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.nn.parallel import DistributedDataParallel

from fisher_al.distributed import process_count
from fisher_al.training.schedule import Schedule


def autocast_type(device: str) -> torch.dtype | None:
    """Half precision to train in on `device`: a GPU's bfloat16, or float16 if it has none; on a CPU None."""
    if device == "cpu":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


class Trainer:
    """SGD on the cross-entropy of a network, which may train in several processes.

    Each process has its share of every batch. In half precision, `autocast`, the loss is scaled where that is
    float16.
    """

    def __init__(self, network: nn.Module, schedule: Schedule, autocast: torch.dtype | None = None):
        device = next(network.parameters()).device
        self._autocast = torch.autocast(device.type, autocast, enabled=autocast is not None)
        self._scaler = GradScaler(device.type, enabled=autocast is torch.float16)
        self._network = network
        if process_count() > 1:
            devices = None if device.type == "cpu" else [device]
            self._network = DistributedDataParallel(network, device_ids=devices)
        self._optimizer = torch.optim.SGD(
            network.parameters(),
            lr=schedule.learning_rate,
            momentum=schedule.momentum,
            weight_decay=schedule.weight_decay,
            # torch's fused SGD spoils its momentum if the first scaled step overflows and is skipped
            fused=autocast is not torch.float16,
        )

    def set_learning_rate(self, rate: float) -> None:
        """Learning rate of the steps to come."""
        for group in self._optimizer.param_groups:
            group["lr"] = rate

    def step(self, inputs: Tensor, labels: Tensor) -> None:
        """One step on the images (N, ...) and labels (N,) of a batch."""
        self._optimizer.zero_grad()
        with self._autocast:
            loss = F.cross_entropy(self._network(inputs), labels)
        self._scaler.scale(loss).backward()
        self._scaler.step(self._optimizer)
        self._scaler.update()
