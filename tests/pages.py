"""What stands on the pages of the documentation."""

from pathlib import Path

from conftest import ROOT

from fisher_al.method.registry import METHODS

README, DOCS = ROOT / "README.md", ROOT / "docs"


def running_text(page: Path) -> str:
    """The page with line breaks as spaces."""
    return " ".join(page.read_text().split())


def section(page: Path, heading: str) -> str:
    """What stands under a heading, up to the next one."""
    return f"{page.read_text()}\n## ".split(f"\n{heading}\n")[1].split("\n## ")[0].split("\n### ")[0]


def table(text: str, number: int = 0) -> list[list[str]]:
    """Cells of one of the tables in `text`, without its header."""
    tables, inside = [], False
    for line in text.splitlines():
        if line.startswith("|"):
            if not inside:
                tables.append([])
            tables[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        inside = line.startswith("|")
    return tables[number][2:]


def methods_table(beyond_the_paper: bool) -> list[list[str]]:
    """The registry's methods of the paper, or the others, as rows of text.

    Returns: token, notation, formula, pool labels seen, cost per pool image.
    """
    return [
        [
            f"`{method.name}/L`" if method.has_scales else f"`{method.name}`",
            method.notation,
            method.formula,
            "of its picks, one by one" if method.asks_one_by_one else "yes" if method.pool_labels else "no",
            method.cost,
        ]
        for method in METHODS.values()
        if method.extension == beyond_the_paper
    ]
