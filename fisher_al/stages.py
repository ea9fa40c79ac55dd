"""The three stages, files in and files out: initial models, descriptors, then picks and retraining."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from fisher_al.acquisition import k_centre, kernel_features, match, most_uncertain, random_picks
from fisher_al.checkpoints import load_checkpoint, load_weights, save_checkpoint
from fisher_al.data import Data, load_data
from fisher_al.descriptors import ForwardPass, describe
from fisher_al.errors import UserError
from fisher_al.experiment import Experiment, Schedule
from fisher_al.layout import Layout
from fisher_al.methods import KERNEL_Z, RANDOM, UNCERTAIN, Method
from fisher_al.network import seeded_network
from fisher_al.pseudo_labels import LabelRule, nearest_validation_label, predicted_label, true_label
from fisher_al.seeds import derive_generator, derive_seed
from fisher_al.storage import load_indices, load_tensors, save_indices, save_tensors
from fisher_al.training import FitResult, evaluate, fit, predict, rotation
from fisher_al.uncertainty import UNCERTAINTIES, sample_statistics

OnEpoch = Callable[[int, float], None]
ROTATIONS = 4


@dataclass(frozen=True)
class Chain:
    """One method in one run: everything that decides its picks and accuracies."""

    experiment: Experiment
    layout: Layout
    method: Method
    training: Schedule
    iterations: int
    budget: int
    mc_samples: int
    gen_batch_size: int
    test_batch_size: int
    seed: int
    device: str

    @property
    def name(self) -> str:
        return f"{self.layout.run} {self.method.token}"

    @property
    def members(self) -> range:
        return range(self.layout.ensemble_size)

    @property
    def settings(self) -> dict[str, object]:
        """What a checkpoint records, so that results of other settings are not taken for this chain's."""
        settings = {"seed": self.seed, "augment_size": self.budget, **asdict(self.training)}
        if self.method.kind.aug == UNCERTAIN:
            settings |= {"mc_samples": self.mc_samples, "ensemble_size": self.layout.ensemble_size}
        return settings

    def load_data(self) -> Data:
        return load_data(self.experiment, self.layout, self.seed, self.device)

    def generator(self, *purpose: int | str, device: str = "cpu") -> torch.Generator:
        return derive_generator(self.seed, self.layout.run, self.method.token, *purpose, device=device)


def unsup(
    experiment: Experiment,
    layout: Layout,
    member: int,
    schedule: Schedule,
    seed: int,
    device: str,
    on_epoch: OnEpoch | None = None,
) -> float:
    """Write the initial model of `layout`: random weights, or pretrained on rotations of the pool.

    Returns the accuracy (percent) that the checkpoint records: of rotations if pretrained, else of classes.
    """
    data = load_data(experiment, layout, seed, device)
    weights_seed = derive_seed(seed, layout.run, "initial weights", member)
    settings = initial_settings(layout, schedule, seed)
    path = layout.initial_checkpoint(member)
    if not layout.pretrained:
        network = seeded_network(experiment.network, experiment.num_classes, weights_seed).to(device)
        result = FitResult(network.state_dict(), 0, [evaluate(network, data.test)])
    else:
        network = seeded_network(experiment.network, ROTATIONS, weights_seed).to(device)
        generator = derive_generator(seed, layout.run, "pretraining", member)
        everything = torch.arange(len(data.pool))
        result = fit(
            network, data.pool, everything, data.test, schedule, generator, task=rotation, on_epoch=on_epoch
        )
    save_checkpoint(result, settings, path)
    return result.accuracies["acc"]


def initial_settings(layout: Layout, schedule: Schedule, seed: int) -> dict[str, object]:
    """What an initial checkpoint records of how it was made."""
    return {"seed": seed, **(asdict(schedule) if layout.pretrained else {})}


