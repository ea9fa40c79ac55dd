"""One step of SGD: of one network, in one or many processes, or of several networks side by side."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn.parallel import DistributedDataParallel

from fisher_al.distributed import process_count
from fisher_al.experiment import Schedule

Step = Callable[[Tensor, Tensor], None]

# Eager steps before a graph is recorded: optimizer state and library workspaces have to exist by then.
WARM_UP_STEPS = 3


def autocast_type(device: str) -> torch.dtype | None:
    """Half precision to train in on `device`: a GPU's bfloat16, or float16 if it has none; on a CPU None."""
    if device == "cpu":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


class Trainer:
    """SGD on the cross-entropy of one network, or of several replicas in one batched step.

    networks : of one architecture, on one device; several must have no buffers (batch-norm statistics).
    Replicas keep their own weights and see their own batches, but share every operation: their weights
    become slices of stacked tensors. `step(inputs, labels)` takes (N, ...) and (N,) for one network,
    (R, N, ...) and (R, N) for R replicas. One network may train in several processes, each with its share
    of every batch; and in half precision, `autocast`, with the loss scaled where that is float16.
    """

    def __init__(
        self, networks: Sequence[nn.Module], schedule: Schedule, autocast: torch.dtype | None = None
    ):
        device = next(networks[0].parameters()).device
        self._autocast = torch.autocast(device.type, autocast, enabled=autocast is not None)
        self._scaler = GradScaler(device.type, enabled=autocast is torch.float16)
        if len(networks) == 1:
            self._network = networks[0]
            parameters = list(self._network.parameters())
            if process_count() > 1:
                devices = None if device.type == "cpu" else [device]
                self._network = DistributedDataParallel(self._network, device_ids=devices)
            step = self._step_alone
        else:
            if process_count() > 1:
                raise ValueError("networks side by side train in one process")
            if any(True for _ in networks[0].buffers()):
                raise ValueError("networks with buffers cannot train side by side")
            self._weights, _ = stack_module_state(list(networks))
            for r, network in enumerate(networks):
                for name, weight in network.named_parameters():
                    weight.data = self._weights[name].data[r]
            self._gradients = vmap(grad(_loss_of(networks[0])))
            parameters = list(self._weights.values())
            step = self._step_side_by_side
        recorded = device.type == "cuda" and autocast is None and process_count() == 1
        rate = schedule.learning_rate
        self._optimizer = torch.optim.SGD(
            parameters,
            # a recorded graph reads the learning rate from the device
            lr=torch.tensor(rate, device=device) if recorded else rate,
            momentum=schedule.momentum,
            weight_decay=schedule.weight_decay,
            # torch's fused SGD spoils its momentum if the first scaled step overflows and is skipped
            fused=autocast is not torch.float16,
        )
        self.step: Step = _RecordedStep(step, device) if recorded else step

    def set_learning_rate(self, rate: float) -> None:
        """Learning rate of the steps to come."""
        for group in self._optimizer.param_groups:
            if torch.is_tensor(group["lr"]):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    def _step_alone(self, inputs: Tensor, labels: Tensor) -> None:
        self._optimizer.zero_grad()
        with self._autocast:
            loss = F.cross_entropy(self._network(inputs), labels)
        self._scaler.scale(loss).backward()
        self._scaler.step(self._optimizer)
        self._scaler.update()

    def _step_side_by_side(self, inputs: Tensor, labels: Tensor) -> None:
        weights = {name: weight.detach() for name, weight in self._weights.items()}
        for name, gradient in self._gradients(weights, inputs, labels).items():
            self._weights[name].grad = gradient
        self._optimizer.step()


def _loss_of(network: nn.Module) -> Callable[[dict[str, Tensor], Tensor, Tensor], Tensor]:
    """Cross-entropy as a function of weights, inputs and labels, for the architecture of `network`."""
    skeleton = copy.deepcopy(network).to("meta").train()
    return lambda weights, inputs, labels: F.cross_entropy(
        functional_call(skeleton, weights, (inputs,)), labels
    )


class _RecordedStep:
    """Replays `step` as one CUDA graph for batches of one shape; others run operation by operation.

    A step on a tiny batch is some fifty kernels of a few microseconds: launching them costs more than
    running them. The first steps are ordinary ones, on the side stream that recording demands.
    """

    def __init__(self, step: Step, device: torch.device):
        self._step, self._device = step, device
        self._stream = torch.cuda.Stream(device)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._seen = 0

    def __call__(self, inputs: Tensor, labels: Tensor) -> None:
        with torch.cuda.device(self._device):  # streams and graphs belong to the current device
            self._run(inputs, labels)

    def _run(self, inputs: Tensor, labels: Tensor) -> None:
        if self._seen == 0:
            self._shape = inputs.shape  # that of the first batch; a last one may be shorter
        if self._seen < WARM_UP_STEPS:
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                self._step(inputs, labels)
            torch.cuda.current_stream().wait_stream(self._stream)
            self._seen += 1
            return
        if self._graph is None and inputs.shape == self._shape:
            self._inputs, self._labels = inputs.clone(), labels.clone()
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self._step(self._inputs, self._labels)
        if inputs.shape == self._shape:
            self._inputs.copy_(inputs)
            self._labels.copy_(labels)
            self._graph.replay()
        else:
            self._step(inputs, labels)
