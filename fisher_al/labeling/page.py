"""The page on which a person labels the picks of a round: one file, which needs no server and no network."""

from __future__ import annotations

import hashlib
import html
import io
import json
import os
import re
from base64 import b64encode
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image, ImageDraw, ImageOps

from fisher_al.data.pixels import as_rgb
from fisher_al.files.storage import atomic_write

THUMBNAIL_SIDE = 256
JPEG_QUALITY = 80


@dataclass(frozen=True)
class Card:
    """One pick, as the page shows it.

    filepath : relative to the pool, with forward slashes; its row in `labels.csv`. image : the file of it.
    predicted, confidence : class and probability (0 to 1) by the head; "" and 0 while there is none.
    matched_filepath, matched_label, matched_image : the validation image that it was matched with.
    """

    filepath: str
    image: Path
    predicted: str
    confidence: float
    matched_filepath: str
    matched_label: str
    matched_image: Path


def write_page(path: Path, title: str, classes: Sequence[str], cards: Sequence[Card]) -> None:
    """Write the page of a round, with thumbnails, style and script inside.

    A click on a picture opens its file, as long as page and file lie where they do.
    What a person labels on it is kept by the browser under the title and the file paths of the round, and
    downloaded as `labels.csv`: columns filepath and label, a row for every card. No text of the arguments
    becomes markup or script.

    Raises: UserError if it cannot be written. An image that cannot be read has a placeholder.
    """
    sources = [source for card in cards for source in (card.image, card.matched_image)]
    number = {source: n for n, source in enumerate(dict.fromkeys(sources))}
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        thumbnails = [*threads.map(_thumbnail, number)]
    contents = {
        "key": f"fisher-al labels {_digest([title, list(classes), [str(card.image) for card in cards]])}",
        "title": title,
        "classes": list(classes),
        "thumbnails": thumbnails,
        "cards": [
            {
                "filepath": card.filepath,
                "image": number[card.image],
                "link": _link(path, card.image),
                "predicted": card.predicted,
                "confidence": float(card.confidence),
                "matched": card.matched_filepath,
                "matchedLabel": card.matched_label,
                "matchedImage": number[card.matched_image],
                "matchedLink": _link(path, card.matched_image),
            }
            for card in cards
        ],
    }
    style, script = _part("page.css"), _part("labels.js") + _part("page.js")
    filled = {
        "title": html.escape(title),
        "style": style,
        "style hash": _content_hash(style),
        "script": script,
        "script hash": _content_hash(script),
        "round": _inert_json(contents),
    }
    page = re.sub(r"\{\{([\w ]+)\}\}", lambda found: filled[found[1]], _part("page.html"))
    with atomic_write(path) as temporary:
        # a title that is no UTF-8 is shown with marks in place of what it cannot have
        temporary.write_text(page, encoding="utf-8", errors="replace", newline="\n")


def _part(name: str) -> str:
    return (files("fisher_al.labeling") / name).read_text(encoding="utf-8")


def _link(page: Path, file: Path) -> str:
    """Relative address of a file, in which nothing can be taken for a scheme."""
    return quote(os.fsencode(os.path.relpath(file.absolute(), page.parent.absolute())))


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def _content_hash(text: str) -> str:
    """What a Content-Security-Policy names the one script or style by that may be in the page."""
    return f"sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _inert_json(content: Any) -> str:
    """JSON that can stand in a script element: plain ASCII, and nothing that could end it or begin markup."""
    escaped = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return re.sub("[<>&]", lambda found: f"\\u{ord(found[0]):04x}", escaped)


def _thumbnail(path: Path) -> str:
    """The image as a data URL: upright, at most `THUMBNAIL_SIDE` pixels long, never enlarged."""
    try:
        with Image.open(path) as opened:
            opened.draft(None, (2 * THUMBNAIL_SIDE, 2 * THUMBNAIL_SIDE))  # a JPEG is decoded no larger
            small = as_rgb(opened)
        small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
        return _jpeg_url(ImageOps.exif_transpose(small))
    except Exception:  # Pillow raises whatever a broken file leads its decoders to
        return _jpeg_url(_placeholder())


def _placeholder() -> Image.Image:
    """Stands for an image that cannot be read."""
    image = Image.new("RGB", (128, 128), "#808080")
    ImageDraw.Draw(image).text((40, 48), "cannot\nbe read", "white")
    return image


def _jpeg_url(image: Image.Image) -> str:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{b64encode(stream.getvalue()).decode()}"
