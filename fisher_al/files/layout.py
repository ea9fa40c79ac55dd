"""Where every file lives: the names through which the stages exchange checkpoints and descriptors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class HasFileTag(Protocol):
    """A method, as file names tell it apart from others."""

    @property
    def file_tag(self) -> str: ...


def format_ratio(ratio: float) -> str:
    """Write an imbalance ratio as file names have it: 100, 2.5."""
    return str(int(ratio)) if float(ratio).is_integer() else str(ratio)


@dataclass(frozen=True)
class Layout:
    """The files of one run and one pool under `folder`, which is `local_data/<dataset>`."""

    folder: Path
    run: str  # name of the run's folder, e.g. run0
    imbalance_ratio: float
    noisy_ratio: float = 0.0
    pretrained: bool = True
    ensemble_size: int = 1
    variant_folder: str = ""  # name of the folder, within the run's, of chains that depart from the protocol

    @property
    def name(self) -> str:
        """Which run and pool this is, for people."""
        return f"{self.run} ir {format_ratio(self.imbalance_ratio)}"

    @property
    def run_folder(self) -> Path:
        return self.folder / self.run

    @property
    def chain_folder(self) -> Path:
        """Where the files of chains are."""
        return self.run_folder / self.variant_folder

    @property
    def _pool_tag(self) -> str:
        return f"ir_{format_ratio(self.imbalance_ratio)}_nr_{float(self.noisy_ratio)}"

    @property
    def _start_tag(self) -> str:
        return "unsup_" if self.pretrained else ""

    def _ensemble_tag(self, number: int) -> str:
        return f"_E_{number}" if self.ensemble_size > 1 else ""

    @property
    def pool_is_biased(self) -> bool:
        """Whether the pool differs from the processed train-split, and so has a file of its own."""
        return self.imbalance_ratio != 1 or self.noisy_ratio != 0

    def processed(self, split: str) -> Path:
        """`split` is training, test, train-split or val-split."""
        return self.folder / "processed" / f"{split}.pt"

    def processed_list(self, split: str) -> Path:
        """`split` is train or val."""
        return self.folder / "processed" / f"{split}_list.txt"

    def processed_origin(self) -> Path:
        """Which folder of images the lists were made from."""
        return self.folder / "processed" / "origin.json"

    def processed_skipped(self) -> Path:
        """Names of the files that the lists leave out."""
        return self.folder / "processed" / "skipped.txt"

    def pool(self) -> Path:
        """Images and labels of the biased pool; the processed train-split where there is no bias."""
        if not self.pool_is_biased:
            return self.processed("train-split")
        return self.run_folder / "data" / f"train_{self._pool_tag}.pt"

    def pool_list(self) -> Path:
        """The same where images are files: the list of them, or of all training images."""
        if not self.pool_is_biased:
            return self.processed_list("train")
        return self.run_folder / f"full_train_list_{self._pool_tag}.txt"

    def initial_checkpoint(self, member: int = 0) -> Path:
        name = (
            f"init_{self._start_tag}batch_0_{self._pool_tag}_sub_none_aug_none{self._ensemble_tag(member)}.pt"
        )
        return self.run_folder / "checkpoint" / name

    def best_checkpoint(self, method: HasFileTag, batch: int, size: int, member: int = 0) -> Path:
        name = self._batch_name("best", method, batch, size) + self._ensemble_tag(member)
        return self.chain_folder / "checkpoint" / f"{name}.pt"

    def index_list(self, method: HasFileTag, batch: int, size: int) -> Path:
        """Indices into the pool of all `size` images labeled by the end of `batch`."""
        name = self._batch_name("index_list", method, batch, size) + self._ensemble_tag(self.ensemble_size)
        return self.chain_folder / f"{name}.npy"

    def descriptors(self, split: str, method: HasFileTag, member: int = 0) -> Path:
        """`split` is train or val; overwritten by each iteration (the B is literal)."""
        stem = f"{split}_{self._start_tag}batch_B_{self._pool_tag}_{method.file_tag}"
        return self.chain_folder / "descr" / f"{stem}{self._ensemble_tag(member)}.pt"

    def chain_log(self, method: HasFileTag) -> Path:
        """What was done on a chain, line by line; one log for ensembles of all sizes, which share files."""
        ensemble = "_E" if self.ensemble_size > 1 else ""
        name = f"{self._start_tag}{self._pool_tag}_{method.file_tag}{ensemble}"
        return self.chain_folder / "log" / f"{name}.jsonl"

    def initial_log(self, member: int = 0) -> Path:
        """What was done on an initial model."""
        return self.run_folder / "log" / f"{self.initial_checkpoint(member).stem}.jsonl"

    def batches_from_initial(self) -> list[Path]:
        """What there is, of any method, that started from this pool's initial model or ensemble of them."""
        batches = f"{self._start_tag}batch_*_{self._pool_tag}_sub_*"
        found = [
            *self.run_folder.rglob(f"index_list_{batches}.npy"),
            *self.run_folder.rglob(f"checkpoint/best_{batches}.pt"),
        ]
        return [path for path in found if ("_E_" in path.name) == (self.ensemble_size > 1)]

    def processed_lock(self) -> Path:
        """Held while the processed splits are made."""
        return self.folder / "processed" / "processed.lock"

    def lock_of(self, pool: Path) -> Path:
        """Held while the biased pool is made, whose file is given."""
        return self.run_folder / "log" / f"{pool.stem}.lock"

    def _batch_name(self, prefix: str, method: HasFileTag, batch: int, size: int) -> str:
        return f"{prefix}_{self._start_tag}batch_{batch}_size_{size}_{self._pool_tag}_{method.file_tag}"
