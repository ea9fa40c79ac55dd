"""Picks for the next labels, and retraining on all of them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from fisher_al.chain import Chain
from fisher_al.distributed import is_main, wait_for_all
from fisher_al.errors import UserError
from fisher_al.files.run_log import described
from fisher_al.files.storage import load_indices, load_rows, save_indices
from fisher_al.method.base import Descriptors, Shape
from fisher_al.stages.cross_fitting import cross_fitted_predictions
from fisher_al.training.checkpoints import load_checkpoint, save_checkpoint
from fisher_al.training.fit import OnEpoch, divergence, fit


def main_descr(
    chain: Chain, batch: int, member: int = 0, on_epoch: OnEpoch | None = None
) -> dict[str, float]:
    """Label the picks after `batch`, retrain on all labels, and write batch + 1: index list and checkpoint.

    Each member of an ensemble draws a first batch of its own; the index list keeps the last member's.
    Returns: the checkpoint's accuracies: acc, acc_last, and acc_val unless it learns the validation images.
    Raises: UserError if training diverged; then nothing is written.
    """
    data = chain.load_data()
    labeled = load_labeled(chain, batch, len(data.pool))
    labeled = torch.cat([labeled, select(chain, batch, labeled, member)])
    images, chosen = data.pool, labeled
    if chain.trains_on_validation:
        images = data.pool.subset(labeled).with_more(data.validation)
        chosen = torch.arange(len(images))
    result = fit(
        chain.load_model(batch, member),
        images,
        chosen,
        chain.training,
        chain.generator(batch, "training", member),
        data.test,
        None if chain.trains_on_validation else data.validation,
        evaluation_batch_size=chain.evaluation_batch_size,
        on_epoch=on_epoch,
        **chain.experiment.step_settings(chain.device),
        keep=chain.variant.keep,
    )
    if result.diverged:
        raise UserError(divergence(f"{chain.name} b={batch + 1}", result, chain.training))
    if is_main():
        # The checkpoint is written last: where it stands, the iteration is complete.
        if member == chain.members[-1]:
            save_indices(labeled, chain.layout.index_list(chain.method, batch + 1, len(labeled)))
        checkpoint = chain.layout.best_checkpoint(chain.method, batch + 1, len(labeled), member)
        save_checkpoint(result, chain.settings, checkpoint, labeled)
    wait_for_all()
    return result.accuracies


def load_labeled(chain: Chain, batch: int, pool_size: int) -> Tensor:
    """Pool indices labeled by the end of `batch`, in the order they were picked."""
    size = batch * chain.budget
    if batch == 0:
        return torch.empty(0, dtype=torch.long)
    path = chain.layout.index_list(chain.method, batch, size)
    advice = chain.batch_advice(batch)
    writer = chain.model_path(batch, chain.members[-1])
    recorded = load_checkpoint(writer, advice).get("index_list_crc32")
    return load_indices(path, size, pool_size, advice, recorded)


def require_budget(chain: Chain, pool_size: int, iterations: int) -> None:
    """Raise UserError if the pool is too small for so many iterations."""
    if iterations * chain.budget > pool_size:
        raise UserError(
            f"--augment-size {chain.budget}: {iterations} iterations need {iterations * chain.budget} labels "
            f"but {chain.pool_path} has {pool_size} images; choose a smaller budget or fewer --iterations"
        )


def select(chain: Chain, batch: int, labeled: Tensor, member: int = 0) -> Tensor:
    """Pick the pool images (budget,) that `member` learns after `batch`, none of them among `labeled`.

    Apart from the first batch, all ensemble members pick the same.
    Raises: UserError if fewer than the budget are left.
    """
    iteration = chain.iteration(batch, member)
    if chain.trains_on_validation:
        predictions = partial(cross_fitted_predictions, chain, batch, labeled)
        labels = iteration.validation.labels
        iteration = replace(iteration, validation_predictions=predictions, trained_validation_labels=labels)
    require_budget(chain, len(iteration.pool), batch + 1)
    descriptors = Descriptors()
    if chain.method.describes(batch):
        pool_shape, validation_shape = chain.method.shapes(iteration)
        validation = None
        if validation_shape is not None:
            validation = _load_descriptors(chain, batch, "val", 0, validation_shape)
        pool = [_load_descriptors(chain, batch, "train", member, pool_shape) for member in chain.members]
        descriptors = Descriptors(pool, validation)
    picks = chain.method.pick(iteration, labeled, descriptors)
    if len(picks) != chain.budget or len(torch.cat([labeled, picks]).unique()) != len(labeled) + len(picks):
        raise ValueError(f"{chain.method.name}: has to pick {chain.budget} distinct unlabeled images")
    return picks


def _load_descriptors(chain: Chain, batch: int, split: str, member: int, shape: Shape) -> Tensor:
    path = chain.layout.descriptors(split, chain.method, member)
    advice = f"run gen_descr.py -b {batch} first"
    model = chain.model_path(batch, member)
    if path.is_file() and model.is_file() and path.stat().st_mtime_ns < model.stat().st_mtime_ns:
        raise UserError(f"{path}: older than the model that it should describe, {model}; {advice}")
    told = described(chain.log, member) if is_main() else {}
    for name, value in chain.log_facts(batch, member).items():
        found = told.get(name, value)
        if found != value and not (name == "augment_size" and batch == 0):  # of the initial model
            raise UserError(f"{path}: describes the images at {name} {found}, not {value}; {advice}")
    content = load_rows(path, advice)
    found = tuple(content.shape) if torch.is_tensor(content) else type(content).__name__
    if found != shape:
        raise UserError(
            f"{path}: descriptors of another network or pool: {found} where {shape} belongs; "
            f"delete it and {advice}"
        )
    return content
