"""What networks say of validation images that they have not learned, where the chain's networks do."""

from __future__ import annotations

import torch
from torch import Tensor

from fisher_al.chain import Chain
from fisher_al.errors import UserError
from fisher_al.method.predictions import predict
from fisher_al.training.fit import divergence, fit
from fisher_al.training.folds import folds


def cross_fitted_predictions(chain: Chain, batch: int, labeled: Tensor) -> Tensor:
    """Classes (V,) of the validation images, each from a network that was trained without it.

    They are left out a fifth at a time. Each network starts from the initial model, and learns the pool's
    labels (n,) and the other validation images by the chain's schedule; its last epoch counts.
    """
    data = chain.load_data()
    if len(data.validation) < 2:
        raise UserError("--train-on-validation: a single validation image cannot be left out; add others")
    validation, pool = data.validation, data.pool.subset(labeled)
    predictions = torch.empty(len(validation), dtype=torch.long)
    labels, seed = validation.labels.cpu().numpy(), chain.own_seed(batch, "folds")
    for number, (kept, left_out) in enumerate(folds(labels, seed)):
        network = chain.load_model(0, 0)
        images = pool.with_more(validation.subset(torch.from_numpy(kept)))
        tested = validation.subset(torch.from_numpy(left_out))
        result = fit(
            network,
            images,
            torch.arange(len(images)),
            chain.training,
            chain.generator(batch, "cross-fitting", number),
            tested,
            evaluation_batch_size=chain.evaluation_batch_size,
            **chain.experiment.step_settings(chain.device),
            keep="last",
        )
        if result.diverged:
            raise UserError(divergence(f"{chain.name} cross-fitting at b={batch}", result, chain.training))
        predictions[torch.from_numpy(left_out)] = predict(network, tested, chain.evaluation_batch_size).cpu()
    return predictions
