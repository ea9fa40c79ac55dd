"""What `fisher-al label` does: opens the labeling page of a round."""

from __future__ import annotations

import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fisher_al.commands.parsing import Parser, option
from fisher_al.errors import UserError
from fisher_al.labeling.outputs import PAGE


@dataclass(frozen=True)
class LabelOptions:
    """round"""

    round: Path = option("round", type=Path, metavar="ROUND", help="the --out of `fisher-al pick`")


def label_main(arguments: Sequence[str]) -> None:
    """`fisher-al label`: open the page in the browser that the system has."""
    parser = Parser("Open the labeling page of a round in a browser.", prog="fisher-al label")
    parser.add_options(LabelOptions)
    options = parser.read(LabelOptions, parser.parse_args(arguments))
    page = options.round / PAGE
    if not page.is_file():
        raise UserError(f"{page}: not found; name the --out of `fisher-al pick`")
    if not webbrowser.open(page.absolute().as_uri()):
        print(f"no browser found; open {page.absolute()} in one")
