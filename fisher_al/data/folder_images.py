"""Images of a folder, decoded batch by batch while the network works on the batches before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor

from fisher_al.data.folder_lists import prepare_pool_list, read_list, unreadable
from fisher_al.data.images import Data, Images
from fisher_al.data.pools import split_holdout
from fisher_al.errors import UserError
from fisher_al.experiment import Experiment, ImageFolder
from fisher_al.files.layout import Layout
from fisher_al.seeds import derive_generator

# How many batches a loader may be ahead of the one that was served last.
BATCHES_AHEAD = 16


class FolderImages(Images):
    """Labeled image files, served like `Images` that are in memory; training batches are augmented.

    files : names relative to the folder's root; labels : int64 (N,).
    """

    augments = True

    def __init__(self, files: Sequence[str], labels: Tensor, folder: ImageFolder, device: torch.device | str):
        self.labels = labels.to(device)
        self._files, self._folder = files, folder

    def __getitem__(self, chosen: Tensor | slice) -> tuple[Tensor, Tensor]:
        indices = torch.arange(len(self))[chosen.cpu() if torch.is_tensor(chosen) else chosen]
        return next(self.stream([indices]))

    def batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        return self.stream(torch.arange(len(self)).split(batch_size))

    def stream(self, batches: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """(inputs, labels) of each batch of indices: all as large as the first but the last, or empty."""
        return self._decode(batches, seed=None)

    def augmented(self, batches: Sequence[Tensor], seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The same with random crops and mirroring, which `seed` decides."""
        return self._decode(batches, seed)

    def _decode(self, batches: Sequence[Tensor], seed: int | None) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.cat([batch.cpu() for batch in batches])
        files = [self._files[i] for i in order.tolist()]
        folder, at = self._folder, 0
        decoded = folder.load(folder, files, len(batches[0]), str(self.device), seed) if files else ()
        try:
            for inputs, positions in decoded:
                yield inputs, self.labels[order[positions].to(self.device)]
                at += len(inputs)
        except RuntimeError as error:
            at = min(at, len(files) - 1)
            self._explain(files[at:][: BATCHES_AHEAD * len(batches[0])], error)
        for _ in range(sum(len(batch) == 0 for batch in batches)):
            yield torch.empty(0, 3, folder.crop, folder.crop, device=self.device), self.labels[:0]

    def _explain(self, files: Sequence[str], error: RuntimeError) -> NoReturn:
        """Raise UserError that names which of the files being decoded cannot be, as far as is known."""
        suspects = [name for name in files if name in str(error)] or files
        for name in suspects:
            path = self._folder.root / name
            reason = unreadable(path)
            if reason is not None:
                raise UserError(
                    f"{path}: cannot be decoded ({reason}); replace it, or delete the lists in `processed` "
                    "and the runs and leave such files out with --skip-corrupt"
                ) from error
        # sorted, as training shuffles them; DALI's last line is always the same
        first, last = self._folder.root / min(suspects), max(suspects)
        reason = str(error).replace("Current pipeline object is no longer valid.", "").strip() or repr(error)
        raise UserError(
            f"{first}: the loader failed at it or another of {len(suspects)} files up to {last} "
            f"({reason.splitlines()[-1]}); replace it, or choose --loader torchvision, which decodes more"
        ) from error


def load_folder_data(experiment: Experiment, layout: Layout, seed: int, device: str) -> Data:
    """Read, or first make, the lists of `layout`; the last ones stay in memory for the next stage."""
    prepare_pool_list(experiment, layout, seed)
    pool, validation = layout.pool(), layout.processed_list("val")
    times = pool.stat().st_mtime_ns, validation.stat().st_mtime_ns
    return _load(pool, validation, times, experiment.folder, experiment.num_classes, device)


@lru_cache(maxsize=2)
def _load(
    pool: Path, validation: Path, times: tuple[int, int], folder: ImageFolder, num_classes: int, device: str
) -> Data:
    def images(files: Sequence[str], labels: Tensor) -> FolderImages:
        return FolderImages(files, labels, folder, device)

    pool_files, pool_labels = read_list(pool, num_classes)
    files, labels = read_list(validation, num_classes)
    for path, name in ((pool, pool_files[0]), (validation, files[0])):
        if not (folder.root / name).is_file():
            raise UserError(
                f"{folder.root / name}: not found, but listed in {path}; give the --imagenetdir that the "
                "list was made from, or delete `processed` and the runs"
            )
    if folder.holdout == 0:
        scored = images(files, labels)
        return Data(images(pool_files, pool_labels), scored, scored)
    generator = derive_generator("holdout", folder.holdout)
    matched, scored = split_holdout(labels, folder.holdout, generator)
    halves = (images([files[i] for i in half.tolist()], labels[half]) for half in (matched, scored))
    return Data(images(pool_files, pool_labels), *halves)
