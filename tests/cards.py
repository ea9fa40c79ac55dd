"""Picks for the tests of the labeling page, among them hostile ones."""

import os
from pathlib import Path

from fisher_al.labeling.page import Card

CLASSES = ["cat", "dog", "frog", "newt", "owl", "pig", "rat", "seal", "toad", "swan", "sun", "snu", "cattle"]
HOSTILE = [
    "</script><script>document.title='x'</script>",
    '<img src=x onerror="document.title=1">',
    "<!-- <script>",
    "{{script}} ${document.title='x'} {{round}}",
    'say "hello", twice',
    "two\r\nlines\nand\rmore\u2028of\u2029them",
    "\u202egnp.exe\u202c \U0001f431 \u00e9",
    "=1+1, -dash, 'quote', back\\slash&amp;",
    os.fsdecode(b"no utf-8 \xff\xc3( \xf0\x9f\x98\x80.png"),
    "__proto__",
]


def card(filepath: str, image: Path, matched: Path | None = None, predicted: str = "cat") -> Card:
    matched = matched or image
    return Card(filepath, image, predicted, 0.5, matched.name, "dog", matched)
