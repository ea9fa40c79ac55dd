"""Initial models: random weights, or pretrained to recognise rotations of the pool's images."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from fisher_al.data.batches import default_evaluation_batch_size
from fisher_al.distributed import is_main, wait_for_all
from fisher_al.errors import UserError
from fisher_al.experiment import Experiment
from fisher_al.files.layout import Layout
from fisher_al.method.network import seeded_network
from fisher_al.seeds import derive_generator, derive_seed
from fisher_al.training.checkpoints import save_checkpoint
from fisher_al.training.evaluation import evaluate
from fisher_al.training.fit import FitResult, OnEpoch, divergence, fit
from fisher_al.training.objectives import ROTATIONS, rotation
from fisher_al.training.schedule import Schedule


@dataclass(frozen=True)
class InitialModel:
    """One initial model: of a run, pool and ensemble member, pretrained or not as its layout says."""

    experiment: Experiment
    layout: Layout
    member: int
    schedule: Schedule
    seed: int
    device: str

    @property
    def path(self) -> Path:
        return self.layout.initial_checkpoint(self.member)

    @property
    def log(self) -> Path:
        return self.layout.initial_log(self.member)

    @property
    def settings(self) -> dict[str, Any]:
        """What the checkpoint records of how it was made."""
        training: dict[str, Any] = {}
        if self.layout.pretrained:
            training = {**asdict(self.schedule), **self.experiment.source.input_settings}
        return {"seed": self.seed, **training}


def unsup(model: InitialModel, on_epoch: OnEpoch | None = None) -> float:
    """Write an initial model.

    Returns: the accuracy (percent) that the checkpoint records: of rotations if pretrained, else of classes.
    Raises: UserError if training diverged, or if a descriptor length is none of the network.
    """
    experiment, layout, device = model.experiment, model.layout, model.device
    run = model.seed, layout.run
    data = experiment.source.load(layout, device)
    classes = ROTATIONS if layout.pretrained else experiment.num_classes
    weights_seed = derive_seed(*run, "initial weights", model.member)
    _require_lengths(experiment)
    network = seeded_network(experiment.network, classes, weights_seed).to(device)
    batch_size = default_evaluation_batch_size(device, experiment.source.image_shape)
    if layout.pretrained:
        if len(set(experiment.source.image_shape[:2])) > 1:
            raise UserError(f"{experiment.name}: rotations need square images; let the reader pad them")
        result = fit(
            network,
            data.pool,
            torch.arange(len(data.pool)),
            model.schedule,
            derive_generator(*run, "pretraining", model.member),
            data.test,
            objective=rotation,
            evaluation_batch_size=batch_size,
            on_epoch=on_epoch,
            **experiment.step_settings(device),
        )
        if result.diverged:
            raise UserError(divergence(f"{layout.name} member {model.member}", result, model.schedule))
    else:
        accuracy = evaluate(network, data.test, batch_size)
        result = FitResult(network.state_dict(), 0, accuracy, accuracy)
    if is_main():
        save_checkpoint(result, model.settings, model.path)
    wait_for_all()
    return result.acc


def _require_lengths(experiment: Experiment) -> None:
    """Raise UserError if a descriptor length is not that of the network's scales that it is made of."""
    scales = seeded_network(experiment.network, experiment.num_classes, derive_seed("any")).scales
    for length, names in experiment.lengths.items():
        if not scales.keys() >= {*names} or sum(scales[name] for name in names) != length:
            found = ", ".join(f"{name} {width}" for name, width in scales.items())
            raise UserError(
                f"{experiment.name}: length {length} of {', '.join(names)} is not the sum of the network's "
                f"scales, which are {found}"
            )