def load_model(chain: Chain, batch: int, member: int) -> nn.Module:
    """The network that iteration `batch` starts from: the initial model, or the best one of `batch`."""
    experiment, layout = chain.experiment, chain.layout
    head_seed = derive_seed(chain.seed, layout.run, "head", member)
    network = seeded_network(experiment.network, experiment.num_classes, head_seed)
    if batch == 0:
        path, otherwise = layout.initial_checkpoint(member), "run run.py --initial first"
    else:
        path = layout.best_checkpoint(chain.method, batch, batch * chain.budget, member)
        otherwise = f"run batch {batch} first (main_descr.py -b {batch - 1}, or run.py)"
    checkpoint = load_checkpoint(path, otherwise)
    fresh_head = batch == 0 and layout.pretrained
    load_weights(network, checkpoint["state_dict"], str(path), keep_head=fresh_head)
    return network.to(chain.device, memory_format=torch.channels_last)


def gen_descr(chain: Chain, batch: int, member: int = 0) -> bool:
    """Write the descriptors that the picks after `batch` need; False where none are needed."""
    if not _needs_descriptors(chain, batch):
        return False
    data = chain.load_data()
    network = load_model(chain, batch, member)
    if chain.method.kind.aug == UNCERTAIN:
        _write_uncertainty(chain, batch, member, network, data)
    else:
        _write_descriptors(chain, member, network, data)
    return True


def _needs_descriptors(chain: Chain, batch: int) -> bool:
    aug = chain.method.kind.aug
    return aug != RANDOM and not (aug == UNCERTAIN and batch == 0)


