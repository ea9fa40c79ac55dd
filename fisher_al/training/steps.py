"""One step of SGD, in one or many processes, in single or half precision."""

from __future__ import annotations

from collections.abc import Callable

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
    float16. With `replay`, one process on a GPU records a step in single precision and replays it.
    """

    def __init__(
        self,
        network: nn.Module,
        schedule: Schedule,
        autocast: torch.dtype | None = None,
        replay: bool = False,
    ):
        device = next(network.parameters()).device
        replay = replay and device.type == "cuda" and autocast is None and process_count() == 1
        self._autocast = torch.autocast(device.type, autocast, enabled=autocast is not None)
        self._scaler = GradScaler(device.type, enabled=autocast is torch.float16)
        self._network = network
        if process_count() > 1:
            devices = None if device.type == "cpu" else [device]
            self._network = DistributedDataParallel(network, device_ids=devices)
        self._optimizer = torch.optim.SGD(
            network.parameters(),
            # a recorded step reads it anew
            lr=torch.tensor(schedule.learning_rate, device=device) if replay else schedule.learning_rate,
            momentum=schedule.momentum,
            weight_decay=schedule.weight_decay,
            # torch's fused SGD spoils its momentum if the first scaled step overflows and is skipped
            fused=autocast is not torch.float16,
        )
        self._step = Replayed(self._launch, device) if replay else self._launch

    def set_learning_rate(self, rate: float) -> None:
        """Learning rate of the steps to come."""
        for group in self._optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    def step(self, inputs: Tensor, labels: Tensor) -> None:
        """One step on the images (N, ...) and labels (N,) of a batch."""
        self._step(inputs, labels)

    def _launch(self, inputs: Tensor, labels: Tensor) -> None:
        self._optimizer.zero_grad()
        with self._autocast:
            loss = F.cross_entropy(self._network(inputs), labels)
        self._scaler.scale(loss).backward()
        self._scaler.step(self._optimizer)
        self._scaler.update()


class Replayed:
    """A function of tensors on a GPU whose kernels, after a few calls, are launched together as a CUDA graph.

    Where they are small, launching them one by one takes longer than what they compute. Calls with tensors of
    another shape than at the recording are made as they come. The function returns nothing, and nothing but
    the tensors decides what it does.
    """

    WARM_UP = 3  # what is allocated in the first calls stays where it is

    def __init__(self, function: Callable[..., None], device: torch.device):
        self._function = function
        self._calls = 0
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._graph = torch.cuda.CUDAGraph()
        self._recorded: list[Tensor] = []

    def __call__(self, *tensors: Tensor) -> None:
        self._calls += 1
        if self._calls == self.WARM_UP + 1:
            self._record(tensors)
        if [tensor.shape for tensor in tensors] == [tensor.shape for tensor in self._recorded]:
            for recorded, tensor in zip(self._recorded, tensors, strict=True):
                recorded.copy_(tensor)
            self._graph.replay()
            return
        # gradients are added up on the stream that the recording is made on
        outer = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(outer)
        with torch.cuda.stream(self._stream):
            self._function(*tensors)
        outer.wait_stream(self._stream)

    def _record(self, tensors: tuple[Tensor, ...]) -> None:
        self._recorded = [tensor.clone() for tensor in tensors]
        with torch.cuda.graph(self._graph, stream=self._stream):
            self._function(*self._recorded)
