"""Tables as CSV files: read with the line of every row, written whole or not at all."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from fisher_al.errors import UserError
from fisher_al.files.storage import atomic_write

PATH_COLUMN, LABEL_COLUMN = "filepath", "label"

# In place of a label: this image is to be left out.
SKIP = "skip"

# What spreadsheets may have done otherwise.
SPELLING = '; save it as "CSV UTF-8", with commas'

csv.field_size_limit(sys.maxsize)


def columns_of(path: Path) -> list[str]:
    """Names in the first row of a CSV file; none where there is none."""
    with open(path, newline="", encoding="utf-8-sig", errors="replace") as file:
        try:
            return next(csv.reader(file), [])
        except csv.Error:
            return []


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield line number and cells, by column, of every row of a CSV file in UTF-8.

    Raises: UserError if one of `columns` is not there, or a row is no row of the table.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            names = list(reader.fieldnames or ())
            missing = [name for name in columns if name not in names]
            if missing:
                found = ", ".join(map(repr, names)) or "none"
                raise UserError(f"{path}: no column '{missing[0]}'; its columns are {found}"[:500] + SPELLING)
            for row in reader:
                if None in row or None in row.values():
                    raise UserError(f"{path}, line {reader.line_num}: not as many cells as columns")
                yield reader.line_num, row
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path}: not a CSV file in UTF-8 ({error}){SPELLING}") from error


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file in UTF-8, as RFC 4180 has it."""
    with atomic_write(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
