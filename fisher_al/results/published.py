"""The paper's accuracy curves, to compare with."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from fisher_al.chain import Chain
from fisher_al.experiment import Variant
from fisher_al.files.layout import format_ratio


@cache
def _facts() -> dict[str, Any]:
    return json.loads(files("fisher_al.results").joinpath("published.json").read_text())


def published_mean(chain: Chain) -> np.ndarray | None:
    """The paper's mean accuracy (percent) of the chain's method at b = 1, 2, ...; None if it shows none.

    It shows none for another budget, with label noise or for a variant of the protocol. NaN where the curve
    starts later. Read off the published figures, see `published.json`.
    """
    layout, method = chain.layout, chain.method
    curves = _facts()["curves"].get(chain.experiment.name, {})
    # the paper's uncertainties start from the pretrained model and replace no labels
    key = (method.sub, method.aug, method.length, layout.ensemble_size, int(layout.pretrained))
    ratio = format_ratio(layout.imbalance_ratio)
    values = curves.get(ratio, {}).get("|".join(map(str, key)))
    by_run = _facts().get(method.name, {}).get(chain.experiment.name, {}).get(ratio)
    if by_run and layout.pretrained:  # VAAL, published run by run
        values = np.mean(by_run, axis=0)
    is_another = layout.noisy_ratio > 0 or chain.budget != chain.experiment.budget
    is_another = is_another or chain.variant != Variant()
    return None if values is None or is_another else np.array(values, dtype=float)
