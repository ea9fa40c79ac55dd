"""Uncertainty of the network under Monte-Carlo dropout (Gal and Ghahramani, arXiv:1506.02142)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fisher_al.data import Images


@dataclass(frozen=True)
class Uncertainty:
    """An uncertainty in two steps, so that an ensemble can average between them.

    statistics : probabilities (K, N, C) of K stochastic passes -> per-class statistics (N, C, 2);
    score : statistics, averaged over ensemble members -> uncertainty (N,), larger is less certain.
    """

    statistics: Callable[[Tensor], Tensor]
    score: Callable[[Tensor], Tensor]


def _votes(probabilities: Tensor) -> Tensor:
    share = F.one_hot(probabilities.argmax(2), probabilities.shape[2]).float().mean(0)
    return torch.stack([share, probabilities.mean(0)], dim=2)


def _variation_ratio(statistics: Tensor) -> Tensor:
    return 1 - statistics[..., 0].amax(1)


# varMC, the variation ratio: one minus the share of passes that vote for the modal class.
UNCERTAINTIES = {"varMC": Uncertainty(_votes, _variation_ratio)}


def sample_statistics(
    network: nn.Module,
    images: Images,
    uncertainty: Uncertainty,
    samples: int,
    batch_size: int,
    generator: torch.Generator,
) -> Tensor:
    """Per-class statistics (N, C, 2), on the CPU, of `samples` passes with dropout over every image.

    The passes share all layers below the first dropout. `batch_size` bounds images x passes computed at
    once; `generator` lives on the images' device and draws the dropout masks, a fresh one per pass and image.
    """

    def dropout(activation: Tensor, probability: float) -> Tensor:
        keep = torch.empty_like(activation).bernoulli_(1 - probability, generator=generator)
        return activation * keep.div_(1 - probability)

    network.eval()
    described = []
    with torch.inference_mode():
        for inputs, _ in images.batches(max(1, batch_size // samples)):
            hidden = network.below_dropout(inputs).repeat(samples, 1, 1, 1)
            logits = network.above_dropout(hidden, dropout=dropout)
            probabilities = logits.unflatten(0, (samples, len(inputs))).softmax(2)
            described.append(uncertainty.statistics(probabilities).cpu())
    return torch.cat(described)
