"""The most probable label on the pool, where other classes are frequent than among the validation images.

The nearest validation image calls too many images rare: of a pool's frequent images, those that look like
another class outnumber the rare ones. Which share each class has in the pool is found from the predictions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fisher_al.method.base import DescriptorBlocks, Iteration
from fisher_al.method.descriptors import ForwardPass, LazyDescriptors, describe, scores_of
from fisher_al.method.fisher_kernel import KernelMethod
from fisher_al.method.linear_head import logistic_head
from fisher_al.method.pseudo_labels import true_label

# Steps of the search for the shares of classes, and the change of a share at which it ends.
MOST_STEPS, SMALL_CHANGE = 1000, 1e-6


class ShiftedLabel(KernelMethod):
    """S = the most probable label by a regression on V, corrected for the shares of classes in the pool."""

    name = sub = "gradShift"
    notation = r"$S=\hat{p}_\mathrm{pool}(y,z)$"
    formula = "most probable by a regression on V, given the pool's shares of classes"
    cost = "2 forward passes, 1 pooled gradient, C products of length L"
    color, marker, extension = "#AA0000", "*", True

    def describe(self, iteration: Iteration, member: int) -> DescriptorBlocks:
        network, images = iteration.network_to_describe(member), iteration.validation
        how = iteration.scales, iteration.describe_batch_size
        validation = describe(network, images, *how, scores_of(true_label))
        labels = images.labels.cpu().numpy()
        # at scikit-learn's strength: a hundred times stronger, and rare classes are taken for absent
        head = logistic_head(validation[..., 0].double().numpy(), labels, iteration.num_classes)
        head.to(iteration.device)
        with torch.inference_mode():
            blocks = LazyDescriptors(network, iteration.pool, *how)
            pool = torch.cat([head(block[..., 0].to(iteration.device)).softmax(1) for block in blocks])
        counts = torch.bincount(images.labels, minlength=iteration.num_classes)
        ratio = share_ratios(pool, counts / len(images))

        def rule(one_pass: ForwardPass, labels: Tensor) -> Tensor:
            return shifted(head(one_pass.features).softmax(1), ratio).argmax(1)

        return DescriptorBlocks(LazyDescriptors(network, iteration.pool, *how, scores_of(rule)), validation)


def share_ratios(probabilities: Tensor, shares: Tensor) -> Tensor:
    """Of each class (C,), its share among images over its share where their probabilities were learned.

    probabilities : (N, C) of the images; shares : (C,) where these were learned. By expectation and
    maximisation (Saerens, Latinne and Decaestecker, Neural Computation 14, 2002). A class that was not there
    to be learned has 0.
    """
    probabilities, shares = probabilities.double(), shares.double().to(probabilities.device)
    ratio = (shares > 0).double()
    for _ in range(MOST_STEPS):
        found = shifted(probabilities, ratio).mean(0)
        change = (found - ratio * shares).abs().max()
        ratio = torch.where(shares > 0, found / shares, 0)
        if change < SMALL_CHANGE:
            break
    return ratio


def shifted(probabilities: Tensor, ratio: Tensor) -> Tensor:
    """Probabilities (n, C) where each class is more frequent by `ratio` (C,)."""
    weighted = probabilities * ratio.to(probabilities.dtype)
    return weighted / weighted.sum(1, keepdim=True)
