"""Initial models: random weights, or pretrained to recognise rotations of the pool's images."""

from __future__ import annotations

from dataclasses import asdict

import torch

from fisher_al.data.batches import default_evaluation_batch_size
from fisher_al.data.in_memory import load_data
from fisher_al.distributed import is_main, wait_for_all
from fisher_al.errors import UserError
from fisher_al.experiment import Experiment, Schedule
from fisher_al.files.layout import Layout
from fisher_al.method.network import seeded_network
from fisher_al.seeds import derive_generator, derive_seed
from fisher_al.training.checkpoints import save_checkpoint
from fisher_al.training.evaluation import evaluate
from fisher_al.training.fit import FitResult, OnEpoch, Replica, divergence, fit
from fisher_al.training.objectives import ROTATIONS, rotation
from fisher_al.training.steps import autocast_type


def unsup(
    experiment: Experiment,
    layout: Layout,
    member: int,
    schedule: Schedule,
    seed: int,
    device: str,
    on_epoch: OnEpoch | None = None,
) -> float:
    """Write the initial model of `layout`, as its `pretrained` says.

    Returns the accuracy (percent) that the checkpoint records: of rotations if pretrained, else of classes.
    Raises UserError if training diverged.
    """
    data = load_data(experiment, layout, seed, device)
    weights_seed = derive_seed(seed, layout.run, "initial weights", member)
    classes = ROTATIONS if layout.pretrained else experiment.num_classes
    network = seeded_network(experiment.network, classes, weights_seed).to(device)
    if layout.pretrained:
        generator = derive_generator(seed, layout.run, "pretraining", member)
        replica = Replica(network, data.pool, torch.arange(len(data.pool)), generator)
        batch_size = default_evaluation_batch_size(device, experiment.image_shape)
        [result] = fit(
            [replica],
            data.test,
            schedule,
            None,
            rotation,
            evaluation_batch_size=batch_size,
            on_epoch=on_epoch,
            autocast=autocast_type(device) if experiment.autocast else None,
        )
        if result.diverged:
            raise UserError(divergence(f"{layout.name} member {member}", result, schedule))
    else:
        batch_size = default_evaluation_batch_size(device, experiment.image_shape)
        accuracy = evaluate(network, data.test, batch_size=batch_size)
        result = FitResult(network.state_dict(), 0, accuracy, accuracy)
    settings = initial_settings(experiment, layout, schedule, seed)
    if is_main():
        save_checkpoint(result, settings, layout.initial_checkpoint(member))
    wait_for_all()
    return result.accuracies["acc"]


def initial_settings(
    experiment: Experiment, layout: Layout, schedule: Schedule, seed: int
) -> dict[str, object]:
    """What an initial checkpoint records of how it was made."""
    training = {**asdict(schedule), **experiment.input_settings} if layout.pretrained else {}
    return {"seed": seed, **training}
