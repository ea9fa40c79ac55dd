"""Features of images, kept between rounds: rows appended to a file, and a journal of whose they are.

A row is known by its image's path, size and time of change. Rows are on the disk before the journal names
them, so a process that is killed loses at most the rows that it had not named yet.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from fisher_al.errors import UserError
from fisher_al.files.locks import BusyError, hold

# Path, bytes and time of change (ns): what an image is known by.
Identity = tuple[str, int, int]


def identity_of(path: str | Path) -> Identity:
    """That of a file as it is now; OSError if it is not there."""
    status = os.stat(path)
    return (os.path.abspath(path), status.st_size, status.st_mtime_ns)


class FeatureCache:
    """The rows (n, width) that a folder holds, float32, mapped into memory."""

    def __init__(self, folder: Path, width: int):
        self.folder, self.width = folder, width
        self._rows, self._journal = folder / "features.f32", folder / "images.jsonl"
        self.row_of: dict[Identity, int] = {}
        self._count = 0
        self._read_journal()

    def append(self, identities: Sequence[Identity], features: np.ndarray) -> None:
        """Keep rows (n, width) of images; they are on the disk when this returns."""
        content = np.ascontiguousarray(features, dtype=np.float32).tobytes()
        entry = {"crc32": _checksum(identities, content), "images": [list(each) for each in identities]}
        try:
            with open(self._rows, "r+b" if self._rows.exists() else "w+b") as file:
                file.seek(4 * self.width * self._count)  # over what a killed process had not named
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            with open(self._journal, "ab") as file:
                file.write(json.dumps(entry).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UserError(f"{self.folder}: cannot be written: {error.strerror or error}") from error
        self._name(identities)

    def rows(self) -> np.ndarray:
        """All rows, read from the disk where they are used."""
        if self._count == 0:
            return np.empty((0, self.width), np.float32)
        return np.memmap(self._rows, np.float32, "r", shape=(self._count, self.width))

    def _name(self, identities: Sequence[Identity]) -> None:
        for identity in identities:
            self.row_of[identity] = self._count
            self._count += 1

    def _read_journal(self) -> None:
        """Take what the journal names, up to an entry that is torn or whose rows are not as written."""
        if not (self._journal.is_file() and self._rows.is_file()):
            self._journal.unlink(missing_ok=True)
            return
        try:
            with open(self._journal, "rb") as journal, open(self._rows, "rb") as rows:
                whole = 0
                for line in journal:
                    images = self._verified(line, rows.read)
                    if images is None:
                        break
                    whole += len(line)
                    self._name(images)
            if whole < self._journal.stat().st_size:
                os.truncate(self._journal, whole)
        except OSError as error:
            raise UserError(f"{self.folder}: cannot be read: {error.strerror or error}") from error

    def _verified(self, line: bytes, read) -> list[Identity] | None:
        """Images of one entry of the journal, if it and its rows are whole."""
        try:
            entry = json.loads(line)
            images = [(str(path), int(size), int(time)) for path, size, time in entry["images"]]
            content = read(4 * self.width * len(images))
            is_whole = line.endswith(b"\n") and _checksum(images, content) == entry["crc32"]
            return images if is_whole and len(content) == 4 * self.width * len(images) else None
        except (ValueError, TypeError, KeyError, RecursionError):
            return None


def _checksum(identities: Sequence[Identity], content: bytes) -> int:
    """CRC-32 of rows and of whose they are."""
    return zlib.crc32(json.dumps(identities).encode(), zlib.crc32(content))


@contextmanager
def open_cache(folder: Path, identity: str, width: int) -> Iterator[FeatureCache]:
    """The cache of one network's features, for this process alone.

    identity : of the network and its inputs; every one has a folder of its own in `folder`.
    Raises: UserError if another process is at it, or the folder cannot be written.
    """
    own = folder / identity
    try:
        own.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{own}: cannot be written: {error.strerror}; choose another with --cache") from error
    try:
        with hold(own / "cache.lock"):
            yield FeatureCache(own, width)
    except BusyError as error:
        raise UserError(
            f"{own}: another process is embedding into it; wait for it, or give --cache"
        ) from error
