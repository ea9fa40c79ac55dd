"""Which images to label next: those that the discriminator takes for unlabeled most surely."""

from __future__ import annotations

import torch
from torch import Tensor

from fisher_al.data.batches import EVALUATION_BATCH_SIZE
from fisher_al.method.acquisition import most_uncertain
from vaal.images import as_inputs
from vaal.model import VAE, Discriminator


def discriminator_outputs(vae: VAE, discriminator: Discriminator, images: Tensor, chosen: Tensor) -> Tensor:
    """Logit (n,) of being labeled, from the latent mean, of the uint8 `images` at `chosen` (n,).

    Logits order images as the probabilities do, without the ties where those round to 0 or 1. In float32.
    """
    vae.eval()
    with torch.inference_mode():
        parts = chosen.to(images.device).split(EVALUATION_BATCH_SIZE)
        return torch.cat([discriminator(vae.encode(as_inputs(images[part]))[0]) for part in parts])


def pick(outputs: Tensor, unlabeled: Tensor, budget: int) -> Tensor:
    """The `budget` of `unlabeled` (n,) with the lowest `outputs` (n,), lowest first; ties to the earlier."""
    return unlabeled[most_uncertain(-outputs.to(unlabeled.device), budget)]
