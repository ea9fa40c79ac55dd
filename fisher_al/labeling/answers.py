"""Labels that people gave: CSV files, folders of class sub-folders, and Label Studio's exports."""

from __future__ import annotations

import filecmp
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PureWindowsPath

from fisher_al.data.folder_lists import SUFFIXES, is_text
from fisher_al.errors import UserError
from fisher_al.labeling import label_studio
from fisher_al.labeling.pool import Pool, files_below, key_of
from fisher_al.labeling.tables import LABEL_COLUMN, PATH_COLUMN, SKIP, read_rows


@dataclass(frozen=True)
class Answer:
    """An image, by its key, and what somebody said it shows; source: file and line, for messages."""

    key: str
    label: str
    source: str


def read_labels(paths: Iterable[Path], pool: Pool) -> dict[str, str]:
    """Label by key of images of the pool; `skip` for those to be left out. Empty labels are passed over.

    Images in folders of class sub-folders may also lie outside the pool.
    Raises: UserError for an image that is not in the pool, or has two different labels, and for a path that
    holds no label at all.
    """
    known = frozenset(pool.keys)
    answers: list[Answer] = []
    for path in paths:
        before = len(answers)
        for answer in _read(path, pool, beside_first=False):
            if answer.key not in known and not path.is_dir():
                raise UserError(
                    f"{answer.source}: '{answer.key}' is not in the pool {pool.root}; take the line out, "
                    "write the path relative to the pool, or give the pool that it is from"
                )
            answers.append(answer)
        if len(answers) == before:
            raise UserError(
                f"{path}: no class folders with images in it; name a file of labels, or leave it out"
                if path.is_dir()
                else f"{path}: no label in it; name the file that holds the answers, or leave it out"
            )
    return _merged(answers)


def read_validation(path: Path, pool: Pool) -> dict[str, str]:
    """Label by key of validation images, which may lie anywhere.

    Relative paths start at the file, or else at the pool.

    Raises: UserError for a file that is not there, an image with two labels, or fewer than two classes.
    """
    answers = [answer for answer in _read(path, pool, beside_first=True) if answer.label != SKIP]
    for answer in answers:
        if not os.path.isfile(pool.root / answer.key):
            raise UserError(
                f"{answer.source}: '{answer.key}' not found; relative paths start at {path.parent} or at the "
                f"pool {pool.root}"
            )
    labels = _merged(answers)
    if len(classes := sorted(set(labels.values()))) < 2:
        found = f"only of class '{classes[0]}'" if classes else "none at all"
        raise UserError(f"{path}: labeled images {found}; at least two classes are needed")
    return labels


def require_agreement(validation: Path, labels: Sequence[Path], pool: Pool) -> None:
    """Raise UserError if an image has one label in `validation`, and another in `labels`."""
    files = [(validation, True), *((path, False) for path in labels)]
    read = (answer for path, beside_first in files for answer in _read(path, pool, beside_first))
    _merged(answer for answer in read if answer.label != SKIP)


def _read(path: Path, pool: Pool, beside_first: bool) -> Iterator[Answer]:
    """Every label of a file or folder that is not empty."""
    if path.is_dir():
        written = _in_class_folders(path)
    elif not path.is_file():
        raise UserError(f"{path}: not found; give a CSV or Label Studio file, or a folder of class folders")
    elif path.suffix.lower() == ".json":
        written = label_studio.read_json(path)
    elif path.suffix.lower() == ".csv":
        written = _in_csv(path)
    else:
        raise UserError(f"{path}: labels are read from .csv and .json files, and from folders of classes")
    find = _Finder(pool, path if path.is_dir() else path.parent, beside_first)
    for name, text, source in written:
        if label := text.strip():
            label = SKIP if label.lower() == SKIP else label  # as a spreadsheet may write it
            key = find(name)
            if not (is_text(key) and is_text(label)):
                raise UserError(f"{source}: its name or label is no UTF-8; rename it")
            yield Answer(key, label, source)


