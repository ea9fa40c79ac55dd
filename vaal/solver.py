"""Training of one round: the task network, and the auto-encoder and discriminator that play each other.

Batches of the latter two are paired: a half of labeled images first, a half of as many unlabeled ones second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fisher_al.data.images import Images
from fisher_al.method.acquisition import unlabeled_indices
from fisher_al.training.fit import EpochSelection, FitResult, OnEpoch
from vaal.images import as_inputs
from vaal.model import VAE, Discriminator, frozen_statistics
from vaal.protocol import Protocol

GeneratorOf = Callable[..., torch.Generator]
REPORTS = 100  # of progress in a round
BATCHES_AHEAD = 100


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence (N,), in nats, of N(mean, variance) from the standard normal, summed over latents."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)


def vae_loss(
    images: Tensor,
    reconstructions: Tensor,
    mean: Tensor,
    log_variance: Tensor,
    logits: Tensor,
    beta: float,
    adversarial_weight: float,
) -> Tensor:
    """Loss of the auto-encoder on a paired batch: labeled plus unlabeled, each a mean over its half.

    Squared error averaged over pixels, plus `beta` x KL divergence, plus `adversarial_weight` x cross-entropy
    of the discriminator's `logits` (N,) with the verdict "labeled" on both halves (arXiv:1904.00370).
    """
    error = F.mse_loss(reconstructions, images)
    divergence = kl_divergence(mean, log_variance).mean()
    fooled = F.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))
    # the halves are equally large: the sum of their means is twice the mean over both
    return 2 * (error + beta * divergence + adversarial_weight * fooled)


def discriminator_loss(logits: Tensor) -> Tensor:
    """Cross-entropy of a paired batch's logits (N,), labeled as 1 plus unlabeled as 0."""
    labeled, unlabeled = logits.chunk(2)
    return F.binary_cross_entropy_with_logits(
        labeled, torch.ones_like(labeled)
    ) + F.binary_cross_entropy_with_logits(unlabeled, torch.zeros_like(unlabeled))


class Adversaries:
    """Auto-encoder and discriminator with their optimizers; each step changes one of them alone."""

    def __init__(self, vae: VAE, discriminator: Discriminator, protocol: Protocol, noise: torch.Generator):
        self.vae, self.discriminator = vae.train(), discriminator
        self._protocol, self._noise = protocol, noise
        self.optimizers = [_adam(network, protocol) for network in (vae, discriminator)]

    def step_vae(self, images: Tensor) -> None:
        """One step of the auto-encoder on a paired batch (N, C, H, W) in [0, 1]."""
        shape = len(images), self._protocol.latent
        noise = torch.randn(shape, generator=self._noise, device=images.device)
        with self._autocast(images):
            outputs = self.vae(images, noise)
        reconstructions, mean, log_variance = (output.float() for output in outputs)
        loss = vae_loss(
            images,
            reconstructions,
            mean,
            log_variance,
            self.discriminator(mean),
            self._protocol.beta,
            self._protocol.adversarial_weight,
        )
        _step(self.optimizers[0], loss, self.vae)

    def step_discriminator(self, images: Tensor) -> None:
        """One step of the discriminator on the latent means of a paired batch."""
        with torch.no_grad(), frozen_statistics(self.vae), self._autocast(images):
            mean, _ = self.vae.encode(images)
        _step(self.optimizers[1], discriminator_loss(self.discriminator(mean.float())), self.discriminator)

    def _autocast(self, images: Tensor) -> torch.autocast:
        enabled = self._protocol.precision == "bf16"
        return torch.autocast(images.device.type, torch.bfloat16, enabled=enabled)


def _adam(network: nn.Module, protocol: Protocol) -> torch.optim.Adam:
    return torch.optim.Adam(network.parameters(), protocol.learning_rate, fused=True)


def _step(optimizer: torch.optim.Optimizer, loss: Tensor, network: nn.Module) -> None:
    """A step of `network`; what else the loss passes through gets no gradients."""
    optimizer.zero_grad()
    loss.backward(inputs=list(network.parameters()))
    optimizer.step()


def train_round(
    network: nn.Module,
    adversaries: Adversaries,
    pool: Images,
    images: Tensor,
    labeled: Tensor,
    selection: EpochSelection,
    protocol: Protocol,
    generator_of: GeneratorOf,
    on_iteration: OnEpoch | None = None,
) -> FitResult:
    """Train task network and adversaries in place; the result is the task network's best test.

    pool, images : the same images as the task network and the auto-encoder see them, the latter uint8.
    labeled : indices (n,) of the labeled ones; the others play the unlabeled.
    selection : tests the task network; its "epochs" are iterations here.
    on_iteration : is told the iteration and the best test accuracy (percent) so far.
    """
    device = images.device
    unlabeled = unlabeled_indices(labeled, len(pool)).to(device)
    labeled = labeled.to(device)
    size = protocol.batch_size
    tasks = _served(pool, endless_batches(labeled, size, generator_of("task batches")), generator_of("crops"))
    halves = [
        endless_batches(labeled, size, generator_of("labeled batches")),
        endless_batches(unlabeled, size, generator_of("unlabeled batches")),
    ]

    def paired() -> Tensor:
        return as_inputs(images[torch.cat([next(half) for half in halves])])

    network.to(memory_format=torch.channels_last).train()
    optimizer = _adam(network, protocol)
    tested = protocol.tested
    report_every = max(1, protocol.train_iterations // REPORTS)
    for iteration in range(1, protocol.train_iterations + 1):
        for each in (optimizer, *adversaries.optimizers):
            for group in each.param_groups:
                group["lr"] = protocol.learning_rate_at(iteration - 1)
        inputs, labels = next(tasks)
        _step(optimizer, F.cross_entropy(network(inputs), labels), network)
        for _ in range(protocol.vae_steps):
            adversaries.step_vae(paired())
        for _ in range(protocol.discriminator_steps):
            adversaries.step_discriminator(paired())
        is_last = iteration == protocol.train_iterations
        if iteration in tested:
            selection.consider(network, iteration, is_last)
            network.train()
        if on_iteration and (is_last or iteration % report_every == 0):
            on_iteration(iteration, selection.result.acc)
        if selection.result.diverged:
            break
    return selection.result


def _served(
    pool: Images, batches: Iterator[Tensor], generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """(inputs, labels) of endless batches, many of them at a time, as a folder's images are decoded ahead."""
    while True:
        seed = int(torch.randint(2**31 - 1, (1,), generator=generator))
        yield from pool.augmented(list(islice(batches, BATCHES_AHEAD)), seed)


def endless_batches(indices: Tensor, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Batches (size,) of `indices`, reshuffled for each pass over them; a batch may reach into the next."""
    waiting = indices[:0]
    while True:
        passes = -(-max(0, size - len(waiting)) // len(indices))
        orders = [torch.randperm(len(indices), generator=generator) for _ in range(passes)]
        waiting = torch.cat([waiting, *(indices[order.to(indices.device)] for order in orders)])
        yield waiting[:size]
        waiting = waiting[size:]
