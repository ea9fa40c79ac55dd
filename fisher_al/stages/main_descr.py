"""Picks for the next labels, and retraining on all of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fisher_al.chain import Chain
from fisher_al.distributed import decided_by_main, is_main, wait_for_all
from fisher_al.errors import UserError
from fisher_al.files.run_log import GEN_DESCR, last_of_member
from fisher_al.files.storage import load_indices, load_tensors, save_indices
from fisher_al.method.acquisition import k_centre, kernel_features, match, most_uncertain, random_picks
from fisher_al.method.predictions import predict, predict_probabilities
from fisher_al.method.registry import BADGE, CORESET, KERNEL_Z, UNCERTAIN
from fisher_al.method.uncertainty import UNCERTAINTIES
from fisher_al.training.checkpoints import load_checkpoint, save_checkpoint
from fisher_al.training.fit import FitResult, OnEpoch, Replica, divergence, fit
from fisher_al.training.steps import autocast_type

# Images whose statistics, of every class and ensemble member, are in memory at once.
ROWS_AT_ONCE = 8192


def main_descr(
    chain: Chain, batch: int, member: int = 0, on_epoch: OnEpoch | None = None
) -> dict[str, float]:
    """Label the picks after `batch`, retrain on all labels, and write batch + 1: index list and checkpoint.

    Returns the checkpoint's accuracies: acc, acc_last, acc_val. Raises UserError if training diverged.
    """
    [result] = main_descr_side_by_side([(chain, member)], batch, on_epoch)
    if result.diverged:
        raise UserError(divergence(f"{chain.name} b={batch + 1}", result, chain.training))
    return result.accuracies


def main_descr_side_by_side(
    learners: Sequence[tuple[Chain, int]], batch: int, on_epoch: OnEpoch | None = None
) -> list[FitResult]:
    """`main_descr` of several learners, each a (chain, ensemble member), retrained in one batched step.

    The chains differ in their runs only. Of a learner that diverged nothing is written.
    """
    replicas = []
    for chain, member in learners:
        labeled = load_labeled(chain, batch, len(chain.load_data().pool))
        labeled = torch.cat([labeled, select(chain, batch, labeled)])
        network, generator = chain.load_model(batch, member), chain.generator(batch, "training", member)
        replicas.append(Replica(network, chain.load_data().pool, labeled, generator))
    chain, _ = learners[0]
    data = chain.load_data()
    results = fit(
        replicas,
        data.test,
        chain.training,
        data.validation,
        evaluation_batch_size=chain.test_batch_size,
        on_epoch=on_epoch,
        autocast=autocast_type(chain.device) if chain.experiment.autocast else None,
    )
    for (chain, member), replica, result in zip(learners, replicas, results, strict=True):
        if result.diverged:
            continue
        layout, method, labeled = chain.layout, chain.method, replica.chosen
        if is_main():
            # The checkpoint is written last: where it stands, the iteration is complete.
            save_indices(labeled, layout.index_list(method, batch + 1, len(labeled)))
            checkpoint = layout.best_checkpoint(method, batch + 1, len(labeled), member)
            save_checkpoint(result, chain.settings, checkpoint, labeled)
    wait_for_all()
    return results


def load_labeled(chain: Chain, batch: int, pool_size: int) -> Tensor:
    """Pool indices labeled by the end of `batch`, in the order they were picked."""
    size = batch * chain.budget
    if batch == 0:
        return torch.empty(0, dtype=torch.long)
    path = chain.layout.index_list(chain.method, batch, size)
    advice = chain.batch_advice(batch)
    recorded = load_checkpoint(chain.model_path(batch, 0), advice).get("index_list_crc32")
    return load_indices(path, size, pool_size, advice, recorded)


def require_budget(chain: Chain, pool_size: int, iterations: int) -> None:
    """Raise UserError if the pool is too small for so many iterations."""
    if iterations * chain.budget > pool_size:
        raise UserError(
            f"--augment-size {chain.budget}: {iterations} iterations need {iterations * chain.budget} labels "
            f"but {chain.layout.pool()} has {pool_size} images; choose a smaller budget or fewer --iterations"
        )


def select(chain: Chain, batch: int, labeled: Tensor) -> Tensor:
    """Pick the pool images (budget,) to label after `batch`, none of them among `labeled`.

    One selection serves all ensemble members. Raises UserError if fewer than the budget are left.
    """
    pool = chain.load_data().pool
    require_budget(chain, len(pool), batch + 1)
    is_available = torch.ones(len(pool), dtype=torch.bool)
    is_available[labeled] = False
    available = is_available.nonzero().squeeze(1)
    aug = chain.method.kind.aug
    if not chain.needs_descriptors(batch):
        return available[random_picks(len(available), chain.budget, chain.generator(batch, "picks"))]
    if aug == UNCERTAIN:
        return available[most_uncertain(_load_uncertainty(chain, batch)[available], chain.budget)]
    if aug in (CORESET, BADGE):
        return _pick_by_baseline(chain, batch, labeled, available)
    return _match_misclassified(chain, batch, available)


def _load_uncertainty(chain: Chain, batch: int) -> Tensor:
    pool_size, ensemble_size = len(chain.load_data().pool), len(chain.members)
    if ensemble_size == 1:
        return _load_descriptors(chain, batch, "train", 0, (pool_size,))
    shape = (pool_size, chain.experiment.num_classes, 2)
    score = UNCERTAINTIES[chain.method.kind.sub].score
    members = [_load_descriptors(chain, batch, "train", member, shape) for member in chain.members]
    blocks = zip(*(statistics.split(ROWS_AT_ONCE) for statistics in members), strict=True)
    return torch.cat([score(sum(block) / ensemble_size) for block in blocks])


def _load_descriptors(chain: Chain, batch: int, split: str, member: int, shape: tuple[int, ...]) -> Tensor:
    path = chain.layout.descriptors(split, chain.method, member)
    advice = f"run gen_descr.py -b {batch} first"
    model = chain.model_path(batch, member)
    if path.is_file() and model.is_file() and path.stat().st_mtime_ns < model.stat().st_mtime_ns:
        raise UserError(f"{path}: older than the model that it should describe, {model}; {advice}")
    described = last_of_member(chain.log, GEN_DESCR, member) if is_main() else None
    if described is not None and described.get("batch") != batch:
        raise UserError(f"{path}: describes the images at batch {described.get('batch')}; {advice}")
    content = load_tensors(path, advice, mmap=True)
    found = tuple(content.shape) if torch.is_tensor(content) else type(content).__name__
    if found != shape:
        raise UserError(
            f"{path}: descriptors of another network or pool: {found} where {shape} belongs; "
            f"delete it and {advice}"
        )
    return content


def _match_misclassified(chain: Chain, batch: int, available: Tensor) -> Tensor:
    """The available images that best match the misclassified validation images in the Fisher kernel.

    Where the network misclassifies none, every validation image is a target.
    """
    data, kind, length = chain.load_data(), chain.method.kind, chain.method.length
    columns = 4 if kind.borrows_labels else 2
    validation = _load_descriptors(chain, batch, "val", 0, (len(data.validation), length, columns))
    pool = _load_descriptors(chain, batch, "train", 0, (len(data.pool), length, 2))
    parts = 0 if kind.aug == KERNEL_Z else slice(0, 2)  # z alone, or z and g

    network = chain.load_model(batch, 0)
    widths = chain.widths(network)
    predictions = predict(network, data.validation, chain.test_batch_size)
    misclassified = (predictions != data.validation.labels).nonzero().squeeze(1)
    targets = validation[misclassified.cpu()] if len(misclassified) else validation

    def features(descriptors: Tensor) -> Tensor:
        return kernel_features(descriptors[..., parts].float(), widths)

    def matched() -> Tensor:
        centres = features(targets.to(chain.device))
        if chain.budget < len(centres):
            chosen = k_centre(centres, chain.budget, chain.generator(batch, "picks"))
            centres = centres[chosen.to(centres.device)]
        return match(centres, pool, chain.budget, available, features).cpu()

    return decided_by_main(matched)


def _pick_by_baseline(chain: Chain, batch: int, labeled: Tensor, available: Tensor) -> Tensor:
    from fisher_al.method.baselines import badge_picks, coreset_picks  # slow to import, and rarely wanted

    pool = chain.load_data().pool
    shape = (len(pool), chain.method.length, 2)
    features = _load_descriptors(chain, batch, "train", 0, shape)[..., 0].float()
    seed = chain.own_seed(batch, "picks")
    if chain.method.kind.aug == CORESET:
        return coreset_picks(features, labeled, available, chain.budget, seed)
    probabilities = predict_probabilities(chain.load_model(batch, 0), pool, chain.test_batch_size).cpu()
    return badge_picks(features, probabilities, available, chain.budget, seed)
