"""A JSON file of counts, whose sections are written by a campaign each."""

import json
from pathlib import Path
from typing import Any

from fisher_al.files.storage import save_json


def read(path: Path) -> dict[str, Any]:
    """All sections; none if there is no file."""
    return json.loads(path.read_text()) if path.exists() else {}


def update(path: Path, **sections: Any) -> None:
    """Write some sections, and leave the others as they are."""
    save_json(read(path) | sections, path)
