"""Checkpoints: a network's weights with its accuracies and how it was trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fisher_al.errors import UserError
from fisher_al.files.storage import REPAIR, checksum, load_tensors, save_tensors
from fisher_al.training.fit import FitResult


def save_checkpoint(
    result: FitResult,
    settings: dict[str, object],
    path: Path,
    labeled: Tensor | None = None,
    extra: Mapping[str, Tensor] | None = None,
) -> None:
    """Write the kept epoch's weights, all accuracies, the settings that led to them, and what is `extra`.

    labeled : the pool indices that it was trained on, to recognise the index list that was written for it.
    """
    checkpoint = {
        "state_dict": {name: weight.cpu() for name, weight in result.state_dict.items()},
        "epoch": result.epoch,
        **result.accuracies,
        "settings": settings,
        **(extra or {}),
    }
    if labeled is not None:
        checkpoint["index_list_crc32"] = checksum(labeled)
    save_tensors(checkpoint, path)


def load_checkpoint(path: Path, otherwise: str) -> dict[str, Any]:
    """Read a checkpoint; UserError with the advice `otherwise` if it is missing, broken or something else."""
    checkpoint = load_tensors(path, otherwise)
    is_checkpoint = isinstance(checkpoint, dict) and {"state_dict", "acc", "epoch"} <= checkpoint.keys()
    is_checkpoint = is_checkpoint and isinstance(checkpoint["state_dict"], dict)
    is_checkpoint = is_checkpoint and all(map(torch.is_tensor, checkpoint["state_dict"].values()))
    if not is_checkpoint or not isinstance(checkpoint.get("settings", {}), dict):
        raise UserError(f"{path}: not a checkpoint (no state_dict, acc, epoch); delete it and {otherwise}")
    odd = _impossible_part(checkpoint)
    if odd is not None:
        raise UserError(f"{path}: impossible content ({odd}); delete it and {otherwise}, or {REPAIR}")
    return checkpoint


def _impossible_part(checkpoint: dict[str, Any]) -> str | None:
    """What in a checkpoint no training can have led to; None if all is well."""
    ranges = {**dict.fromkeys(("acc", "acc_last", "acc_val"), 100), "epoch": 1e12, "index_list_crc32": 2**32}
    for name, most in ranges.items():
        if not _is_number(checkpoint.get(name, 0), most) or checkpoint.get(name, 0) < 0:
            return f"{name} {_shown(checkpoint[name])}"
    for name, value in checkpoint.get("settings", {}).items():
        values = value if isinstance(value, (tuple, list)) else [value]
        if not all(isinstance(each, (str, bool)) or _is_number(each, 1e18) for each in values):
            return f"setting {_shown(name)} {_shown(value)}"
    for name, weight in checkpoint["state_dict"].items():
        if not weight.isfinite().all():
            return f"{_shown(name)} is NaN or infinite"
    return None


def _shown(value: object) -> str:
    """The beginning of a value, for a message."""
    is_huge = isinstance(value, int) and value.bit_length() > 64
    return "a huge number" if is_huge else str(value)[:40]


def _is_number(value: object, most: float) -> bool:
    return isinstance(value, (int, float)) and abs(value) <= most


def require_settings(
    path: Path, settings: dict[str, object], otherwise: str, unrecorded: Mapping[str, object] | None = None
) -> None:
    """Raise UserError if the checkpoint records other settings; one that records none is taken as it is.

    unrecorded : what settings are that are recorded only where they are something else.
    """
    recorded, usual = load_checkpoint(path, otherwise).get("settings", {}), unrecorded or {}
    if recorded:
        recorded = {**usual, **recorded}
    for name, value in {**usual, **settings}.items():
        if name in recorded and recorded[name] != value:
            raise UserError(
                f"{path}: made with {name} {recorded[name]}, now {value}; "
                "delete the run's folder, give the earlier options, or choose another --datadir"
            )


def require_pool(pool: Path, initial: Path, otherwise: str) -> None:
    """Raise UserError if a pool is gone whose initial model does not tell the seed to draw it from."""
    if not pool.is_file() and not records_seed(load_checkpoint(initial, otherwise)):
        raise UserError(
            f"{pool}: not found, and {initial} does not tell the seed that it was drawn from; put that pool "
            "in its place"
        )


def records_seed(checkpoint: Mapping[str, Any]) -> bool:
    """Whether a checkpoint tells the seed of its run; published ones do not."""
    return "seed" in checkpoint.get("settings", {})


def load_weights(
    network: nn.Module,
    state: dict[str, Tensor],
    source: str,
    kept: Sequence[str] = (),
    otherwise: str = "delete it or choose another folder with --datadir",
) -> None:
    """Load `state` into `network`; the layers named in `kept` stay as they are.

    Raises: UserError, naming `source`, if a weight is missing, unexpected or of another shape.
    """
    own = network.state_dict()
    fresh = tuple(name for name in own if name.rpartition(".")[0] in kept)
    wanted = {name: tuple(weight.shape) for name, weight in own.items() if name not in fresh}
    found = {name: tuple(weight.shape) for name, weight in state.items() if name not in fresh}
    if wanted != found:
        odd = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        raise UserError(
            f"{source}: checkpoint of another network: {odd[0]} is {found.get(odd[0], 'absent')}, "
            f"expected {wanted.get(odd[0], 'absent')}; {otherwise}"
        )
    own.update({name: weight for name, weight in state.items() if name not in fresh})
    network.load_state_dict(own)  # with the versions of its layers, which some networks look at
