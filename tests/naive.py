"""The method as its definitions say it, slowly and in float64: what fast paths are compared with."""

from collections.abc import Collection, Sequence
from copy import deepcopy

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def walk(similarity: Tensor, budget: int, without: Collection[int] = ()) -> list[int]:
    """Candidates by the rankings of the centres, rank by rank and by decreasing similarity.

    similarity : (centres, candidates); `without` some candidates.
    """
    rankings = [[j for j in row.argsort(descending=True).tolist() if j not in without] for row in similarity]
    picks: list[int] = []
    for rank in range(len(rankings[0])):
        for i in sorted(range(len(rankings)), key=lambda i: -similarity[i, rankings[i][rank]]):
            if rankings[i][rank] not in picks:
                picks.append(rankings[i][rank])
    return picks[:budget]


def standardised(rows: Tensor) -> Tensor:
    return (rows - rows.mean(1, keepdim=True)) / rows.std(1, keepdim=True)


def scores(rows: Tensor, labels: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Gradients of the cross-entropy at the features, by autograd."""
    rows = rows.clone().requires_grad_()
    torch.nn.functional.cross_entropy(rows @ weight.T + bias, labels, reduction="sum").backward()
    assert rows.grad is not None
    return rows.grad


def picks_by_nearest_label(
    pool: Tensor,
    validation: Tensor,
    labels: Tensor,
    targets: Sequence[int],
    head: tuple[Tensor, Tensor],
    budget: int,
    without: Collection[int],
) -> list[int]:
    """gradFmap of a linear head (weight, bias): S is the label of the nearest validation image in R_z.

    pool, validation : features; labels : of the validation images, of which `targets` are matched in R_zg.
    """
    pool, validation = pool.double(), validation.double()
    weight, bias = (part.detach().double() for part in head)
    nearest = labels[(standardised(pool) @ standardised(validation).T).argmax(1)]
    g_pool = standardised(scores(pool, nearest, weight, bias))
    g_targets = standardised(scores(validation[targets], labels[targets], weight, bias))
    return walk(
        standardised(validation[targets]) @ standardised(pool).T + g_targets @ g_pool.T, budget, without
    )


def balanced_walk(
    probabilities: np.ndarray, counts: Sequence[int], budget: int, without: Collection[int]
) -> list[int]:
    """The image that is most probably of the class with the fewest labels, again and again.

    probabilities : (N, C); counts : labels of each class; `without` some images.
    """
    counts, picks = list(counts), []
    for _ in range(budget):
        number = counts.index(min(counts))
        counts[number] += 1
        left = [image for image in range(len(probabilities)) if image not in {*without, *picks}]
        picks.append(max(left, key=lambda image: probabilities[image, number]))
    return picks


def lenet_descriptor(network, image, label, scales):
    """One image's z and g, spelled out layer by layer."""
    network = deepcopy(network).double().requires_grad_()
    conv1 = F.relu(F.max_pool2d(network.conv1(image.double()), 2))
    conv2 = F.relu(F.max_pool2d(network.conv2(conv1), 2))
    fc1 = F.relu(network.fc1(conv2.reshape(1, 320)))
    fc2 = network.fc2(fc1)
    layers = {"conv1": conv1, "conv2": conv2, "fc1": fc1, "fc2": fc2}
    loss = -torch.log(torch.exp(fc2[0, label]) / torch.exp(fc2[0]).sum())
    z, g = [], []
    for name in scales:
        gradient = torch.autograd.grad(loss, layers[name], retain_graph=True)[0]
        for channel in range(layers[name].shape[1]):
            z.append(layers[name][0, channel].mean())
            g.append(gradient[0, channel].mean())
    return torch.stack(z).detach(), torch.stack(g)


def logdet(rows: np.ndarray) -> float:
    """Of the second moment, made regular."""
    moment = sum(np.outer(row, row) for row in rows) + 1e-8 * np.eye(rows.shape[1])
    return float(np.linalg.slogdet(moment)[1])


def dependence(name: str, Z: Tensor, G: Tensor) -> np.ndarray:
    """How strongly z and g(c) depend on each other by `cor`, `amiFull` or `amiDiag`, (N, C).

    Z : (N, K, L), features of K views; G : (N, K, C, L), scores of every class.
    """
    result = np.zeros((len(Z), G.shape[2]))
    for n in range(len(Z)):
        for c in range(G.shape[2]):
            z, g = Z[n].double().numpy(), G[n, :, c].double().numpy()
            if name == "cor":
                result[n, c] = sum(float(a @ b) for a, b in zip(z, g, strict=True))
            elif name == "amiFull":
                result[n, c] = logdet(z) + logdet(g) - logdet(np.hstack([z, g]))
            else:
                for a, b in zip(z.T, g.T, strict=True):
                    rho = (a @ b) / np.sqrt((a @ a + 1e-8) * (b @ b + 1e-8))
                    result[n, c] -= np.log(1 - rho**2)
    return result
