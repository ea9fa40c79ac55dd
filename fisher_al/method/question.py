"""A question of what to label next, without files or protocol: what images and features have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral

import torch
from torch import Tensor

from fisher_al.data.features import ROWS_AT_ONCE, Features
from fisher_al.data.images import Images
from fisher_al.errors import UserError
from fisher_al.method.acquisition import Matches, unlabeled_indices
from fisher_al.method.base import Descriptors, Iteration, Method
from fisher_al.method.descriptors import LazyDescriptors
from fisher_al.method.fisher_kernel import KernelMethod
from fisher_al.method.linear_head import LinearHead
from fisher_al.method.network import TappedNetwork
from fisher_al.method.predictions import misclassified_validation
from fisher_al.method.registry import METHODS
from fisher_al.method.tapped import POOLED
from fisher_al.seeds import derive_seed


def methods_on_features() -> dict[str, Method]:
    """By name, the methods that do without sampling, and without labels of the pool while they pick."""
    return {
        name: method
        for name, method in METHODS.items()
        if method.works_unlabeled and not method.samples_repeatedly
    }


def method_named(name: str, offered: Mapping[str, Method]) -> Method:
    """The method of that name.

    Raises: UserError if it is not offered.
    """
    if name not in offered:
        raise UserError(f"unknown method '{name}': choose from {', '.join(offered)}")
    return offered[name]


def require_count(name: str, value: object) -> None:
    """Raises: UserError unless it is a whole number, 1 or more."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise UserError(f"{name} {value!r}: has to be a whole number, 1 or more")


def check_budget(budget: int, labeled: Tensor, pool_size: int) -> None:
    """Raises: UserError unless a number of images is asked for that is left beside those (n,) with labels."""
    require_count("budget", budget)
    left = len(unlabeled_indices(labeled, pool_size))
    if budget > left:
        raise UserError(f"budget {budget}: only {left} images of the pool are unlabeled")


def question(
    network: TappedNetwork,
    pool: Images,
    validation: Images,
    budget: int,
    seed: int,
    *,
    num_classes: int,
    scales: Sequence[str],
    batch_size: int,
    mc_samples: int = 1,
    predictions: Tensor | None = None,
) -> Iteration:
    """The one iteration of a network: not the first, so that uncertainties, too, look at it."""
    return Iteration(
        batch=1,
        pool=pool,
        validation=validation,
        num_classes=num_classes,
        load_network=lambda member: network,
        ensemble_size=1,
        scales=tuple(scales),
        mc_samples=mc_samples,
        budget=budget,
        seed_of=lambda *purpose: derive_seed(seed, *purpose),
        describe_batch_size=batch_size,
        predict_batch_size=batch_size,
        validation_predictions=None if predictions is None else lambda: predictions,
    )


def question_on_features(
    head: LinearHead,
    pool: Features,
    validation: Features,
    budget: int,
    seed: int,
    predictions: Tensor | None = None,
) -> Iteration:
    """The same of a head on features. predictions : classes (V,) of the validation images, by default its."""
    return question(
        head,
        pool,
        validation,
        budget,
        seed,
        num_classes=head.linear.out_features,
        scales=(POOLED,),
        batch_size=ROWS_AT_ONCE,
        predictions=predictions,
    )


def descriptors_of(method: Method, iteration: Iteration, in_memory: bool) -> Descriptors:
    """What the method needs of the images; the pool's only when they are asked for, if not `in_memory`."""
    if not method.describes(iteration.batch):
        return Descriptors()
    description = method.describe(iteration, 0)
    is_lazy = not in_memory and isinstance(description.pool, LazyDescriptors)
    pool = description.pool if is_lazy else torch.cat(list(description.pool))
    return Descriptors([pool], description.validation)


def matches_on_features(
    method: KernelMethod, iteration: Iteration, unavailable: Tensor, count: int
) -> Matches:
    """The first `count` matches, none of them among the `unavailable` pool images (n,)."""
    described = descriptors_of(method, iteration, in_memory=False)
    return method.matches(iteration, unavailable, described, misclassified_validation(iteration), count)
