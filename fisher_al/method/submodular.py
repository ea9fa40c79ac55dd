"""SIMILAR: pool images that together stand for the misclassified validation images."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from fisher_al.data.batches import shared_batches
from fisher_al.data.images import Images
from fisher_al.distributed import decided_by_main, gather_rows
from fisher_al.method.acquisition import unlabeled_indices
from fisher_al.method.base import Descriptors, Iteration, Method
from fisher_al.method.descriptors import residuals
from fisher_al.method.network import TappedNetwork
from fisher_al.method.predictions import misclassified_validation

# Candidates whose similarity to all targets is in memory at once, and of those that look best after a pick.
AT_ONCE, LOOKED_AT = 1024, 64

SMALLEST = torch.finfo(torch.double).tiny


class Similar(Method):
    """Greedy maximisation of FL2MI, the mutual information of facility location, with the targets as query.

    How similar two images are is the cosine of their gradients of the loss in the last layer, for the label
    of a validation image and the class that the network predicts of a pool image. Negative ones count as 0.
    """

    name = aug = "similar"
    notation, formula = "SIMILAR, FL2MI", "facility location of the targets, greedily (arXiv:2107.00717)"
    cost = "1 forward pass, V products of lengths C and the last layer's"
    color, marker, extension = "#CC6677", "D", True

    def pick(self, iteration: Iteration, labeled: Tensor, descriptors: Descriptors) -> Tensor:
        network, size = iteration.load_network(0), iteration.predict_batch_size
        images, targets = iteration.validation, misclassified_validation(iteration)
        query = [factor[targets] for factor in gradient_directions(network, images, size, images.labels)]
        pool = gradient_directions(network, iteration.pool, size)
        available = unlabeled_indices(labeled, len(iteration.pool))

        def similarity(some: Tensor) -> Tensor:
            rows = available[some].to(iteration.device)
            return (query[0] @ pool[0][rows].T).mul_(query[1] @ pool[1][rows].T).clamp_min_(0)

        count, budget = len(available), iteration.budget
        picks = decided_by_main(lambda: greedy_mutual_information(similarity, count, budget))
        return available[picks]


def gradient_directions(
    network: TappedNetwork, images: Images, batch_size: int, labels: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Factors of length 1, (N, C) and (N, width + 1), of each image's gradient in the classification layer.

    That of its weights and bias is the outer product of softmax less label and of the layer's input with a 1
    behind it (0 in a layer without bias), so the product of the factors' products is the cosine of two
    gradients. labels : (N,), by default those that the network predicts.
    """
    seen: list[Tensor] = []
    head = network.get_submodule(network.head)
    hook = head.register_forward_pre_hook(lambda _, given: seen.append(*given))
    of_bias = 0.0 if getattr(head, "bias", None) is None else 1.0
    network.eval()
    directions, inputs, start = [], [], 0
    for chunk, batch, _ in shared_batches(images, batch_size):
        with torch.inference_mode():
            logits = gather_rows(network(batch), batch_size, len(chunk))
            inputs.append(gather_rows(seen.pop().flatten(1), batch_size, len(chunk)))
        own = logits.argmax(1) if labels is None else labels[start : start + len(chunk)]
        # in float64, where directions are not lost to underflow
        directions.append(F.normalize(residuals(logits.double(), own), eps=SMALLEST).float())
        start += len(chunk)
    hook.remove()
    return torch.cat(directions), F.normalize(F.pad(torch.cat(inputs), (0, 1), value=of_bias))


def greedy_mutual_information(similarity: Callable[[Tensor], Tensor], count: int, budget: int) -> Tensor:
    """`budget` of `count` candidates, each the first of those that add most to FL2MI with the ones before.

    FL2MI is the sum over targets of the largest similarity to a pick, and the sum over picks of the largest
    similarity to a target (Kothawade et al., arXiv:2107.00717, table 1, eta = 1). `similarity` gives
    that of all targets, at least 0, to some candidates: (M, n). As what a candidate adds can only become
    less, what it added before is a bound, and only those with the largest bounds are looked at again.
    """
    own, bound = torch.empty(count, dtype=torch.double), torch.empty(count, dtype=torch.double)
    for rows in torch.arange(count).split(AT_ONCE):
        block = similarity(rows)
        own[rows] = block.amax(0).double().cpu()
        bound[rows] = block.sum(0, dtype=torch.double).cpu() + own[rows]
    covered = torch.zeros_like(block[:, :1])  # of each target, the largest similarity to a pick
    picks: list[int] = []
    is_fresh = torch.ones(count, dtype=torch.bool)
    while len(picks) < budget:
        best = int(bound.argmax())
        if is_fresh[best]:
            picks.append(best)
            covered = torch.maximum(covered, similarity(torch.tensor([best])))
            bound[best] = -torch.inf
            is_fresh = torch.zeros(count, dtype=torch.bool)
        else:
            rows = bound.topk(min(LOOKED_AT, count)).indices
            if best not in rows:  # of equal ones topk takes any
                rows[-1] = best
            gains = (similarity(rows) - covered).clamp_min_(0).sum(0, dtype=torch.double)
            bound[rows], is_fresh[rows] = gains.cpu() + own[rows], True
            bound[picks] = -torch.inf
    return torch.tensor(picks)
