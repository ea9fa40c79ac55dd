"""The label S whose gradient makes a descriptor's Fisher score, on the pool where labels are unknown.

A label rule maps a forward pass (of N images) and their true labels (N,) to the labels S (N,).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fisher_al.data.batches import most_images_at_once
from fisher_al.method.acquisition import kernel_features
from fisher_al.method.descriptors import ForwardPass, LabelRule
from fisher_al.method.network import TappedNetwork
from fisher_al.method.views import Views

# What is in memory at once while views are estimated: little enough to stay in the processor's cache.
VIEWS_AT_ONCE = 4096
VIEWS_PER_PASS = 512
SCORES_AT_ONCE = 2**23


def true_label(one_pass: ForwardPass, labels: Tensor) -> Tensor:
    """S = y: the oracle's label, an upper bound where it is used on the pool."""
    return labels


def predicted_label(one_pass: ForwardPass, labels: Tensor) -> Tensor:
    """S = argmax of the network."""
    return one_pass.logits.argmax(1)


def nearest_validation_label(
    validation: Tensor, validation_labels: Tensor, widths: Sequence[int]
) -> LabelRule:
    """S = the label of the validation image that is most similar in the kernel.

    validation : (V, L) features for R_z, p^(y, z); or (V, L, 2) features and scores of the predicted label
    for R_zg, p^(y, z, g). validation_labels : (V,); widths : channels of each scale, summing to L.
    """
    keys = kernel_features(validation, widths)
    with_scores = validation.dim() == 3

    def rule(one_pass: ForwardPass, labels: Tensor) -> Tensor:
        query = one_pass.features
        if with_scores:
            query = torch.stack([query, one_pass.scores(predicted_label(one_pass, labels))], dim=2)
        similarity = kernel_features(query, widths) @ keys.T
        return validation_labels[similarity.argmax(1)]

    return rule


def most_dependent_label(
    estimator: Callable[[Tensor, Tensor], Tensor], network: TappedNetwork, scales: Sequence[str], views: Views
) -> LabelRule:
    """S = the class whose scores depend most on the features, over the views of an image.

    `estimator` is one of `fisher_al.method.information`. Memory is bounded whatever the batch size.
    """

    def rule(one_pass: ForwardPass, labels: Tensor) -> Tensor:
        if len(labels) == 0:
            return labels  # of several processes, one may have nothing of the last batch
        per_image = len(views) * one_pass.logits.shape[1] * one_pass.features.shape[1]
        chunk = max(1, min(VIEWS_AT_ONCE // len(views), SCORES_AT_ONCE // per_image))
        return torch.cat([estimate(inputs) for inputs in one_pass.inputs.split(chunk)])

    def estimate(inputs: Tensor) -> Tensor:
        copies = views.of(inputs).transpose(0, 1)  # (N, K, channels, height, width)
        at_once = min(VIEWS_PER_PASS, most_images_at_once(inputs.shape[2:]))
        described = [describe(part) for part in copies.flatten(0, 1).split(at_once)]
        features, scores = (torch.cat(parts) for parts in zip(*described, strict=True))
        shape = (len(inputs), len(views))
        return estimator(features.unflatten(0, shape), scores.unflatten(0, shape)).argmax(1)

    def describe(inputs: Tensor) -> tuple[Tensor, Tensor]:
        one_pass = ForwardPass(network, inputs.contiguous(memory_format=torch.channels_last), scales)
        return one_pass.features, one_pass.class_scores()

    return rule