def _write_uncertainty(chain: Chain, batch: int, member: int, network: nn.Module, data: Data) -> None:
    uncertainty = UNCERTAINTIES[chain.method.kind.sub]
    generator = chain.generator(batch, "dropout", member, device=chain.device)
    samples = max(1, chain.mc_samples // len(chain.members))
    statistics = sample_statistics(network, data.pool, uncertainty, samples, chain.gen_batch_size, generator)
    content = statistics if len(chain.members) > 1 else uncertainty.score(statistics)
    save_tensors(content, chain.layout.descriptors("train", chain.method, member))


def _write_descriptors(chain: Chain, member: int, network: nn.Module, data: Data) -> None:
    scales = chain.experiment.scales_of(chain.method.length)
    widths = [network.scales[name] for name in scales]
    sub = chain.method.kind.sub

    def scores(rule: LabelRule):
        return lambda one_pass, labels: one_pass.scores(rule(one_pass, labels))

    def described(images, *channels):
        return describe(network, images, scales, chain.gen_batch_size, *channels)

    if sub == "gradFmap":
        validation = described(data.validation, scores(true_label), scores(predicted_label), _label_channel)
        nearest = nearest_validation_label(
            validation[..., 0].to(chain.device), data.validation.labels, widths
        )
        pool = described(data.pool, scores(nearest))
    else:
        channel = {"none": _no_score, "gradAbl": scores(true_label), "grad": scores(predicted_label)}[sub]
        validation, pool = described(data.validation, channel), described(data.pool, channel)
    save_tensors(pool, chain.layout.descriptors("train", chain.method, member))
    save_tensors(validation, chain.layout.descriptors("val", chain.method, member))


def _no_score(one_pass: ForwardPass, labels: Tensor) -> Tensor:
    return torch.zeros_like(one_pass.features)


def _label_channel(one_pass: ForwardPass, labels: Tensor) -> Tensor:
    """The true label in the first of L columns, as the descriptor files have it."""
    channel = torch.zeros_like(one_pass.features)
    channel[:, 0] = labels
    return channel


def select(chain: Chain, batch: int, labeled: Tensor) -> Tensor:
    """Pick the pool images (budget,) to label after `batch`, none of them among `labeled`.

    One selection serves all ensemble members. Raises UserError if fewer than the budget are left.
    """
    data = chain.load_data()
    available = torch.ones(len(data.pool), dtype=torch.bool)
    available[labeled] = False
    available = available.nonzero().squeeze(1)
    require_budget(chain, len(data.pool), batch + 1)
    generator = chain.generator(batch, "picks")
    if not _needs_descriptors(chain, batch):
        return available[random_picks(len(available), chain.budget, generator)]
    if chain.method.kind.aug == UNCERTAIN:
        return available[most_uncertain(_load_uncertainty(chain, data)[available], chain.budget)]
    return available[_match_misclassified(chain, batch, available, generator).cpu()]


def require_budget(chain: Chain, pool_size: int, iterations: int) -> None:
    """Raise UserError if the pool is too small for so many iterations."""
    if iterations * chain.budget > pool_size:
        raise UserError(
            f"--augment-size {chain.budget}: {iterations} iterations need {iterations * chain.budget} labels "
            f"but {chain.layout.pool()} has {pool_size} images; choose a smaller budget or fewer --iterations"
        )


def _load_uncertainty(chain: Chain, data: Data) -> Tensor:
    pool_size, ensemble_size = len(data.pool), len(chain.members)
    shape = (pool_size, chain.experiment.num_classes, 2) if ensemble_size > 1 else (pool_size,)
    parts = [_load_descriptors(chain, "train", member, shape) for member in chain.members]
    return (
        UNCERTAINTIES[chain.method.kind.sub].score(sum(parts) / len(parts)) if ensemble_size > 1 else parts[0]
    )


def _load_descriptors(chain: Chain, split: str, member: int, shape: tuple[int, ...]) -> Tensor:
    path = chain.layout.descriptors(split, chain.method, member)
    content = load_tensors(path, "run gen_descr.py for this batch first")
    found = tuple(content.shape) if torch.is_tensor(content) else type(content).__name__
    if found != shape:
        raise UserError(
            f"{path}: descriptors of another network or pool: {found} where {shape} belongs; "
            "run gen_descr.py for this batch again"
        )
    return content.to(chain.device)


def _match_misclassified(chain: Chain, batch: int, available: Tensor, generator: torch.Generator) -> Tensor:
    """Rows of `available` that best match the misclassified validation images in the Fisher kernel.

    Where the network misclassifies none, every validation image is a target.
    """
    data = chain.load_data()
    network = load_model(chain, batch, 0)
    widths = [network.scales[name] for name in chain.experiment.scales_of(chain.method.length)]
    length = chain.method.length
    with_label = 4 if chain.method.kind.sub == "gradFmap" else 2
    validation = _load_descriptors(chain, "val", 0, (len(data.validation), length, with_label))
    pool = _load_descriptors(chain, "train", 0, (len(data.pool), length, 2))
    parts = 0 if chain.method.kind.aug == KERNEL_Z else slice(0, 2)
    misclassified = (predict(network, data.validation) != data.validation.labels).nonzero().squeeze(1)
    targets = validation[misclassified] if len(misclassified) else validation
    targets = kernel_features(targets[..., parts], widths)
    if chain.budget < len(targets):
        targets = targets[k_centre(targets, chain.budget, generator).to(targets.device)]
    candidates = kernel_features(pool[available.to(pool.device)][..., parts], widths)
    return match(targets, candidates, chain.budget)


def main_descr(
    chain: Chain, batch: int, member: int = 0, on_epoch: OnEpoch | None = None
) -> dict[str, float]:
    """Label the picks after `batch`, retrain on all labels, and write batch + 1: index list and checkpoint.

    Returns the checkpoint's accuracies: acc, acc_last, acc_val.
    """
    data = chain.load_data()
    layout, method = chain.layout, chain.method
    labeled = load_labeled(chain, batch)
    labeled = torch.cat([labeled, select(chain, batch, labeled)])
    network = load_model(chain, batch, member)
    result = fit(
        network,
        data.pool,
        labeled,
        data.test,
        chain.training,
        chain.generator(batch, "training", member),
        validation=data.validation,
        evaluation_batch_size=chain.test_batch_size,
        on_epoch=on_epoch,
    )
    # The checkpoint is written last: where it stands, the iteration is complete.
    save_indices(labeled, layout.index_list(method, batch + 1, len(labeled)))
    checkpoint = layout.best_checkpoint(method, batch + 1, len(labeled), member)
    save_checkpoint(result, chain.settings, checkpoint)
    return result.accuracies


def load_labeled(chain: Chain, batch: int) -> Tensor:
    """Pool indices labeled by the end of `batch`, in the order they were picked."""
    size = batch * chain.budget
    if batch == 0:
        return torch.empty(0, dtype=torch.long)
    path = chain.layout.index_list(chain.method, batch, size)
    pool_size = len(chain.load_data().pool)
    return load_indices(path, size, pool_size, f"run batch {batch} first (main_descr.py -b {batch - 1})")
