"""VAAL as a chain of the campaign: rounds that read and write the same files as the other methods'."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial

import torch
from torch import Tensor, nn

from fisher_al.chain import Chain
from fisher_al.distributed import process_count
from fisher_al.errors import UserError
from fisher_al.files.run_log import MAIN_DESCR, logged
from fisher_al.files.storage import save_indices
from fisher_al.method.acquisition import unlabeled_indices
from fisher_al.method.network import seeded_network
from fisher_al.running.tasks import ChainTask, OnProgress
from fisher_al.stages.main_descr import load_labeled, require_budget, select
from fisher_al.training.checkpoints import load_checkpoint, save_checkpoint
from fisher_al.training.fit import EpochSelection, FitResult, OnEpoch
from fisher_al.training.objectives import classification
from vaal.images import vae_images
from vaal.model import VAE, Discriminator
from vaal.protocol import Protocol
from vaal.sampler import discriminator_outputs, pick
from vaal.solver import Adversaries, train_round


def require_one_process() -> None:
    """Raise UserError under torchrun, where every process would do the whole work."""
    if process_count() > 1:
        raise UserError("VAAL trains in one process: start it by python3, not by torchrun")


@dataclass(frozen=True)
class VaalChain(Chain):
    """A chain of VAAL's rounds; the task network starts every one of them anew."""

    protocol: Protocol

    @property
    def initial_advice(self) -> str:
        return "run run.py --initial in the dataset's folder (mnist/, svhn/, imagenet/) first"

    def batch_advice(self, batch: int) -> str:
        return f"run batch {batch} first (main.py -b {batch - 1}, or run.py)"

    @property
    def settings(self) -> dict[str, object]:
        settings = {"seed": self.seed, "augment_size": self.budget, **asdict(self.protocol)}
        return settings | self.experiment.source.input_settings

    def fresh_layers(self, network: nn.Module) -> tuple[str, ...]:
        return tuple(name for name, layer in network.named_modules() if isinstance(layer, nn.Linear))


@dataclass(frozen=True)
class VaalTask(ChainTask):
    """One chain to carry through to its last round."""

    work: VaalChain

    def run(self, on_progress: OnProgress) -> None:
        chain = self.work
        images = pool_images(chain)
        for batch in range(self.done, chain.iterations):

            def on_iteration(iteration: int, accuracy: float, batch: int = batch) -> None:
                of_all = f"{iteration}/{chain.protocol.train_iterations}"
                on_progress(f"{self.name}: b={batch + 1}, iteration {of_all}, {accuracy:.1f}%")

            with logged(chain.log, MAIN_DESCR, **chain.log_facts(batch)) as note:
                note.update(run_round(chain, batch, images, on_iteration).accuracies)


def pool_images(chain: VaalChain) -> Tensor:
    """The pool as the auto-encoder sees it."""
    source = chain.experiment.source
    return vae_images(chain.load_data().pool, source.mean, source.std)


def run_round(chain: VaalChain, batch: int, images: Tensor, on_iteration: OnEpoch | None = None) -> FitResult:
    """Label the picks after `batch`, train anew on all labels, and write batch + 1: index list, checkpoint.

    images : those of `pool_images`. The checkpoint also holds the next picks, since the auto-encoder that
    they come from ends with the round.
    """
    data, protocol = chain.load_data(), chain.protocol
    labeled = load_labeled(chain, batch, len(data.pool))
    picks = _load_picks(chain, batch, labeled) if batch else select(chain, batch, labeled)
    labeled = torch.cat([labeled, picks])
    unlabeled = unlabeled_indices(labeled, len(data.pool))
    if not len(unlabeled):
        raise UserError(
            f"--augment-size {chain.budget}: batch {batch + 1} labels all of {chain.pool_path}, and the "
            "discriminator needs unlabeled images; choose a smaller budget or fewer --iterations"
        )
    network = chain.load_model(0, 0)
    generator_of = partial(chain.generator, batch)
    build_vae = partial(VAE, size=images.shape[-1], width=protocol.vae_width, latent=protocol.latent)
    build_discriminator = partial(Discriminator, hidden=protocol.discriminator_width)
    vae = seeded_network(build_vae, images.shape[1], chain.own_seed(batch, "vae"))
    discriminator = seeded_network(
        build_discriminator, protocol.latent, chain.own_seed(batch, "discriminator")
    )
    noise = generator_of("noise", device=chain.device)
    adversaries = Adversaries(vae.to(chain.device), discriminator.to(chain.device), protocol, noise)
    selection = EpochSelection(data.test, data.validation, classification, chain.evaluation_batch_size)
    result = train_round(
        network, adversaries, data.pool, images, labeled, selection, protocol, generator_of, on_iteration
    )
    if result.diverged:
        raise UserError(
            f"{chain.name} b={batch + 1}: the task network's loss became NaN or infinite by iteration "
            f"{result.diverged_in} at learning rate {protocol.learning_rate:g}; nothing of this round is "
            "kept; choose a smaller --lr"
        )
    outputs = discriminator_outputs(vae, discriminator, images, unlabeled)
    if not outputs.isfinite().all():  # they would rank the images by their place in the pool
        raise UserError(
            f"{chain.name} b={batch + 1}: the auto-encoder or the discriminator became NaN or infinite at "
            f"learning rate {protocol.learning_rate:g}; nothing of this round is kept; choose a smaller --lr"
        )
    following = pick(outputs, unlabeled, chain.budget)
    # The checkpoint is written last: where it stands, the round is complete.
    save_indices(labeled, chain.layout.index_list(chain.method, batch + 1, len(labeled)))
    path = chain.layout.best_checkpoint(chain.method, batch + 1, len(labeled))
    save_checkpoint(result, chain.settings, path, labeled, {"picks": following})
    return result


def _load_picks(chain: VaalChain, batch: int, labeled: Tensor) -> Tensor:
    """What the round before chose to label next, kept in its checkpoint."""
    pool_size = len(chain.load_data().pool)
    require_budget(chain, pool_size, batch + 1)
    path, advice = chain.model_path(batch, 0), chain.batch_advice(batch)
    picks = load_checkpoint(path, advice).get("picks")
    is_whole = torch.is_tensor(picks) and picks.shape == (chain.budget,) and picks.dtype == torch.long
    is_whole = is_whole and len(picks.unique()) == chain.budget
    if not is_whole or not torch.isin(picks, unlabeled_indices(labeled, pool_size)).all():
        raise UserError(f"{path}: holds no {chain.budget} unlabeled images to pick; delete it and {advice}")
    return picks
