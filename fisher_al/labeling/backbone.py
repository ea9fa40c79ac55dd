"""The pretrained network whose features are matched: torchvision's or timm's, by name."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from urllib.error import URLError

import torch
from torch import nn

from fisher_al.errors import UserError, reason_of
from fisher_al.files.storage import verified_tensors
from fisher_al.method.tapped import POOLED, Tapped
from fisher_al.training.checkpoints import load_weights

TIMM = "timm:"

# Short side of the resized image over the crop's, where the weights do not say.
CROP_SHARE = 256 / 224


@dataclass(frozen=True)
class Backbone:
    """A network with weights, its layer that classifies, and the inputs that it was trained on.

    width : channels of what the head sees. crop : side of the inputs; resize : of the image's short side
    before that, in pixels. identity : tells these weights from others.
    """

    name: str
    module: nn.Module
    head: str
    width: int
    crop: int
    resize: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    identity: str

    def tapped(self, scales: Mapping[str, int] | None = None) -> Tapped:
        """The network with its pooled features, or these layers, tapped."""
        return Tapped(self.module, scales or {POOLED: self.width}, self.head)


def load_backbone(
    name: str, weights: Path | None, crop: int | None = None, resize: int | None = None
) -> Backbone:
    """A classification network by its name, in eval mode.

    name : one of torchvision's, with its weights; or `timm:` and one of timm's. weights : a state dict that
    takes their place; what its head was trained on does not matter. crop, resize : by default the weights'.
    Raises: UserError for an unknown name, weights that cannot be had, or those of another network.
    """
    build = _from_timm if name.startswith(TIMM) else _from_torchvision
    module, crop_of_weights, resize_of_weights, mean, std = build(name, weights)
    head = _head_name(module)
    layer = module.get_submodule(head)
    if weights is not None:
        _load_all_but_head(module, head, weights)
    side = crop or crop_of_weights
    module.eval().requires_grad_(False)
    _require_inputs_of(module, name, side)
    return Backbone(
        name=name,
        module=module,
        head=head,
        width=layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels,  # type: ignore
        crop=side,
        resize=max(resize or (round(side * CROP_SHARE) if crop else resize_of_weights), side),
        mean=mean,
        std=std,
        identity=f"{name}-{_digest(module, head)}",
    )


_Built = tuple[nn.Module, int, int, tuple[float, ...], tuple[float, ...]]


def _from_torchvision(name: str, weights: Path | None) -> _Built:
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        close = ", ".join(get_close_matches(name, known, n=4)) or "resnet18, resnet50, convnext_tiny"
        raise UserError(f"--backbone {name}: not a classification network of torchvision; such as {close}")
    pretrained = models.get_model_weights(name).DEFAULT  # type: ignore[attr-defined]
    inputs = pretrained.transforms()
    if weights is not None:
        module = models.get_model(name, weights=None)
        if hasattr(module, "transform_input"):  # GoogLeNet and Inception, as their weights want it
            module.transform_input = True  # type: ignore[assignment]
    else:
        file = Path(torch.hub.get_dir()) / "checkpoints" / pretrained.url.rpartition("/")[2]
        try:
            with _nothing_unpickled():
                module = models.get_model(name, weights=pretrained)
        except (URLError, OSError) as error:
            raise UserError(
                f"--backbone {name}: its weights cannot be downloaded ({error}); get {pretrained.url} and "
                f"put it at {file}, or give --weights FILE"
            ) from error
        except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
            raise UserError(f"{file}: broken; delete it, and it is downloaded again") from error
    return module, inputs.crop_size[0], inputs.resize_size[0], tuple(inputs.mean), tuple(inputs.std)


@contextmanager
def _nothing_unpickled() -> Iterator[None]:
    """Let every `torch.load` take tensors alone, also where torchvision, torch.hub or timm call it."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


def _from_timm(name: str, weights: Path | None) -> _Built:
    try:
        import timm
    except ImportError as error:
        raise UserError(f"--backbone {name}: timm is not installed; pip3 install timm") from error
    short = name.removeprefix(TIMM)
    if not timm.is_model(short):
        close = ", ".join(get_close_matches(short.partition(".")[0], timm.list_models(), n=4))
        raise UserError(f"--backbone {name}: not a network of timm; such as {close or 'resnet18'}")
    try:
        with _nothing_unpickled():
            module = timm.create_model(short, pretrained=weights is None)
    except Exception as error:  # whatever its downloads lead to
        raise UserError(
            f"--backbone {name}: its weights cannot be had ({reason_of(error)}); give --weights"
        ) from error
    config = module.pretrained_cfg
    side = config["input_size"][1]
    return module, side, round(side / config["crop_pct"]), tuple(config["mean"]), tuple(config["std"])


def _head_name(module: nn.Module) -> str:
    """Name of the layer that classifies: the last linear one, or the last convolution where there is none."""
    for kind in (nn.Linear, nn.Conv2d):
        if names := [name for name, layer in module.named_modules() if isinstance(layer, kind)]:
            return names[-1]
    raise UserError(f"{type(module).__name__}: has no layer that classifies")


def _require_inputs_of(module: nn.Module, name: str, side: int) -> None:
    """Raise UserError if the network takes no images of this size."""
    try:
        with torch.inference_mode():
            module(torch.zeros(1, 3, side, side))
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"--crop {side}: not a size that {name} takes ({reason}); leave the option out, or choose another"
        ) from error


def _load_all_but_head(module: nn.Module, head: str, path: Path) -> None:
    """Load a state dict; its head, which may know other classes, is passed over."""
    if not path.is_file():
        raise UserError(f"--weights {path}: not found")
    state = verified_tensors(path, "give a file of tensors")
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    is_state = isinstance(state, dict) and all(torch.is_tensor(weight) for weight in state.values())
    if not is_state or not state:
        raise UserError(f"--weights {path}: not a state dict (names of layers with tensors)")
    state = {str(name): w.float() if w.is_floating_point() else w for name, w in state.items()}
    load_weights(module, state, f"--weights {path}", (head,), "give the --backbone that they are of")
    odd = [name for name, weight in module.state_dict().items() if not weight.isfinite().all()]
    if odd:
        raise UserError(f"--weights {path}: {odd[0]} is NaN or infinite")


def _digest(module: nn.Module, head: str) -> str:
    """Hexadecimal digest of all weights but the head's."""
    digest = hashlib.sha256()
    for name, weight in module.state_dict().items():
        if not name.startswith(f"{head}."):
            digest.update(name.encode() + weight.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
