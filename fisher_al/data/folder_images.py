"""Images of a folder, decoded batch by batch while the network works on the batches before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor

from fisher_al.data.folder_lists import unreadable
from fisher_al.data.images import ChannelValues, Images
from fisher_al.errors import UserError, as_user_error, reason_of

Load = Callable[["Decoder", Sequence[str], int, str, "int | None"], Iterator[tuple[Tensor, Tensor]]]


@dataclass(frozen=True)
class Decoder:
    """How the files under `root` become network inputs.

    crop : side of the inputs; resize : of the short side before the centre is cropped, in pixels.
    load : `load(decoder, files, batch_size, device, seed)` yields (inputs (n, 3, crop, crop), positions (n,)
    in `files`) of every batch of the named files, in their order; with a seed they are cropped and mirrored
    at random.
    """

    root: Path
    crop: int
    resize: int
    load: Load
    mean: ChannelValues
    std: ChannelValues
    workers: int


# How many batches a loader may be ahead of the one that was served last.
BATCHES_AHEAD = 16


class FolderImages(Images):
    """Labeled image files, served like `Images` that are in memory; training batches are augmented.

    files : names relative to the decoder's root; labels : int64 (N,).
    """

    augments = True

    def __init__(self, files: Sequence[str], labels: Tensor, decoder: Decoder, device: torch.device | str):
        self.labels = labels.to(device)
        self._files, self._decoder = files, decoder

    def subset(self, rows: Tensor) -> FolderImages:
        files = [self._files[i] for i in rows.tolist()]
        return FolderImages(files, self.labels[rows.to(self.device)], self._decoder, self.device)

    def with_more(self, others: Images) -> FolderImages:
        assert isinstance(others, FolderImages)
        labels = torch.cat([self.labels, others.labels])
        return FolderImages([*self._files, *others._files], labels, self._decoder, self.device)

    def __getitem__(self, chosen: Tensor | slice) -> tuple[Tensor, Tensor]:
        indices = torch.arange(len(self))[chosen.cpu() if torch.is_tensor(chosen) else chosen]
        return next(self.stream([indices]))

    def stream(self, batches: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """(inputs, labels) of each batch of indices: all as large as the first but the last, or empty."""
        return self._decode(batches, seed=None)

    def augmented(self, batches: Sequence[Tensor], seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The same with random crops and mirroring, which `seed` decides."""
        return self._decode(batches, seed)

    def _decode(self, batches: Sequence[Tensor], seed: int | None) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.cat([batch.cpu() for batch in batches])
        files = [self._files[i] for i in order.tolist()]
        decoder, at = self._decoder, 0
        decoded = decoder.load(decoder, files, len(batches[0]), str(self.device), seed) if files else ()
        try:
            for inputs, positions in decoded:
                yield inputs, self.labels[order[positions].to(self.device)]
                at += len(inputs)
        except RuntimeError as error:
            at = min(at, len(files) - 1)
            self._explain(files[at:][: BATCHES_AHEAD * len(batches[0])], error)
        for _ in range(sum(len(batch) == 0 for batch in batches)):
            yield torch.empty(0, 3, decoder.crop, decoder.crop, device=self.device), self.labels[:0]

    def _explain(self, files: Sequence[str], error: RuntimeError) -> NoReturn:
        """Raise UserError that names which of the files being decoded cannot be, as far as is known."""
        named = [name for name in files if name in str(error)]
        if not named and (told := as_user_error(error)):
            raise told from error
        if "DataLoader worker (pid" in str(error):
            raise UserError(
                f"--workers: a process that decodes images was killed ({reason_of(error)}); give fewer, or "
                "more shared memory"
            ) from error
        suspects = named or files
        for name in suspects:
            path = self._decoder.root / name
            reason = unreadable(path)
            if reason is not None:
                raise UserError(
                    f"{path}: cannot be decoded ({reason}); replace it, or delete the lists in `processed` "
                    "and the runs, and make them again with --skip-corrupt"
                ) from error
        # sorted, as training shuffles them; DALI's last line is always the same
        first, last = self._decoder.root / min(suspects), max(suspects)
        reason = str(error).replace("Current pipeline object is no longer valid.", "").strip() or repr(error)
        raise UserError(
            f"{first}: the loader failed at it or another of {len(suspects)} files up to {last} "
            f"({reason.splitlines()[-1]}); replace it, or choose --loader torchvision, which decodes more"
        ) from error
