"""SVHN through torchvision, with every file verified; or other files of its format, named as such."""

import os
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision.datasets import SVHN
from torchvision.datasets.utils import check_md5, download_url

from fisher_al.data.in_memory import RawSplits
from fisher_al.errors import UserError, raise_if_of_machine, reason_of

CHUNK = 10_000


class _AnyContent(SVHN):
    """torchvision's reader without its checksum."""

    def _check_integrity(self) -> bool:
        return True


def read_svhn(raw: Path, verify: bool) -> RawSplits:
    """Read train, extra and test `.mat` files from `raw`; absent ones are downloaded if `verify`.

    Train and extra images follow one another. Peak memory is about twice that of the images.
    Raises: UserError if a file is absent, altered or not of the format.
    """
    train = _read(raw, "train", verify)
    extra = _read(raw, "extra", verify)
    images = torch.cat([train[0], extra[0]])
    labels = torch.cat([train[1], extra[1]])
    del train, extra
    return RawSplits(images, labels, *_read(raw, "test", verify))


def _read(raw: Path, split: str, verify: bool) -> tuple[Tensor, Tensor]:
    """uint8 images (N, 32, 32, 3) and int64 labels (N,) of one split."""
    _, name, md5 = SVHN.split_list[split]
    path = raw / name
    if path.is_file() and verify and not check_md5(str(path), md5):
        raise UserError(
            f"{path}: not SVHN's (wrong checksum): truncated or other images; delete it to download SVHN's, "
            "or work on other files of this format with --allow-unverified-data"
        )
    if not path.is_file():
        if not verify:
            raise UserError(f"{path}: not found; put train, extra and test_32x32.mat into that folder")
        _download(raw, split, path)
    try:
        dataset = _AnyContent(str(raw), split)
        return _to_tensors(dataset.data, dataset.labels)
    except Exception as error:  # scipy raises whatever a broken file leads it to
        raise_if_of_machine(error, path)
        raise UserError(f"{path}: truncated or not of SVHN's format ({error}); replace it") from error


def _download(raw: Path, split: str, path: Path) -> None:
    raw.mkdir(parents=True, exist_ok=True)
    try:
        # torchvision leaves half a file behind when interrupted, so it works in a folder of its own
        with tempfile.TemporaryDirectory(dir=raw, prefix=".downloading-") as scratch:
            with open(os.devnull, "w") as devnull, redirect_stdout(devnull), redirect_stderr(devnull):
                download_url(SVHN.split_list[split][0], scratch, path.name, SVHN.split_list[split][2])
            os.replace(Path(scratch) / path.name, path)
    except (RuntimeError, OSError) as error:
        names = ", ".join(name for _, name, _ in SVHN.split_list.values())
        raise UserError(
            f"{path}: not there, and it cannot be downloaded ({reason_of(error, -1)}); "
            f"put these files into that folder: {names}"
        ) from error


def _to_tensors(data: np.ndarray, labels: np.ndarray) -> tuple[Tensor, Tensor]:
    """Images with channels last, copied in pieces; the reader's array is (N, 3, 32, 32)."""
    if data.dtype != np.uint8 or data.shape[1:] != (3, 32, 32) or labels.shape != (len(data),):
        raise ValueError(f"images {data.dtype} {data.shape}, labels {labels.shape}")
    if labels.min() < 0 or labels.max() > 9:
        raise ValueError(f"labels from {labels.min()} to {labels.max()}")
    images = torch.empty(len(data), 32, 32, 3, dtype=torch.uint8)
    for start in range(0, len(data), CHUNK):
        part = data[start : start + CHUNK].transpose(0, 2, 3, 1)
        images[start : start + CHUNK] = torch.from_numpy(np.ascontiguousarray(part))
    return images, torch.from_numpy(labels.astype(np.int64))
