"""What the paper's methods are compared with: random picks, VAAL, and others by one look at each image."""

from __future__ import annotations

from abc import abstractmethod
from math import log
from typing import ClassVar

import torch
from torch import Tensor

from fisher_al.distributed import decided_by_main
from fisher_al.method.acquisition import most_uncertain, random_picks, unlabeled_indices
from fisher_al.method.base import DescriptorBlocks, Descriptors, Iteration, Method, Shape
from fisher_al.method.descriptors import LazyDescriptors, no_scores
from fisher_al.method.predictions import pool_probabilities, probabilities_in_blocks


class RandomPicks(Method):
    """Uniformly random images."""

    name = aug = "random"
    notation, formula, cost = "random", "uniform", "none"
    color, marker = "#000000", "o"

    def pick(self, iteration: Iteration, labeled: Tensor, descriptors: Descriptors) -> Tensor:
        available = unlabeled_indices(labeled, len(iteration.pool))
        return available[random_picks(len(available), iteration.budget, iteration.generator("picks"))]


class ValidationOnly(Method):
    """Asks for no label: trains on the validation images instead, where that is allowed."""

    name, aug = "train-on-validation", "trainOnValidation"
    notation, formula, cost = "trained on V", "no pick: trains on the validation images alone", "none"
    color, marker, extension, asks_nothing = "#BBBBBB", "_", True, True

    def pick(self, iteration: Iteration, labeled: Tensor, descriptors: Descriptors) -> Tensor:
        return labeled[:0]


class AdversarialPicks(RandomPicks):
    """VAAL: its first picks are random, the others come with its training, in `vaal/`."""

    name = aug = "vaal"
    notation, formula = "VAAL", "lowest discriminator output (arXiv:1904.00370)"
    cost = "1 encoder pass; VAE and discriminator are trained anew"
    color, marker = "#6A51A3", "H"
    scripts = "vaal"


class PredictionUncertainty(Method):
    """What one softmax says of how sure the network is."""

    cost = "1 forward pass"
    extension = True

    def pick(self, iteration: Iteration, labeled: Tensor, descriptors: Descriptors) -> Tensor:
        available = unlabeled_indices(labeled, len(iteration.pool))
        return available[most_uncertain(self.uncertainty(iteration)[available], iteration.budget)]

    def uncertainty(self, iteration: Iteration) -> Tensor:
        """That of every pool image (N,)."""
        network, size = iteration.load_network(0), iteration.predict_batch_size
        blocks = probabilities_in_blocks(network, iteration.pool, size)
        return torch.cat([self.score(block).cpu() for block in blocks])

    @abstractmethod
    def score(self, probabilities: Tensor) -> Tensor:
        """Uncertainty (n,) of images from their softmax (n, C)."""


class Margin(PredictionUncertainty):
    """The smallest lead of the most probable class over the second."""

    name = aug = "margin"
    notation, formula = "margin", "1 - (probability of the first class - of the second)"
    color, marker = "#117733", "8"

    def score(self, probabilities: Tensor) -> Tensor:
        first, second = probabilities.topk(2).values.T
        return 1 - (first - second)


class Entropy(PredictionUncertainty):
    """The largest entropy of the softmax."""

    name = aug = "entropy"
    notation, formula = "softmax entropy", "entropy of one softmax"
    color, marker = "#44AA99", "1"

    def score(self, probabilities: Tensor) -> Tensor:
        return torch.special.entr(probabilities).sum(1) / log(2)


class FeatureBaseline(Method):
    """A method of scikit-activeml's on the features z of the pool.

    choose : name of its function in `skactiveml`. by_softmax : whether that takes the softmax of the pool
    images, in place of which of them are labeled.
    """

    choose: ClassVar[str]
    by_softmax: ClassVar[bool] = False
    has_scales = True
    extension = True

    def describes(self, batch: int) -> bool:
        return True

    def describe(self, iteration: Iteration, member: int) -> DescriptorBlocks:
        network, scales = iteration.network_to_describe(member), iteration.scales
        size = iteration.describe_batch_size
        return DescriptorBlocks(LazyDescriptors(network, iteration.pool, scales, size, no_scores))

    def shapes(self, iteration: Iteration) -> tuple[Shape, Shape | None]:
        return (len(iteration.pool), self.length, 2), None

    def pick(self, iteration: Iteration, labeled: Tensor, descriptors: Descriptors) -> Tensor:
        from fisher_al.method import skactiveml  # slow to import, and rarely wanted

        features = descriptors.pool[0][:][..., 0].float()
        other = pool_probabilities(iteration) if self.by_softmax else labeled
        available = unlabeled_indices(labeled, len(iteration.pool))
        choose, seed = getattr(skactiveml, self.choose), iteration.seed_of("picks")
        return decided_by_main(lambda: choose(features, other, available, iteration.budget, seed))


class CoreSet(FeatureBaseline):
    """Farthest-first traversal from the labeled images."""

    name, aug = "coreset", "coreSet"
    notation, formula = "core-set", "farthest-first in features z (arXiv:1708.00489)"
    cost = "1 forward pass, A + bA distances of length L"
    color, marker = "#777777", "x"
    choose = "coreset_picks"


class TypicalPicks(FeatureBaseline):
    """The most typical image of every cluster that has no label."""

    name, aug = "typiclust", "typiClust"
    notation, formula = "TypiClust", "most typical of each cluster in features z (arXiv:2202.02794)"
    cost = "1 forward pass, (1 + b)A distances of length L a few times"
    color, marker = "#44AA99", "s"
    choose = "typiclust_picks"


class Badge(FeatureBaseline):
    """k-means++ on gradient embeddings."""

    name, aug = "badge", "badge"
    notation, formula = "BADGE", "k-means++ on (softmax - argmax) x z (arXiv:1906.03671)"
    cost = "1 forward pass, A distances of length CL"
    color, marker = "#999933", "+"
    choose = "badge_picks"
    by_softmax = True


class Clue(FeatureBaseline):
    """The nearest image to every centre of clusters weighted by uncertainty."""

    name = aug = "clue"
    notation, formula = "CLUE", "k-means on features z, weighted by softmax entropy (arXiv:2010.08666)"
    cost = "1 forward pass, A distances of length L a few times"
    color, marker = "#CC6677", "2"
    choose = "clue_picks"
    by_softmax = True


class Falcun(Method):
    """Uncertain images that differ from one another, by the softmax alone."""

    name = aug = "falcun"
    notation, formula = "FALCUN", "drawn by margin + distance in softmax (Gilhuber et al., ECML 2024)"
    cost = "1 forward pass, A distances of length C"
    color, marker, extension = "#AA4499", "3", True

    def pick(self, iteration: Iteration, labeled: Tensor, descriptors: Descriptors) -> Tensor:
        from fisher_al.method.skactiveml import falcun_picks

        probabilities, seed = pool_probabilities(iteration).double(), iteration.seed_of("picks")
        available = unlabeled_indices(labeled, len(iteration.pool))
        return decided_by_main(lambda: falcun_picks(probabilities, available, iteration.budget, seed))
