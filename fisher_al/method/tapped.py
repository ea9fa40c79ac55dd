"""Any torch module as a tapped network: name its layers, and hooks do the rest."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from difflib import get_close_matches

from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from fisher_al.errors import UserError
from fisher_al.method.network import Dropout, Tap, TappedNetwork, no_dropout, untapped

POOLED = "pooled"


class Tapped(TappedNetwork):
    """A classifier whose layers are tapped by name, with gradients from autograd.

    module : maps images (N, channels, H, W) to logits (N, C). scales : name of a layer in `module`, such as
    "layer3" or "features.12" -> channels of its output; the reserved name "pooled" stands for the head's
    input. head : name of the layer that gives the logits, say "fc"; after pretraining it is drawn anew.

    Activations are (N, channels) or (N, channels, positions...), for instance (N, channels, H, W). Tokens or
    channels last, (N, T, channels), are not supported: refused, unless T happens to equal the channels.
    A scale has to run exactly once in a forward pass.
    Monte-Carlo dropout: at the module's own dropout layers (nn.Dropout, nn.Dropout2d ...), with their
    probability, element by element. They also act in training. F.dropout is not seen.
    Raises: UserError if a layer is not there; when tapped, if its output does not fit its scale.

    >>> Tapped(torchvision.models.resnet18(), scales={"layer3": 256, "pooled": 512}, head="fc")
    """

    def __init__(self, module: nn.Module, scales: Mapping[str, int], head: str):
        super().__init__()
        for name in scales:
            if name != POOLED:
                _require_layer(module, name, "scale")
        _require_layer(module, head, "head")
        if not any(True for _ in module.get_submodule(head).parameters(recurse=False)):
            raise UserError(f"head '{head}': has no weights of its own; name the layer that gives the logits")
        self.module = module
        self.scales = dict(scales)
        self.head = f"module.{head}"

    def below_dropout(self, images: Tensor) -> Tensor:
        """The images: where the first dropout is, is not known before they pass it."""
        return images

    def above_dropout(self, hidden: Tensor, tap: Tap = untapped, dropout: Dropout = no_dropout) -> Tensor:
        """Logits (N, C) of images, with `dropout` at the module's dropout layers, which eval mode turns off.

        Raises: UserError if there is none.
        """
        with ExitStack() as hooks:  # their handles remove them, whatever happens
            if dropout is not no_dropout:
                self._hook_dropout(hooks, dropout)
            if tap is untapped:
                return self.module(hidden)
            ran = self._hook_scales(hooks, tap)
            logits = self.module(hidden)
        if missed := self.scales.keys() - ran:
            raise UserError(f"scale '{min(missed)}': the forward pass never calls this layer; name another")
        return logits

    def _hook_dropout(self, hooks: ExitStack, dropout: Dropout) -> None:
        layers = [layer for layer in self.module.modules() if isinstance(layer, _DropoutNd) and layer.p > 0]
        if not layers:
            raise UserError(
                f"{type(self.module).__name__} has no dropout layer (nn.Dropout with p above 0), which "
                "Monte-Carlo dropout needs; add one, or choose a method without it"
            )
        for layer in layers:
            hook = layer.register_forward_hook(lambda layer, _, output: dropout(output, layer.p))
            hooks.enter_context(hook)

    def _hook_scales(self, hooks: ExitStack, tap: Tap) -> set[str]:
        """Tap every scale; the names of those that have run gather in the set that is returned."""
        ran: set[str] = set()

        def tapped(name: str, activation: Tensor) -> Tensor:
            _require_fit(name, activation, self.scales[name])
            if name in ran:
                raise UserError(f"scale '{name}': the layer runs more than once; name one that runs once")
            ran.add(name)
            # a copy goes on, as layers above may work in place (nn.ReLU(inplace=True), +=)
            return tap(name, activation).clone()

        for name in self.scales:
            if name == POOLED:
                hook = self.get_submodule(self.head).register_forward_pre_hook(
                    lambda _, inputs: (tapped(POOLED, inputs[0]), *inputs[1:])
                )
            else:
                hook = self.module.get_submodule(name).register_forward_hook(
                    lambda _, inputs, output, name=name: tapped(name, output)
                )
            hooks.enter_context(hook)
        return ran


def _require_layer(module: nn.Module, name: str, role: str) -> None:
    """Raise UserError if `module` has no layer of that name, with the names that come closest."""
    names = [known for known, _ in module.named_modules() if known]
    if name not in names:
        closest = ", ".join(get_close_matches(name, names, n=5, cutoff=0)) or "none"
        raise UserError(
            f"{role} '{name}': {type(module).__name__} has no such layer; names that come close: {closest}"
        )


def _require_fit(name: str, activation: object, channels: int) -> None:
    """Raise UserError if what a layer gave is not an activation of so many channels."""
    if not isinstance(activation, Tensor):
        raise UserError(f"scale '{name}': the layer gives a {type(activation).__name__}, not one tensor")
    if channels < 2:
        raise UserError(f"scale '{name}': one channel alone cannot be compared; name another layer")
    if activation.dim() < 2 or activation.shape[1] != channels:
        raise UserError(
            f"scale '{name}': {channels} channels are stated, but its activation has shape "
            f"{tuple(activation.shape)}; it has to be (N, {channels}) or (N, {channels}, H, W)"
        )
