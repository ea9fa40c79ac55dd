"""The label S whose gradient makes a descriptor's Fisher score, on the pool where labels are unknown."""

from collections.abc import Callable, Sequence

from torch import Tensor

from fisher_al.acquisition import kernel_features
from fisher_al.descriptors import ForwardPass

LabelRule = Callable[[ForwardPass, Tensor], Tensor]


def true_label(one_pass: ForwardPass, labels: Tensor) -> Tensor:
    """S = y: the oracle's label, an upper bound where it is used on the pool."""
    return labels


def predicted_label(one_pass: ForwardPass, labels: Tensor) -> Tensor:
    """S = argmax of the network."""
    return one_pass.logits.argmax(1)


def nearest_validation_label(
    validation_features: Tensor, validation_labels: Tensor, widths: Sequence[int]
) -> LabelRule:
    """S = p^(y, z): the label of the validation image that is most similar in R_z.

    validation_features : (V, L); validation_labels : (V,); widths : channels of each scale, summing to L.
    """
    keys = kernel_features(validation_features, widths)

    def rule(one_pass: ForwardPass, labels: Tensor) -> Tensor:
        similarity = kernel_features(one_pass.features, widths) @ keys.T
        return validation_labels[similarity.argmax(1)]

    return rule
