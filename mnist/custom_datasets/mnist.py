"""MNIST and Fashion-MNIST through torchvision, with the content of every file verified before it is used."""

import gzip
import os
import shutil
import tempfile
import zlib
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path

from fisher_al.data.in_memory import RawSplits
from fisher_al.errors import UserError, reason_of

# Checksums of the IDX files themselves: archives of the same content differ with how they were packed.
MNIST_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
FASHION_MD5 = {
    "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
    "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
}


def read_mnist(folder: Path) -> RawSplits:
    """Read MNIST from `folder`/raw, packed (.gz) or not, or download it there through torchvision.

    Raises: UserError if a file is truncated or altered, or if one is absent and cannot be downloaded.
    """
    return _read("MNIST", MNIST_MD5, folder)


def read_fashion_mnist(folder: Path) -> RawSplits:
    """The same for Fashion-MNIST, whose files have the same names (arXiv:1708.07747)."""
    return _read("FashionMNIST", FASHION_MD5, folder)


def _read(name: str, checksums: Mapping[str, str], folder: Path) -> RawSplits:
    from torchvision import datasets  # slow to import, and needed once per dataset

    dataset = getattr(datasets, name)
    raw = folder / "raw"
    folder.mkdir(parents=True, exist_ok=True)
    # torchvision unpacks in place and keeps half-written files when interrupted, so it works on a copy.
    with tempfile.TemporaryDirectory(dir=folder, prefix=".reading-") as scratch:
        copies = Path(scratch) / name / "raw"
        copies.mkdir(parents=True)
        copied = [_copy_verified(raw, copies, file, checksum) for file, checksum in checksums.items()]
        complete = all(copied)
        try:
            with open(os.devnull, "w") as devnull, redirect_stdout(devnull):
                train = dataset(scratch, train=True, download=not complete)
                test = dataset(scratch, train=False)
        except (RuntimeError, OSError) as error:
            files = ", ".join(f"{file}.gz" for file in checksums)
            raise UserError(
                f"{raw}: no complete {name} there, and it cannot be downloaded ({reason_of(error, -1)}); "
                f"put these files into that folder: {files}"
            ) from error
        if not complete:
            raw.mkdir(exist_ok=True)
            for copy in copies.iterdir():
                os.replace(copy, raw / copy.name)
    return RawSplits(train.data, train.targets, test.data, test.targets)


def _copy_verified(raw: Path, copies: Path, name: str, checksum: str) -> bool:
    """Unpack or copy the IDX file `name` from `raw`; False if absent, UserError if it is another."""
    from torchvision.datasets.utils import check_integrity

    source = next((path for path in (raw / name, raw / f"{name}.gz") if path.exists()), None)
    if source is None:
        return False
    if not (source.is_file() or source.is_dir()):
        raise UserError(f"{source}: not a regular file; replace it by the dataset's own")
    try:
        opener = gzip.open if source.suffix == ".gz" else open
        with opener(source, "rb") as packed, open(copies / name, "wb") as copy:
            shutil.copyfileobj(packed, copy)
        intact = check_integrity(str(copies / name), checksum)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        intact = False
    if not intact:
        raise UserError(
            f"{source}: truncated or altered (wrong checksum); delete it or put the dataset's own there"
        )
    return True
