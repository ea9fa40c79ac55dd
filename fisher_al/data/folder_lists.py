"""Folders of images: which files there are, and lists of them as `relative/path label` lines."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from fisher_al.data.pixels import as_rgb, why_misread
from fisher_al.errors import UserError, raise_if_of_machine
from fisher_al.files.storage import atomic_write

FOLDER_SPLITS = ("train", "val")

# What both loaders can decode: by the file's name, and by its content as Pillow names it.
SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"))
FORMATS = frozenset(("JPEG", "MPO", "JPEG2000", "PNG", "BMP", "TIFF", "WEBP", "PPM"))

FileList = tuple[list[str], Tensor]


def find_classes(root: Path) -> list[str]:
    """Names of the classes, which are the folders in `train`, in alphabetical order."""
    train = root / "train"
    if not train.is_dir():
        raise UserError(f"{train}: not found; --imagenetdir needs train/<class>/* and val/<class>/*")
    classes = [folder.name for folder in _class_folders(train)]
    for name in classes:
        if not _fits_in_a_line(name):
            raise UserError(f"{train}: {name!a} cannot stand in a list (line break or no UTF-8); rename it")
    if len(classes) < 2:
        raise UserError(f"{train}: {len(classes)} folders of classes; at least two are needed")
    return classes


def scan_split(root: Path, split: str, classes: Sequence[str]) -> tuple[FileList, list[str]]:
    """Files (relative to `root`) and labels of one split, and the names of what no loader should read."""
    folder = root / split
    if not folder.is_dir():
        raise UserError(f"{folder}: not found; --imagenetdir needs train/<class>/* and val/<class>/*")
    labels = {name: label for label, name in enumerate(classes)}
    files, found, odd = [], [], []
    for class_folder in _class_folders(folder):
        if class_folder.name not in labels:
            raise UserError(f"{class_folder}: no class of that name in {root / 'train'}; rename or remove it")
        for path in sorted(class_folder.iterdir()):
            if path.name.startswith("."):
                continue
            relative = f"{split}/{class_folder.name}/{path.name}"
            if _is_image(path) and _fits_in_a_line(path.name):
                files.append(relative)
                found.append(labels[class_folder.name])
            else:
                odd.append(relative)
    if not files:
        raise UserError(f"{folder}: no images in it; put them into {split}/<class>/")
    return (files, torch.tensor(found)), odd


def _class_folders(split: Path) -> list[Path]:
    """The folders in that of a split, in alphabetical order; hidden ones are no classes."""
    return sorted(entry for entry in split.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _fits_in_a_line(name: str) -> bool:
    """Whether a list can hold the name of a file or class: no line break, and UTF-8."""
    return is_text(name) and name.splitlines() == [name]


def is_text(name: str) -> bool:
    """Whether UTF-8 can hold the name of a file, class or folder."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _is_image(path: Path) -> bool:
    """Whether this is a regular file with the suffix of an image, and no TIFF that DALI would misread."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES or not path.is_file():
        return False
    if suffix in (".tif", ".tiff"):
        try:
            with Image.open(path) as image:  # reads the header alone
                return not why_misread(image)
        except Exception:  # a broken one is named, or skipped, as others are
            return True
    return True


@dataclass(frozen=True)
class Origin:
    """A folder of images, by its place, and by a checksum of its files' names and sizes."""

    root: str
    files: int
    sha256: str

    @classmethod
    def of(cls, root: Path) -> Origin:
        """That of the folder as it is now."""
        files = sorted(entry for split in FOLDER_SPLITS for entry in root.glob(f"{split}/[!.]*/[!.]*"))
        digest = hashlib.sha256()
        for path in files:
            size = path.stat().st_size if path.exists() else 0  # a link may lead nowhere
            digest.update(os.fsencode(path.relative_to(root)) + f"\0{size}\0".encode())
        return cls(str(root.resolve()), len(files), digest.hexdigest())

    @classmethod
    def read(cls, path: Path) -> Origin:
        """That which `save_json` wrote of one; UserError if the file is broken."""
        try:
            origin = cls(**json.loads(path.read_text()))
            if not (isinstance(origin.root, str) and isinstance(origin.sha256, str)):
                raise TypeError("no texts")
        except (ValueError, TypeError, RecursionError) as error:
            raise UserError(f"{path}: broken; delete it if the images are the same as before") from error
        return origin


def unreadable(path: Path) -> str | None:
    """Why the file cannot be decoded as an image, by one of the loaders at least; None if it can."""
    if path.exists() and not path.is_file():  # reading a pipe would wait for ever
        return "not a regular file"
    try:
        with Image.open(path) as image:
            if image.format not in FORMATS:
                return f"its format is {image.format}, which DALI does not decode"
            as_rgb(image)
    except Exception as error:  # Pillow raises whatever a broken file leads its decoders to
        raise_if_of_machine(error, path)
        return str(error).replace("\n", " ") or type(error).__name__
    return None


def readable(root: Path, images: FileList, workers: int, title: str) -> tuple[FileList, list[str]]:
    """Decode every image once, with so many threads and a progress bar of this title.

    Returns: those that can be decoded, and the names of the others.
    """
    files, labels = images
    with ThreadPoolExecutor(workers) as threads:
        found = threads.map(unreadable, (root / name for name in files))
        reasons = list(tqdm(found, total=len(files), desc=title, unit="image", delay=1))
    kept = [i for i, reason in enumerate(reasons) if reason is None]
    broken = [name for name, reason in zip(files, reasons, strict=True) if reason is not None]
    return ([files[i] for i in kept], labels[kept]), broken


def write_list(images: FileList, path: Path) -> None:
    """Write `relative/path label` lines."""
    files, labels = images
    with atomic_write(path) as temporary:
        lines = (f"{name} {label}\n" for name, label in zip(files, labels.tolist(), strict=True))
        temporary.write_text("".join(lines))


def read_list(path: Path, num_classes: int) -> FileList:
    """Read what `write_list` wrote; UserError if a line is no path inside the folder and a class."""
    if not path.is_file():
        raise UserError(f"{path}: not found; run the command again to make it anew")
    try:
        pairs = list(_pairs(path.read_text(), num_classes))
    except ValueError as error:  # also of text that is none
        raise UserError(f"{path}: {error}; delete it and run the command again") from error
    if not pairs:
        raise UserError(f"{path}: empty; delete it and run the command again")
    files, labels = zip(*pairs, strict=True)
    return list(files), torch.tensor(labels)


def _pairs(text: str, num_classes: int) -> Iterator[tuple[str, int]]:
    for number, line in enumerate(text.splitlines(), 1):
        name, _, label = line.rpartition(" ")
        if not label.isdecimal() or int(label) >= num_classes:
            raise ValueError(f"line {number} does not end with a class from 0 to {num_classes - 1}")
        if not name or name.startswith("/") or "\0" in name or ".." in name.split("/"):
            raise ValueError(f"line {number} leads out of the folder of images")
        yield name, int(label)
