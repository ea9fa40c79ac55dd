"""Datasets that stay files in a folder: splits and pools are lists of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fisher_al.data.folder_images import Decoder, FolderImages, Load
from fisher_al.data.folder_lists import (
    FOLDER_SPLITS,
    Origin,
    find_classes,
    read_list,
    readable,
    scan_split,
    write_list,
)
from fisher_al.data.images import Data
from fisher_al.data.pools import split_holdout, thinned_classes
from fisher_al.data.source import ImageSource
from fisher_al.errors import UserError
from fisher_al.files.layout import Layout
from fisher_al.files.locks import hold
from fisher_al.files.storage import atomic_write, remove_abandoned, save_json
from fisher_al.seeds import derive_generator


@dataclass(frozen=True, kw_only=True)
class FolderSource(ImageSource):
    """Images that stay files, `train/<class>/*` and `val/<class>/*` under `root`.

    load_files : decodes them, as `Decoder.load` does, with so many `workers`. holdout : share of the
    validation images that score the results and are not matched; 0: all do both (the paper's protocol).
    skip_corrupt : leave out files that cannot be decoded. half : keep the pool's descriptors in 16 bits.
    """

    root: Path
    load_files: Load
    workers: int
    holdout: float = 0.0
    skip_corrupt: bool = False
    half: bool = False

    @property
    def tests_on_validation(self) -> bool:
        return self.holdout == 0

    @property
    def input_settings(self) -> dict[str, Any]:
        return {"crop": self.image_shape[0], "holdout": self.holdout}

    @property
    def descriptor_settings(self) -> dict[str, Any]:
        return {"half": self.half}

    @property
    def descriptor_type(self) -> torch.dtype:
        # Scores are too small for float16.
        return torch.bfloat16 if self.half else torch.float32

    @property
    def decoder(self) -> Decoder:
        """How the files become inputs."""
        crop = self.image_shape[0]
        resize = round(crop * 256 / 224)
        return Decoder(self.root, crop, resize, self.load_files, self.mean, self.std, self.workers)

    def prepare_splits(self, layout: Layout) -> None:
        """Write the lists of both splits where they are missing.

        Raises: UserError if the lists were made from another folder; or for a file that is no image, unless
        corrupt ones are to be skipped: then every image is decoded once, and those left out stand in
        `processed/skipped.txt`.
        """
        if all(path.is_file() for path in self.split_paths(layout)):
            self._require_origin(layout)
            return
        with hold(layout.processed_lock(), wait=True):
            remove_abandoned([*self.split_paths(layout), layout.processed_skipped()])
            self._write_missing_lists(layout)
        self._require_origin(layout)

    def split_paths(self, layout: Layout) -> list[Path]:
        return [layout.processed_list(split) for split in FOLDER_SPLITS]

    def pool_path(self, layout: Layout) -> Path:
        return layout.pool_list()

    def count(self, path: Path) -> int:
        return len(read_list(path, self.num_classes)[1])

    def load(self, layout: Layout, device: str) -> Data:
        paths = layout.pool_list(), layout.processed_list("val")
        times = tuple(path.stat().st_mtime_ns if path.is_file() else 0 for path in paths)
        return _load(*paths, times, self, device)

    def _require_origin(self, layout: Layout) -> None:
        """Raise UserError if the results were made from another folder; note this one if none is noted.

        A folder that has moved, or was copied, is the same.
        """
        path = layout.processed_origin()
        if not path.is_file():
            with hold(layout.processed_lock(), wait=True):
                remove_abandoned([path])
                save_json(asdict(Origin.of(self.root)), path)
            return
        origin = Origin.read(path)
        if origin.root != str(self.root.resolve()) and origin.sha256 != Origin.of(self.root).sha256:
            raise UserError(
                f"{layout.folder}: made from {origin.root}; --imagenetdir {self.root} has that name but "
                "holds other images; choose another --datadir for it, or rename it"
            )

    def _write_missing_lists(self, layout: Layout) -> None:
        root = self.root
        classes, skipped = find_classes(root), []
        for split in FOLDER_SPLITS:
            path = layout.processed_list(split)
            if path.is_file():
                continue
            images, odd = scan_split(root, split, classes)
            if odd and not self.skip_corrupt:
                raise UserError(
                    f"{root / odd[0]}: not an image that every loader reads; remove it, or give "
                    "--skip-corrupt"
                )
            if self.skip_corrupt:
                images, broken = readable(root, images, self.workers, f"checking {split} images")
                odd = sorted(odd + broken)
                self._note_skipped(layout, split, odd)
            skipped += odd
            write_list(images, path)
        if skipped:
            path = layout.processed_skipped()
            print(
                f"{len(skipped)} files are no readable images and left out, see {path}; the first: "
                f"{skipped[0]}"
            )

    def _note_skipped(self, layout: Layout, split: str, skipped: Sequence[str]) -> None:
        """Write which files of a split are left out, before its list; those of the other one stay noted."""
        path = layout.processed_skipped()
        noted = path.read_text(errors="replace").splitlines() if path.is_file() else []
        others = tuple(f"{other}/" for other in FOLDER_SPLITS if other != split)
        names = [*(name for name in noted if name.startswith(others)), *skipped]
        if names or noted:
            with atomic_write(path) as temporary:
                temporary.write_text("".join(f"{name}\n" for name in names), errors="backslashreplace")

    def _train_labels(self, layout: Layout) -> Tensor:
        return read_list(layout.processed_list("train"), self.num_classes)[1]

    def _kept(self, labels: Tensor, ratio: float, generator: torch.Generator) -> Tensor:
        return thinned_classes(labels, ratio, self.num_classes, generator)

    def _kept_files(self, layout: Layout, kept: Tensor) -> list[str]:
        files, _ = read_list(layout.processed_list("train"), self.num_classes)
        return [files[i] for i in kept.tolist()]

    def _write_pool(self, layout: Layout, kept: Tensor, labels: Tensor) -> None:
        write_list((self._kept_files(layout, kept), labels), layout.pool_list())

    def _is_pool(self, layout: Layout, kept: Tensor, labels: Tensor) -> bool:
        files, found = read_list(layout.pool_list(), self.num_classes)
        return files == self._kept_files(layout, kept) and torch.equal(found, labels)


@lru_cache(maxsize=2)
def _load(pool: Path, validation: Path, times: tuple[int, ...], source: FolderSource, device: str) -> Data:
    def images(files: Sequence[str], labels: Tensor) -> FolderImages:
        return FolderImages(files, labels, source.decoder, device)

    root = source.root
    pool_files, pool_labels = read_list(pool, source.num_classes)
    files, labels = read_list(validation, source.num_classes)
    for path, name in ((pool, pool_files[0]), (validation, files[0])):
        if not (root / name).is_file():
            raise UserError(
                f"{root / name}: not found, but listed in {path}; give the --imagenetdir that the list was "
                "made from, or delete `processed` and the runs"
            )
    if source.holdout == 0:
        scored = images(files, labels)
        return Data(images(pool_files, pool_labels), scored, scored)
    generator = derive_generator("holdout", source.holdout)
    matched, scored_rows = split_holdout(labels, source.holdout, generator)
    halves = (images([files[i] for i in half.tolist()], labels[half]) for half in (matched, scored_rows))
    return Data(images(pool_files, pool_labels), *halves)
