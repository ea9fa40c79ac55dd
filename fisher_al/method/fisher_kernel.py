"""The paper's methods: pool images that match the misclassified validation images in the Fisher kernel.

They differ in the label S whose gradient is the Fisher score; R_z does without scores.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from fisher_al.distributed import decided_by_main
from fisher_al.method.acquisition import Matches, k_centre, kernel_features, match, unlabeled_indices
from fisher_al.method.base import DescriptorBlocks, Descriptors, Iteration, Method, Shape
from fisher_al.method.descriptors import (
    Column,
    LazyDescriptors,
    describe,
    label_column,
    no_scores,
    scores_of,
)
from fisher_al.method.information import diagonal_information, gaussian_information, trace_correlation
from fisher_al.method.network import TappedNetwork
from fisher_al.method.predictions import misclassified_validation
from fisher_al.method.pseudo_labels import (
    most_dependent_label,
    nearest_validation_label,
    predicted_label,
    true_label,
)
from fisher_al.method.views import draw_views


class KernelMethod(Method):
    """Matching in the Fisher kernel R_zg, or in R_z."""

    aug = "topKandPccFprGrad"
    has_scales = True
    compared: ClassVar[int | slice] = slice(0, 2)  # z and g of a descriptor
    validation_columns: ClassVar[int] = 2

    def describes(self, batch: int) -> bool:
        return True

    def shapes(self, iteration: Iteration) -> tuple[Shape, Shape | None]:
        validation = (len(iteration.validation), self.length, self.validation_columns)
        return (len(iteration.pool), self.length, 2), validation

    def pick(self, iteration: Iteration, labeled: Tensor, descriptors: Descriptors) -> Tensor:
        """Match the misclassified validation images; all of them where none is misclassified."""
        targets = misclassified_validation(iteration)
        return decided_by_main(lambda: self.matches(iteration, labeled, descriptors, targets).candidates)

    def largest_similarity(self, widths: Sequence[int]) -> int:
        """That of an image with itself; widths : channels of each scale."""
        parts = 1 if self.compared == 0 else 2
        return parts * sum(width - 1 for width in widths)

    def matches(
        self,
        iteration: Iteration,
        labeled: Tensor,
        descriptors: Descriptors,
        targets: Tensor,
        count: int | None = None,
    ) -> Matches:
        """Match pool images with the validation images at `targets` (M,).

        Where these are more than the budget, k-centre leaves as many. count : how many matches, by default
        the budget.
        Returns: matches by indices into the pool and into the validation images.
        """
        pool, validation = descriptors.pool[0], descriptors.validation
        assert validation is not None
        network = iteration.load_network(0)
        widths = [network.scales[name] for name in iteration.scales]

        def features(descriptors: Tensor) -> Tensor:
            return kernel_features(descriptors[..., self.compared].float(), widths)

        centres = features(validation[targets].to(iteration.device))
        if iteration.budget < len(centres):
            chosen = k_centre(centres, iteration.budget, iteration.generator("picks"))
            centres, targets = centres[chosen.to(centres.device)], targets[chosen]
        available = unlabeled_indices(labeled, len(pool))
        found = match(centres, pool, count or iteration.budget, available, features)
        return found._replace(centres=targets[found.centres])


class OneColumn(KernelMethod):
    """Pool and validation images are described alike."""

    cost = "1 forward pass, 1 pooled gradient"

    def describe(self, iteration: Iteration, member: int) -> DescriptorBlocks:
        network = iteration.network_to_describe(member)
        how = iteration.scales, iteration.describe_batch_size, self.column(iteration, network)
        validation = describe(network, iteration.validation, *how)
        return DescriptorBlocks(LazyDescriptors(network, iteration.pool, *how), validation)

    @abstractmethod
    def column(self, iteration: Iteration, network: TappedNetwork) -> Column:
        """What stands beside z: the scores of a label S."""


class FeatureSimilarity(OneColumn):
    """R_z: similarity of features alone."""

    name, aug = "none", "topKandPcc"
    notation, formula, cost = "$R_z$", "features alone", "1 forward pass"
    color, marker = "#56B4E9", "^"
    compared = 0

    def column(self, iteration: Iteration, network: TappedNetwork) -> Column:
        return no_scores


class TrueLabel(OneColumn):
    """S = y: the oracle's label, an upper bound."""

    name = sub = "gradAbl"
    notation, formula = "$S=y$", "true label"
    color, marker = "#009E73", "D"
    pool_labels = True

    def column(self, iteration: Iteration, network: TappedNetwork) -> Column:
        return scores_of(true_label)


