"""Label Studio's files: exports with answers are read, tasks with predictions are written.

Formats: https://labelstud.io/guide/task_format and https://labelstud.io/guide/export
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from fisher_al.errors import UserError
from fisher_al.files.storage import save_json
from fisher_al.labeling.tables import PATH_COLUMN, SKIP, columns_of

# An uploaded file is kept as eight hexadecimal digits, a hyphen and its name.
_UPLOADED = re.compile(r"[0-9a-f]{8}-(?P<name>.+)", re.DOTALL)


def read_json(path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield path of the image, label (empty: none) and source of every annotation of a JSON or JSON-MIN
    export.

    Raises: UserError if it is none.
    """
    try:
        tasks = json.loads(path.read_text(encoding="utf-8-sig"))
        if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
            raise ValueError("no list of tasks")
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not Label Studio's JSON ({error})") from error
    for number, task in enumerate(tasks):
        source = f"{path}, task {task.get('id', number)}"
        data = task.get("data", task)
        image = data.get(PATH_COLUMN, data.get("image")) if isinstance(data, dict) else None
        if not isinstance(image, str):
            raise UserError(f"{source}: names no image (data.image)")
        try:
            labels = _labels(task, source)
        except (TypeError, AttributeError) as error:
            raise UserError(f"{source}: its annotations are none of Label Studio's") from error
        for label in labels:
            yield path_in(image), label, source


def _labels(task: dict[str, Any], source: str) -> list[str]:
    """What the annotations of a task choose."""
    if "annotations" not in task:
        return [_one(task.get("choice", task.get("label", "")), source)]
    labels = []
    for annotation in task["annotations"] or ():
        values = [result.get("value") or {} for result in annotation.get("result") or ()]
        choices = [choice for value in values for choice in value.get("choices") or ()]
        labels.append(SKIP if annotation.get("was_cancelled") else _one(choices, source))
    return labels


def _one(choices: Any, source: str) -> str:
    if isinstance(choices, str):
        return choices.strip()
    if isinstance(choices, dict):  # several choices of JSON-MIN
        choices = choices.get("choices")
    if not isinstance(choices, list) or not all(isinstance(choice, str) for choice in choices):
        raise UserError(f"{source}: its choice is no text")
    if len(choices) > 1:
        raise UserError(f"{source}: {len(choices)} choices; an image has one class")
    return choices[0].strip() if choices else ""


def csv_columns(path: Path) -> tuple[str, str] | None:
    """Columns of image and label, if this is a CSV export; None for any other table."""
    columns = columns_of(path)
    label = next((name for name in ("choice", "label") if name in columns), None)
    if label is None or "annotation_id" not in columns:
        return None
    return (PATH_COLUMN if PATH_COLUMN in columns else "image"), label


def label_in(cell: str, source: str) -> str:
    """The label in a CSV export's cell, where several choices stand as JSON."""
    try:
        choices = json.loads(cell) if cell.startswith("{") else cell
    except (ValueError, RecursionError):
        choices = cell
    return _one(choices, source)


def path_in(image: str) -> str:
    """The path of a file in what a task names as its image: a path, or one of Label Studio's own URLs."""
    if image.startswith(("/data/", "http://", "https://", "s3://", "gs://")):
        try:
            address = urlsplit(image)
        except ValueError:
            return image
        local = parse_qs(address.query).get("d")
        return f"/{local[0]}" if local else unquote(address.path)
    return image


def stored_name(name: str) -> str:
    """The name that an uploaded file is kept under, after its digits (Django's `get_valid_filename`)."""
    return re.sub(r"[^-\w.]", "", name.strip().replace(" ", "_"))


def uploaded_name(path: str) -> str:
    """The name that an uploaded file is stored under, without the digits; empty if it was not uploaded."""
    found = _UPLOADED.fullmatch(os.path.basename(path)) if "/data/upload/" in path else None
    return found["name"] if found else ""


def write_tasks(path: Path, root: Path, picks: Sequence[tuple[str, str, float]]) -> None:
    """Write a task with a prediction for every pick: key, predicted class, confidence.

    Images are named as files of Label Studio's local storage, by their absolute paths.
    """
    tasks = [
        {
            "data": {
                "image": "/data/local-files/?d="
                + quote(os.fsencode(os.path.abspath(root / key)).lstrip(b"/")),
                PATH_COLUMN: key,
            },
            "predictions": [
                {
                    "model_version": "fisher-al",
                    "score": round(confidence, 4),
                    "result": [
                        {
                            "from_name": "choice",
                            "to_name": "image",
                            "type": "choices",
                            "value": {"choices": [predicted]},
                        }
                    ],
                }
            ]
            if predicted
            else [],
        }
        for key, predicted, confidence in picks
    ]
    save_json(tasks, path)