def _in_csv(path: Path) -> Iterator[tuple[str, str, str]]:
    """Path, label and source in every row of columns `filepath,label`, or of Label Studio's own."""
    exported = label_studio.csv_columns(path)
    columns = exported or (PATH_COLUMN, LABEL_COLUMN)
    for line, row in read_rows(path, columns):
        name, label = (row[column] for column in columns)
        source = f"{path}, line {line}"
        if exported:
            name, label = label_studio.path_in(name), label_studio.label_in(label, source)
        yield name, label, source


def _in_class_folders(path: Path) -> Iterator[tuple[str, str, str]]:
    for folder in sorted(entry for entry in path.iterdir() if entry.is_dir()):
        if folder.name.startswith("."):
            continue
        for file in (folder / name for name in files_below(folder)):
            if file.suffix.lower() in SUFFIXES and file.is_file():
                yield os.path.abspath(file), folder.name, str(file)


class _Finder:
    """From the path that a file of labels holds to the image's key.

    A link to an image of the pool, or a copy of it under its own name, is that image.
    """

    def __init__(self, pool: Pool, folder: Path, beside_first: bool):
        self._pool, self._folder, self._beside_first = pool, folder, beside_first
        self._real_root = Path(os.path.realpath(pool.root))
        self._known = frozenset(pool.keys)
        self._by_name: dict[str, list[str]] = {}
        for key in pool.keys:
            self._by_name.setdefault(os.path.basename(key), []).append(key)

    def __call__(self, written: str) -> str:
        root = self._pool.root
        of_pool = key_of(written, root)
        beside = key_of(os.path.abspath(self._folder / written), root)
        for key in (beside, of_pool) if self._beside_first else (of_pool, beside):
            if key in self._known:
                return key
            if os.path.isfile(root / key):
                return self._same_in_pool(key) or key
        if os.path.isabs(written) and not os.path.isabs(of_pool):
            return of_pool  # of this very pool, and gone: another one of its name is not meant
        return self._from_elsewhere(written) or of_pool

    def _same_in_pool(self, key: str) -> str | None:
        """The pool image that a file of another name is."""
        file = self._pool.root / key
        real = os.path.realpath(file)
        inside = key_of(real, self._real_root)
        if inside in self._known:
            return inside
        if real in self._linked:
            return self._linked[real]
        candidates = [*self._ends_of(key), *self._by_name.get(os.path.basename(key), ())]
        return next((other for other in candidates if _is_copy(file, self._pool.root / other)), None)

    @cached_property
    def _linked(self) -> dict[str, str]:
        """Pool images that are links, by the file that they lead to."""
        links = ((key, self._pool.root / key) for key in self._pool.keys)
        return {os.path.realpath(link): key for key, link in links if os.path.islink(link)}

    def _from_elsewhere(self, written: str) -> str | None:
        """The pool image whose key ends a path from another machine, or that was uploaded under the name.

        A relative path is none from elsewhere: its image would be another one of the same name.
        """
        written = PureWindowsPath(written).as_posix()
        if not PureWindowsPath(written).root:
            return None
        uploaded = self._by_stored_name.get(label_studio.uploaded_name(written), ())
        return next(iter(self._ends_of(written)), uploaded[0] if len(uploaded) == 1 else None)

    @cached_property
    def _by_stored_name(self) -> dict[str, list[str]]:
        """Pool images by the name that Label Studio keeps an uploaded file under."""
        keys: dict[str, list[str]] = {}
        for key in self._pool.keys:
            keys.setdefault(label_studio.stored_name(os.path.basename(key)), []).append(key)
        return keys

    def _ends_of(self, written: str) -> list[str]:
        """Pool images whose keys are the end of a path, the longest first."""
        same_name = self._by_name.get(os.path.basename(written), ())
        return sorted((key for key in same_name if f"/{written}".endswith(f"/{key}")), key=len, reverse=True)


def _is_copy(file: Path, other: Path) -> bool:
    try:
        return filecmp.cmp(file, other, shallow=False)
    except OSError:
        return False


def _merged(answers: Iterable[Answer]) -> dict[str, str]:
    first: dict[str, Answer] = {}
    for answer in answers:
        other = first.setdefault(answer.key, answer)
        if other.label != answer.label:
            raise UserError(
                f"'{answer.key}' is '{other.label}' in {other.source}, and '{answer.label}' in "
                f"{answer.source}; take one of them out"
            )
    return {key: answer.label for key, answer in first.items()}
