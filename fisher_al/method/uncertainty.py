"""Uncertainty of the network under Monte-Carlo dropout (Gal and Ghahramani, arXiv:1506.02142)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from functools import partial
from math import log

import torch
import torch.nn.functional as F
from torch import Tensor

from fisher_al.data.batches import shared_batches
from fisher_al.data.features import ROWS_AT_ONCE
from fisher_al.data.images import Images
from fisher_al.distributed import gather_rows, process_rank
from fisher_al.method.acquisition import most_uncertain, random_picks, unlabeled_indices
from fisher_al.method.base import DescriptorBlocks, Descriptors, Iteration, Method, Shape
from fisher_al.method.network import TappedNetwork
from fisher_al.seeds import derive_seed


class DropoutUncertainty(Method):
    """The most uncertain images over K passes with dropout; in the first iteration, random ones.

    Each network of an ensemble draws its own first batch. Afterwards they share what they pick.
    An uncertainty comes in two steps, so that an ensemble can average between them: per-class statistics of
    the passes, and a score of those statistics.
    """

    aug = "topUncert"
    cost = "K passes above the first dropout"
    samples_repeatedly = True
    ensembles = True

    @abstractmethod
    def statistic(self, probabilities: Tensor) -> Tensor:
        """One number per image and class, (N, C), from probabilities (K, N, C) of K passes."""

    @abstractmethod
    def score(self, statistics: Tensor) -> Tensor:
        """Uncertainty (N,), larger is less certain, from statistics (N, C, 2) averaged over the ensemble."""

    def statistics(self, probabilities: Tensor) -> Tensor:
        """The statistic and the mean probability, (N, C, 2), of probabilities (K, N, C)."""
        return torch.stack([self.statistic(probabilities), probabilities.mean(0)], dim=2)

    def legend(self, ensemble_size: int, mc_samples_each: int) -> str:
        return f"{self.notation}, E={ensemble_size}, K={mc_samples_each}"

    def settings(self, ensemble_size: int, mc_samples: int, gen_batch_size: int) -> dict[str, int]:
        # dropout masks are drawn batch by batch
        return {
            "mc_samples": mc_samples,
            "ensemble_size": ensemble_size,
            "gen_batch_size": gen_batch_size,
        }

    def describes(self, batch: int) -> bool:
        return batch > 0

    def describe(self, iteration: Iteration, member: int) -> DescriptorBlocks:
        generator = iteration.generator("dropout", member, on_device=True)
        samples = max(1, iteration.mc_samples // iteration.ensemble_size)
        blocks = statistics_in_blocks(
            iteration.network_to_describe(member),
            iteration.pool,
            self.statistics,
            samples,
            iteration.describe_batch_size,
            generator,
        )
        return DescriptorBlocks(map(self.score, blocks) if iteration.ensemble_size == 1 else blocks)

    def shapes(self, iteration: Iteration) -> tuple[Shape, Shape | None]:
        size = len(iteration.pool)
        return ((size,) if iteration.ensemble_size == 1 else (size, iteration.num_classes, 2)), None

    def pick(self, iteration: Iteration, labeled: Tensor, descriptors: Descriptors) -> Tensor:
        available = unlabeled_indices(labeled, len(iteration.pool))
        if not descriptors.pool:
            purpose = ("picks", iteration.member) if iteration.member else ("picks",)
            return available[random_picks(len(available), iteration.budget, iteration.generator(*purpose))]
        uncertainty = descriptors.pool[0]
        if iteration.ensemble_size > 1:
            blocks = zip(*(member.split(ROWS_AT_ONCE) for member in descriptors.pool), strict=True)
            uncertainty = torch.cat([self.score(sum(block) / iteration.ensemble_size) for block in blocks])
        return available[most_uncertain(uncertainty[available], iteration.budget)]


class VariationRatio(DropoutUncertainty):
    """One minus the share of passes that vote for the modal class."""

    name = sub = "varMC"
    notation, formula = "varR", "1 - share of the modal class over K passes"
    color, marker = "#E69F00", "s"

    def statistic(self, probabilities: Tensor) -> Tensor:
        return F.one_hot(probabilities.argmax(2), probabilities.shape[2]).float().mean(0)

    def score(self, statistics: Tensor) -> Tensor:
        return 1 - statistics[..., 0].amax(1)


class PredictiveEntropy(DropoutUncertainty):
    """Entropy of the mean softmax, in bits."""

    name = sub = "entMC"
    notation, formula = "entropy", "entropy of the mean softmax"
    color, marker = "#B8860B", "p"

    def statistic(self, probabilities: Tensor) -> Tensor:
        return _entropy_terms(probabilities).mean(0)

    def score(self, statistics: Tensor) -> Tensor:
        return _entropy_terms(statistics[..., 1]).sum(1)


class MutualInformation(PredictiveEntropy):
    """BALD: entropy of the mean minus mean entropy (Houlsby et al., arXiv:1112.5745)."""

    name = sub = "baldMC"
    notation, formula = "BALD", "entropy of the mean - mean entropy"
    color, marker = "#7F5F00", "h"

    def score(self, statistics: Tensor) -> Tensor:
        return super().score(statistics) - statistics[..., 0].sum(1)


class MeanDeviation(DropoutUncertainty):
    """Mean over classes of the standard deviation over passes (of the population: one pass gives 0)."""

    name = sub = "stdMC"
    notation, formula = "mean STD", "mean over classes of the std over K passes"
    color, marker = "#C9A227", "*"
    ensembles = False

    def statistic(self, probabilities: Tensor) -> Tensor:
        return probabilities.std(0, correction=0)

    def score(self, statistics: Tensor) -> Tensor:
        return statistics[..., 0].mean(1)


def _entropy_terms(probabilities: Tensor) -> Tensor:
    """-p log2 p, which is 0 at p = 0."""
    return torch.special.entr(probabilities) / log(2)


def byte_dropout(activation: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Dropout that spends one random byte per element, a sixth of the time of Bernoulli draws.

    `probability` is rounded to a multiple of 1/256, which the paper's 0.25 and 0.5 are, but not to 0 or 1.
    """
    threshold = min(max(1, round(256 * probability)), 255)
    words = torch.randint(
        -(2**63), 2**63 - 1, (-(-activation.numel() // 8),), generator=generator, device=activation.device
    )
    # the activation's order in memory, without the gaps that a part of a larger tensor has
    strides = torch.empty_like(activation, device="meta").stride()
    draws = words.view(torch.uint8).as_strided(activation.shape, strides)
    kept = (draws >= threshold).view(torch.uint8)  # torch turns bytes into numbers faster than truth values
    return kept.to(activation.dtype).mul_(256 / (256 - threshold)).mul_(activation)


def statistics_in_blocks(
    network: TappedNetwork,
    images: Images,
    statistics: Callable[[Tensor], Tensor],
    samples: int,
    batch_size: int,
    generator: torch.Generator,
) -> Iterator[Tensor]:
    """What `statistics` makes of the probabilities (K, n, C) of K = `samples` passes with dropout.

    Yields blocks (n, ...) of successive images on the CPU. The passes share all layers below the first
    dropout. `batch_size` bounds images x passes computed at once, but all those of an image are; `generator`
    lives on the images' device and draws the dropout masks, a fresh one per pass and image. Several processes
    share the work, and each has all of its outcome.
    """
    dropout = partial(byte_dropout, generator=generator)
    network.eval()
    batch_size = max(1, batch_size // samples)
    seed = generator.initial_seed()
    for chunk, inputs, _ in shared_batches(images, batch_size):
        # masks depend on which images a batch holds, not on which process computes it
        generator.manual_seed(derive_seed(seed, int(chunk[0]) + process_rank() * batch_size))
        with torch.inference_mode():
            hidden = network.below_dropout(inputs)
            if hidden.dim() == 4:
                hidden = hidden.contiguous(memory_format=torch.channels_last)
            logits = network.above_dropout(torch.cat([hidden] * samples), dropout=dropout)
            probabilities = logits.unflatten(0, (samples, len(inputs))).softmax(2)
            block = statistics(probabilities)
        yield gather_rows(block, batch_size, len(chunk)).cpu()
