"""The pool: image files of a folder or a list, each known by its path relative to the pool."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fisher_al.data.folder_lists import SUFFIXES, is_text
from fisher_al.errors import UserError
from fisher_al.labeling.tables import PATH_COLUMN, read_rows

KINDS = ", ".join(sorted(SUFFIXES))
NO_IMAGE = f"its name ends in none of {KINDS}"


@dataclass(frozen=True)
class Pool:
    """Image files by their keys: paths relative to `root`, with forward slashes; absolute if elsewhere.

    passed_over : what cannot be used, with the reason; of a folder's files only what is named as an image.
    """

    root: Path
    keys: list[str]
    passed_over: dict[str, str]


def find_pool(path: Path) -> Pool:
    """All images in a folder and its sub-folders, in order of their names, or those that a file lists.

    path : a folder; a text file with a path in every line; or a CSV file with a column `filepath`. Relative
    paths start where that file is. Hidden files and folders are no part of the pool.
    Raises: UserError if nothing is there.
    """
    if path.is_dir():
        root, found = path, files_below(path)
    elif path.is_file():
        root, found = path.parent, _listed_files(path)
    else:
        raise UserError(f"{path}: not found; give a folder of images, or a file that lists them")
    keys, passed_over = [], {}
    for key in found:
        reason = _unsuitable(root / key, key)
        if reason is None:
            keys.append(key)
        elif reason != NO_IMAGE or path.is_file():
            passed_over[key.encode("utf-8", "backslashreplace").decode()] = reason
    if not keys:
        raise UserError(f"{path}: no images in it; what is read is {KINDS}")
    return Pool(root, list(dict.fromkeys(keys)), passed_over)


def key_of(path: str | Path, root: Path) -> str:
    """The key of a path that is absolute, or relative to `root`."""
    full, base = os.path.normpath(os.path.join(os.path.abspath(root), path)), os.path.abspath(root)
    return os.path.relpath(full, base) if full.startswith(base.rstrip("/") + "/") else full


def files_below(root: Path) -> Iterator[str]:
    """Paths relative to `root` of all files below it that are not hidden, in order of their names."""
    for folder, folders, names in os.walk(root, onerror=_refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield os.path.relpath(os.path.join(folder, name), root)


def _refuse(error: OSError) -> None:
    raise UserError(f"{error.filename}: cannot be read: {error.strerror}") from error


def _listed_files(path: Path) -> Iterator[str]:
    if path.suffix.lower() == ".csv":
        for _, row in read_rows(path, (PATH_COLUMN,)):
            yield key_of(row[PATH_COLUMN], path.parent)
        return
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except ValueError as error:
        raise UserError(f"{path}: not a text of paths, one in every line ({error})") from error
    for line in lines:
        if line.strip():
            yield key_of(line.rstrip("\r"), path.parent)


def _unsuitable(path: Path, key: str) -> str | None:
    """Why a file is passed over; None if it is not."""
    if path.suffix.lower() not in SUFFIXES:
        return NO_IMAGE
    if not is_text(key):
        return "its name is no UTF-8"
    try:
        if not path.exists():
            return "not found"
        return None if path.is_file() else "no regular file"
    except (OSError, ValueError) as error:
        return str(error)
