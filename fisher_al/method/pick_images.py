"""The methods on one's own images and network: arrays in, what to label next out; no files, no protocol."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor

from fisher_al.data.images import Images
from fisher_al.errors import UserError
from fisher_al.method.arrays import row_indices
from fisher_al.method.base import Method
from fisher_al.method.network import TappedNetwork
from fisher_al.method.question import check_budget, descriptors_of, method_named, question, require_count
from fisher_al.method.registry import METHODS


def pick_images(
    network: TappedNetwork,
    pool: Images,
    validation: Images,
    budget: int,
    method: str = "gradFmap",
    scales: Sequence[str] | None = None,
    labeled: Tensor | None = None,
    mc_samples: int = 32,
    batch_size: int = 256,
    seed: int = 0,
) -> Tensor:
    """Which images of the pool to label next.

    method : a name of `METHODS`. scales : those of the network's that descriptors concatenate; all of them
    where none are named. labeled : indices (n,) into the pool that have labels already. mc_samples : K, where
    dropout passes or views are sampled. batch_size : images at once; dropout masks are drawn by batches.
    All is computed in float32.

    Returns: indices into the pool (budget,), in the order of picking.
    Raises: UserError for an unknown method or scale, labels that are missing or that the network does not
    know, or more budget than unlabeled images.
    """
    if not hasattr(network, "scales"):
        raise UserError(
            f"{type(network).__name__}: names no scales; wrap it as Tapped(network, scales, head)"
        )
    labeled = row_indices(None if labeled is None else torch.as_tensor(labeled).cpu(), len(pool))
    scales = (scales,) if isinstance(scales, str) else tuple(network.scales if scales is None else scales)
    chosen = _method(method, network, scales)
    check_budget(budget, labeled, len(pool))
    require_count("mc_samples", mc_samples)
    require_count("batch_size", batch_size)
    if len(validation) == 0 or int(validation.labels.min()) < 0:
        raise UserError(
            "validation: no images, or without labels; methods compare with what is known of them"
        )
    pool, validation = pool.in_float32(), validation.in_float32()
    read = {"validation": validation.labels}
    if not chosen.works_unlabeled:
        read["pool"] = pool.labels
    elif method == "balanced" and len(labeled):
        read["labeled images"] = pool.labels[labeled]
    for name, labels in read.items():
        if int(labels.min()) < 0:
            raise UserError(f"method '{method}': needs the labels of the {name}")
    network = deepcopy(network).float().eval()  # the caller's stays as it is, with its weights' gradients
    for layer, values in network.state_dict().items():
        if values.is_floating_point() and not values.isfinite().all():
            raise UserError(f"network: its {layer} holds NaN or infinity")
    with torch.inference_mode():
        num_classes = network(validation[:1][0]).shape[1]
    for name, labels in read.items():
        if (highest := int(labels.max())) >= num_classes:
            raise UserError(f"{name}: has label {highest}, but the network knows 0 to {num_classes - 1}")
    iteration = question(
        network,
        pool,
        validation,
        budget,
        seed,
        num_classes=num_classes,
        scales=scales,
        batch_size=batch_size,
        mc_samples=mc_samples,
    )
    return chosen.pick(iteration, labeled, descriptors_of(chosen, iteration, in_memory=True))


def _method(name: str, network: TappedNetwork, scales: tuple[str, ...]) -> Method:
    """The method of that name on the network's scales."""
    offered = {n: m for n, m in METHODS.items() if not (m.scripts or m.asks_nothing)}
    method = method_named(name, offered)
    if not method.has_scales:
        return method
    for scale in scales:
        if scale not in network.scales:
            raise UserError(f"unknown scale '{scale}': the network has {', '.join(network.scales)}")
    if not scales:
        raise UserError(f"method '{name}': needs at least one scale of {', '.join(network.scales)}")
    return replace(method, length=sum(network.scales[scale] for scale in scales))
