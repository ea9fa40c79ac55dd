"""Layers below the pooled features: activations and gradients of every image through the whole network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from fisher_al.data.folder_images import Decoder, FolderImages
from fisher_al.errors import UserError
from fisher_al.files.storage import load_rows, save_rows
from fisher_al.labeling.backbone import Backbone
from fisher_al.labeling.embedding import batch_size_for
from fisher_al.method.base import Iteration
from fisher_al.method.linear_head import LinearHead
from fisher_al.method.tapped import POOLED, Tapped

PROBES = 2  # images that show how wide layers are


@dataclass(frozen=True)
class Deeper:
    """The images themselves, for descriptors of several layers.

    widths : channels of each layer, by its name in the network. pool, validation : absolute paths.
    scratch : file that holds the pool's descriptors while they are compared.
    """

    backbone: Backbone
    widths: dict[str, int]
    decoder: Decoder
    device: str
    pool: Sequence[str]
    validation: Sequence[str]
    scratch: Path

    def look_deeper(self, iteration: Iteration, head: LinearHead, matchable: Tensor) -> Iteration:
        """The same iteration on images; matchable : positions of the validation images that it sees."""
        network = self._network(head)
        names = [self.validation[i] for i in matchable.tolist()]
        return replace(
            iteration,
            pool=self._images(self.pool, torch.full((len(self.pool),), -1)),
            validation=self._images(names, iteration.validation.labels),
            load_network=lambda member: network,
            scales=tuple(self.widths),
            describe_batch_size=batch_size_for(self.device),
            predict_batch_size=batch_size_for(self.device),
        )

    def keep(self, blocks: Iterable[Tensor]) -> Tensor:
        """Descriptors of the pool, computed block by block and then read from the disk."""
        save_rows(self._with_progress(blocks), len(self.pool), self.scratch)
        rows = load_rows(self.scratch, "run the command again")
        self.scratch.unlink()  # what is mapped stays readable
        return rows

    def _with_progress(self, blocks: Iterable[Tensor]) -> Iterator[Tensor]:
        with tqdm(total=len(self.pool), desc="describing", unit="image", delay=1, smoothing=0.05) as bar:
            for block in blocks:
                yield block
                bar.update(len(block))

    def _images(self, paths: Sequence[str], labels: Tensor) -> FolderImages:
        return FolderImages([path.lstrip("/") for path in paths], labels, self.decoder, self.device)

    def _network(self, head: LinearHead) -> Tapped:
        """The backbone under this head."""
        module = deepcopy(self.backbone.module)
        parent, _, name = self.backbone.head.rpartition(".")
        setattr(module.get_submodule(parent), name, deepcopy(head.linear))
        return Tapped(module, self.widths, self.backbone.head).to(self.device)


def widths_of(backbone: Backbone, scales: Sequence[str]) -> dict[str, int]:
    """Channels of the layers of these names.

    Raises: UserError for a layer that is not there, or whose output has no channels.
    """
    if set(scales) == {POOLED}:
        return {POOLED: backbone.width}
    if not isinstance(backbone.module.get_submodule(backbone.head), nn.Linear):
        raise UserError(f"--scales: {backbone.name} has no linear head; leave the option out")
    Tapped(backbone.module, dict.fromkeys(scales, 0), backbone.head)  # names layers that are not there
    found = {POOLED: backbone.width}
    with ExitStack() as hooks, torch.inference_mode():
        for name in set(scales) - {POOLED}:

            def note(layer: nn.Module, inputs: object, output: object, name: str = name) -> None:
                found[name] = _channels(output)

            hooks.enter_context(backbone.module.get_submodule(name).register_forward_hook(note))
        backbone.module(torch.zeros(PROBES, 3, backbone.crop, backbone.crop))
    for name in scales:
        if found.get(name, 0) < 2:
            raise UserError(
                f"--scales {name}: this layer gives no channels, or one; name another, say layer3"
            )
    return {name: found[name] for name in scales}


def _channels(output: object) -> int:
    """Channels of features (N, C) or square maps (N, C, H, H); 0 of tokens, and of maps (N, H, H, C)."""
    if not isinstance(output, Tensor) or output.dim() not in (2, 4) or len(output) != PROBES:
        return 0
    return 0 if output.dim() == 4 and output.shape[2] != output.shape[3] else output.shape[1]
