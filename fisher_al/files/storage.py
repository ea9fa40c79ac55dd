"""Reading and writing files: every write is atomic, every load is verified and executes nothing."""

import json
import os
import re
import secrets
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fisher_al.errors import UserError, raise_if_of_machine

# From this size on, what is written row by row is put together in a file.
MAPPED_BYTES = 2**28

# Rows that are looked at together.
ROWS_AT_ONCE = 8192

# A file's name while it is written. The suffix stays last: numpy and matplotlib choose the format by it.
_TEMPORARY = re.compile(r"\.(?P<stem>.+)\.[0-9a-f]+\.tmp(?P<suffix>\.\w+)?")

REPAIR = "run.py --repair finds and remakes what is broken"

ZIP_MAGIC = b"PK\x03\x04"


def _temporary_of(path: Path) -> Path:
    """A name of its own beside `path`; if its writer is killed, `abandoned` finds it."""
    return path.with_name(f".{path.stem}.{secrets.token_hex(6)}.tmp{path.suffix}")


@contextmanager
def atomic_write(path: Path, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which takes its place when the block ends without an error.

    A `durable` file is on the disk before it carries its name: not even a power cut leaves half of it.
    """
    temporary = _temporary_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            if durable:
                with open(temporary, "rb") as file:
                    os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error


def remove_abandoned(paths: Iterable[Path]) -> None:
    """Delete what killed writers of `paths` left behind. Only while no one else can be writing them."""
    for temporary in abandoned(paths):
        try:
            temporary.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"{temporary}: cannot be deleted: {error.strerror}") from error


def abandoned(paths: Iterable[Path]) -> Iterator[Path]:
    """Temporary files of `paths`, which their writers have left behind or are at."""
    paths = set(paths)
    for folder in {path.parent for path in paths}:
        for temporary in folder.glob(".*.tmp*"):
            found = _TEMPORARY.fullmatch(temporary.name)
            if found and folder / f"{found['stem']}{found['suffix'] or ''}" in paths:
                yield temporary


def save_tensors(content: Any, path: Path, durable: bool = True) -> None:
    """Write tensors, or containers of them, with `torch.save`."""
    with atomic_write(path, durable) as temporary, open(temporary, "wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:  # torch's own, while it handles that of the file
            raise error.__context__ if isinstance(error.__context__, OSError) else error from None


def save_rows(blocks: Iterable[Tensor], count: int, path: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write one tensor of `count` rows, given as successive blocks of them.

    A large one is put together in a file beside `path` that is mapped into memory: what it takes of the
    memory is what the system can take back.
    """
    scratch = _temporary_of(path)
    content, at = None, 0
    try:
        for block in blocks:
            if content is None:
                content = _empty_rows(torch.Size((count, *block.shape[1:])), dtype, scratch, path)
            content[at : at + len(block)] = block
            at += len(block)
        save_tensors(content, path, durable=False)
    finally:
        scratch.unlink(missing_ok=True)


def _empty_rows(shape: torch.Size, dtype: torch.dtype, scratch: Path, path: Path) -> Tensor:
    """Rows to fill, in memory or, if they are large, in the file `scratch`; UserError if the disk is full."""
    size = shape.numel() * dtype.itemsize
    if size <= MAPPED_BYTES:
        return torch.empty(shape, dtype=dtype)
    try:
        scratch.parent.mkdir(parents=True, exist_ok=True)
        with open(scratch, "wb") as file:  # all of it now: a page that finds no room later kills the process
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:  # macOS
                file.truncate(size)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error
    return torch.from_file(str(scratch), True, shape.numel(), dtype=dtype).view(shape)


def load_tensors(path: Path, otherwise: str, mmap: bool = False) -> Any:
    """Read what `save_tensors` wrote; UserError with the advice `otherwise` if it is missing or broken.

    With `mmap`, tensors are read from the disk only where they are used, but once to verify them.
    """
    if not path.is_file():
        raise UserError(f"{path}: not found; {otherwise}")
    return verified_tensors(path, f"delete it and {otherwise}, or {REPAIR}", mmap)


def verified_tensors(path: Path, otherwise: str, mmap: bool = False) -> Any:
    """Read a tensor file that is there; UserError with the advice `otherwise` if it is broken."""
    try:
        status = path.stat()
        altered = _altered_part(path, status.st_ino, status.st_size, status.st_mtime_ns)
        with warnings.catch_warnings():  # torch's, about what only a forged file holds
            warnings.simplefilter("ignore")
            mapped = mmap and _is_archive(path)  # older formats cannot be mapped
            content = (
                None if altered else torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
            )
            _require_plain(content, set())
    except Exception as error:  # a broken file can fail anywhere in the archive or unpickling code
        raise_if_of_machine(error, path)
        raise UserError(f"{path}: truncated or not a tensor file; {otherwise}") from error
    if altered:
        raise UserError(f"{path}: altered (checksum of {altered}); {otherwise}")
    return content


def load_rows(path: Path, otherwise: str) -> Any:
    """Read what `save_rows` wrote, from the disk where it is used.

    Raises: UserError as `load_tensors` does, and if a number is NaN or infinite.
    """
    rows = load_tensors(path, otherwise, mmap=True)
    if (
        torch.is_tensor(rows)
        and rows.dim()
        and not all(block.isfinite().all() for block in rows.split(ROWS_AT_ONCE))
    ):
        raise UserError(
            f"{path}: holds numbers that are NaN or infinite; delete it and {otherwise}, or {REPAIR}"
        )
    return rows


@lru_cache(maxsize=4096)
def _altered_part(path: Path, inode: int, size: int, modified: int) -> str | None:
    """Name of a part of a tensor file that is not as it was written; each state of a file is read once.

    `torch.save` writes a ZIP archive with a checksum (CRC-32) of every part, which `torch.load` does not look
    at. Files of its format before version 1.6 have none.
    """
    if not _is_archive(path):
        return None
    with zipfile.ZipFile(path) as archive:
        if sum(part.file_size for part in archive.infolist()) > size:  # torch.save does not compress
            raise ValueError("parts that unpack to more than the file")
        return archive.testzip()


def _is_archive(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(len(ZIP_MAGIC)) == ZIP_MAGIC


def _require_plain(content: Any, seen: set[int]) -> None:
    """Raise ValueError for a tensor that claims more numbers than are stored for it, or a quantized one.

    seen : containers that were looked at, and may be held many times.
    """
    if torch.is_tensor(content):
        if content.is_quantized:
            raise ValueError("a quantized tensor")
        if content.numel() * content.element_size() > content.untyped_storage().nbytes():
            raise ValueError("a tensor larger than what is stored")
    elif isinstance(content, (dict, list, tuple)) and id(content) not in seen:
        seen.add(id(content))
        for part in content.values() if isinstance(content, dict) else content:
            _require_plain(part, seen)


def checksum(indices: Tensor) -> int:
    """CRC-32 of pool indices as an index list stores them."""
    return zlib.crc32(indices.cpu().numpy().astype(np.int64).tobytes())


def save_indices(indices: Tensor, path: Path) -> None:
    """Write pool indices as an int64 `.npy` file."""
    with atomic_write(path) as temporary:
        np.save(temporary, indices.cpu().numpy().astype(np.int64))


def load_indices(path: Path, size: int, pool_size: int, otherwise: str, crc32: int | None = None) -> Tensor:
    """Read `size` distinct pool indices; UserError with the advice `otherwise` if the file is not that.

    crc32 : what `checksum` says of them, if that is known.
    """
    if not path.is_file():
        raise UserError(f"{path}: not found; {otherwise}")
    otherwise = f"delete it and {otherwise}, or {REPAIR}"
    try:
        with open(path, "rb") as file:
            stored = np.lib.format.read_array(file, allow_pickle=False)
        if stored.dtype.kind not in "iu":
            raise TypeError(stored.dtype)
        indices = torch.from_numpy(stored.astype(np.int64))
    except Exception as error:  # a forged header can ask numpy for anything, much memory too
        if not isinstance(error, MemoryError):
            raise_if_of_machine(error, path)
        raise UserError(f"{path}: truncated or not a .npy file of integers; {otherwise}") from error
    in_range = indices.numel() == 0 or (indices.min() >= 0 and indices.max() < pool_size)
    if indices.shape != (size,) or not in_range or indices.unique().numel() != size:
        raise UserError(
            f"{path}: holds other than {size} distinct indices into a pool of {pool_size}; {otherwise}"
        )
    if crc32 is not None and crc32 != checksum(indices):
        raise UserError(f"{path}: altered (checksum); {otherwise}")
    return indices


def save_json(content: Any, path: Path) -> None:
    """Write numbers, text, and lists and dictionaries of them, as indented JSON."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")