class PredictedLabel(OneColumn):
    """S = y^: what the network predicts."""

    name = sub = "grad"
    notation, formula = r"$S=\hat{y}$", "argmax of the network"
    color, marker = "#CC79A7", "v"

    def column(self, iteration: Iteration, network: TappedNetwork) -> Column:
        return scores_of(predicted_label)


class NearestLabel(KernelMethod):
    """S = p^(y,z), ours: a pool image borrows the label of the validation image nearest in R_z."""

    name = sub = "gradFmap"
    notation, formula = r"ours, $S=\hat{p}(y,z)$", "label of the validation image nearest in R_z"
    cost = "1 forward pass, 1 pooled gradient, V products of length L"
    color, marker = "#D55E00", "P"
    validation_columns = 4

    def describe(self, iteration: Iteration, member: int) -> DescriptorBlocks:
        """Validation by z, g of the true label, g of the predicted label, and the label; pool by z and g."""
        network, images = iteration.network_to_describe(member), iteration.validation
        how = iteration.scales, iteration.describe_batch_size
        columns = scores_of(true_label), scores_of(predicted_label), label_column
        validation = describe(network, images, *how, *columns)
        keys = self.keys(validation).to(iteration.device)
        widths = [network.scales[name] for name in iteration.scales]
        rule = nearest_validation_label(keys, images.labels, widths)
        return DescriptorBlocks(LazyDescriptors(network, iteration.pool, *how, scores_of(rule)), validation)

    def keys(self, validation: Tensor) -> Tensor:
        """What of the validation images' descriptors the search for the nearest compares."""
        return validation[..., 0]


class NearestLabelByScores(NearestLabel):
    """S = p^(y,z,g): the same in R_zg, by the scores of the predicted label on both sides."""

    name = sub = "gradGmap"
    notation, formula = r"$S=\hat{p}(y,z,g)$", "label of the validation image nearest in R_zg"
    cost = "1 forward pass, 2 pooled gradients, V products of length 2L"
    color, marker = "#8B2500", "X"

    def keys(self, validation: Tensor) -> Tensor:
        return validation[..., [0, 2]]


class SampledViews(OneColumn):
    """S = the class whose scores depend most on the features, over K sampled views of the image."""

    samples_repeatedly = True
    cost = "K forward passes, C pooled gradients each"

    def column(self, iteration: Iteration, network: TappedNetwork) -> Column:
        generator = iteration.generator("views", on_device=True)
        image_shape = iteration.pool[torch.tensor([0])][0].shape[1:]
        views = draw_views(iteration.mc_samples, image_shape, generator)
        return scores_of(most_dependent_label(self.dependence, network, iteration.scales, views))

    @abstractmethod
    def dependence(self, Z: Tensor, G: Tensor) -> Tensor:
        """How strongly z and g(c) depend on each other, (N, C); see `fisher_al.method.information`."""


class TraceCorrelation(SampledViews):
    """S = tr(C_zg)."""

    name = sub = "cor"
    notation, formula = r"$S=\mathrm{tr}(C_{zg})$", "argmax_c of sum z . g(c) over K views"
    color, marker = "#0072B2", "<"

    def dependence(self, Z: Tensor, G: Tensor) -> Tensor:
        return trace_correlation(Z, G)


class GaussianInformation(SampledViews):
    """S = I(z;g) of Gaussian variables."""

    name = sub = "amiFull"
    notation, formula = r"$S=I(z;g)$", "argmax_c of logdet ZZ' + logdet GG' - logdet [Z;G][Z;G]'"
    cost = "K forward passes, C pooled gradients each, C determinants of order min(2L, K)"
    color, marker = "#882255", ">"

    def dependence(self, Z: Tensor, G: Tensor) -> Tensor:
        return gaussian_information(Z, G)


class DiagonalInformation(SampledViews):
    """S = I(z;g), channel by channel."""

    name = sub = "amiDiag"
    notation = r"$S=I_\mathrm{diag}(z;g)$"
    formula = "argmax_c of -sum over channels of log(1 - rho^2)"
    color, marker = "#AA4499", "d"

    def dependence(self, Z: Tensor, G: Tensor) -> Tensor:
        return diagonal_information(Z, G)
