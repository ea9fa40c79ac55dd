"""Reading and writing files: every write is atomic, and no load executes anything."""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fisher_al.errors import UserError

# From this size on, what is written row by row is put together in a file.
MAPPED_BYTES = 2**28


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which takes its place when the block ends without an error."""
    # The suffix stays last: matplotlib and numpy choose or append the format by it.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error


def save_tensors(content: Any, path: Path) -> None:
    """Write tensors, or containers of them, with `torch.save`."""
    with atomic_write(path) as temporary:
        torch.save(content, temporary)


def save_rows(blocks: Iterable[Tensor], count: int, path: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write one tensor of `count` rows, given as successive blocks of them.

    A large one is put together in a file beside `path` that is mapped into memory: what it takes of the
    memory is what the system can take back.
    """
    scratch = path.with_name(f".{path.stem}.{os.getpid()}.tmp.rows")
    content, at = None, 0
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        for block in blocks:
            if content is None:
                shape = torch.Size((count, *block.shape[1:]))
                if shape.numel() * dtype.itemsize <= MAPPED_BYTES:
                    content = torch.empty(shape, dtype=dtype)
                else:
                    content = torch.from_file(str(scratch), True, shape.numel(), dtype=dtype).view(shape)
            content[at : at + len(block)] = block
            at += len(block)
        save_tensors(content, path)
    finally:
        scratch.unlink(missing_ok=True)


def load_tensors(path: Path, otherwise: str, mmap: bool = False) -> Any:
    """Read what `save_tensors` wrote; UserError with the advice `otherwise` if it is missing or broken.

    With `mmap`, tensors are read from the disk only where they are used.
    """
    if not path.is_file():
        raise UserError(f"{path}: not found; {otherwise}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:  # a broken file can fail anywhere in the archive or unpickling code
        raise UserError(f"{path}: truncated or not a tensor file; delete it and {otherwise}") from error


def save_indices(indices: Tensor, path: Path) -> None:
    """Write pool indices as an int64 `.npy` file."""
    with atomic_write(path) as temporary:
        np.save(temporary, indices.cpu().numpy().astype(np.int64))


def load_indices(path: Path, size: int, pool_size: int, otherwise: str) -> Tensor:
    """Read `size` distinct pool indices; UserError with the advice `otherwise` if the file is not that."""
    if not path.is_file():
        raise UserError(f"{path}: not found; {otherwise}")
    try:
        with open(path, "rb") as file:
            indices = torch.from_numpy(np.lib.format.read_array(file, allow_pickle=False).astype(np.int64))
    except (ValueError, TypeError, EOFError) as error:
        raise UserError(f"{path}: truncated or not a .npy file; delete it and {otherwise}") from error
    in_range = indices.numel() == 0 or (indices.min() >= 0 and indices.max() < pool_size)
    if indices.shape != (size,) or not in_range or indices.unique().numel() != size:
        raise UserError(
            f"{path}: holds other than {size} distinct indices into a pool of {pool_size}; "
            f"delete it and {otherwise}"
        )
    return indices


def save_json(content: Any, path: Path) -> None:
    """Write numbers, text, and lists and dictionaries of them, as indented JSON."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")
