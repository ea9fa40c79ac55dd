"""Uncertainty of the network under Monte-Carlo dropout (Gal and Ghahramani, arXiv:1506.02142)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import log

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fisher_al.data.batches import shared_batches
from fisher_al.data.images import Images
from fisher_al.distributed import gather_rows, process_rank
from fisher_al.seeds import derive_seed


@dataclass(frozen=True)
class Uncertainty:
    """An uncertainty in two steps, so that an ensemble can average between them.

    statistics : probabilities (K, N, C) of K stochastic passes -> per-class statistics (N, C, 2), of which
    the second is always the mean probability; score : statistics, averaged over ensemble members ->
    uncertainty (N,), larger is less certain.
    """

    statistics: Callable[[Tensor], Tensor]
    score: Callable[[Tensor], Tensor]


def _entropy_terms(probabilities: Tensor) -> Tensor:
    """-p log2 p, which is 0 at p = 0."""
    return torch.special.entr(probabilities) / log(2)


def _with_mean(statistic: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda probabilities: torch.stack([statistic(probabilities), probabilities.mean(0)], dim=2)


def _vote_share(probabilities: Tensor) -> Tensor:
    return F.one_hot(probabilities.argmax(2), probabilities.shape[2]).float().mean(0)


def _mean_entropy(statistics: Tensor) -> Tensor:
    return statistics[..., 0].sum(1)


def _entropy_of_mean(statistics: Tensor) -> Tensor:
    return _entropy_terms(statistics[..., 1]).sum(1)


# By subtype token; the per-class statistic of each is the expression inside _with_mean.
UNCERTAINTIES = {
    # one minus the share of passes that vote for the modal class
    "varMC": Uncertainty(_with_mean(_vote_share), lambda s: 1 - s[..., 0].amax(1)),
    "entMC": Uncertainty(_with_mean(lambda p: _entropy_terms(p).mean(0)), _entropy_of_mean),
    # entropy of the mean minus mean entropy (Houlsby et al., arXiv:1112.5745)
    "baldMC": Uncertainty(
        _with_mean(lambda p: _entropy_terms(p).mean(0)), lambda s: _entropy_of_mean(s) - _mean_entropy(s)
    ),
    # mean over classes of the standard deviation over passes (of the population: one pass gives 0)
    "stdMC": Uncertainty(_with_mean(lambda p: p.std(0, correction=0)), lambda s: s[..., 0].mean(1)),
}


def byte_dropout(activation: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Dropout that spends one random byte per element, a sixth of the time of Bernoulli draws.

    `probability` is rounded to a multiple of 1/256, which the paper's 0.25 and 0.5 are.
    """
    threshold = round(256 * probability)
    words = torch.randint(
        -(2**63), 2**63 - 1, (-(-activation.numel() // 8),), generator=generator, device=activation.device
    )
    # the activation's order in memory, without the gaps that a part of a larger tensor has
    strides = torch.empty_like(activation, device="meta").stride()
    draws = words.view(torch.uint8).as_strided(activation.shape, strides)
    return (draws >= threshold).to(activation.dtype).mul_(256 / (256 - threshold)).mul_(activation)


def statistics_in_blocks(
    network: nn.Module,
    images: Images,
    uncertainty: Uncertainty,
    samples: int,
    batch_size: int,
    generator: torch.Generator,
) -> Iterator[Tensor]:
    """Per-class statistics of `samples` passes with dropout over every image.

    Yields blocks (n, C, 2) of successive images on the CPU. The passes share all layers below the first
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
            hidden = network.below_dropout(inputs).contiguous(memory_format=torch.channels_last)
            logits = network.above_dropout(torch.cat([hidden] * samples), dropout=dropout)
            probabilities = logits.unflatten(0, (samples, len(inputs))).softmax(2)
            statistics = uncertainty.statistics(probabilities)
        yield gather_rows(statistics, batch_size, len(chunk)).cpu()
