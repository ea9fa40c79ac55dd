"""The rooms of the package: every import goes one way, and every file fits in a head."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGE = ROOT / "fisher_al"
GROUND = ("errors", "seeds", "memory", "distributed")
# Each room with those that it may import from, besides itself and the ground.
BELOW_CHAIN = ("experiment", "method", "training", "data", "files")
ARROWS = {
    "files": (),
    "data": ("files",),
    "method": ("data",),
    "training": ("data", "files"),
    "experiment": ("method", "training", "data", "files"),
    "labeling": ("method", "training", "data", "files"),
    "chain": BELOW_CHAIN,
    "stages": ("chain", *BELOW_CHAIN),
    "results": ("chain", *BELOW_CHAIN),
    "running": ("stages", "chain", *BELOW_CHAIN),
    "commands": ("labeling", "running", "results", "stages", "chain", *BELOW_CHAIN),
    **dict.fromkeys(GROUND, ()),
}
FRONT = (PACKAGE / "__init__.py", PACKAGE / "__main__.py")
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path not in FRONT)


def room_of(name: str) -> str:
    return name.split(".")[1]


def imported_rooms(path: Path) -> set[str]:
    """Rooms that a module imports from, wherever in it."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return {room_of(name) for name in names if name.startswith("fisher_al.")}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert imported_rooms(path) <= {room, *ARROWS[room], *GROUND}


def test_every_room_says_what_lives_there():
    for folder in (path for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()):
        said = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
        assert said, folder
        assert "Imports from" in said, folder


@pytest.mark.parametrize("name", ["fisher_al", "mnist", "svhn", "imagenet", "vaal", "tests", "benchmarks"])
def test_files_fit_in_a_head(name):
    lengths = {path: len(path.read_text().splitlines()) for path in (ROOT / name).rglob("*.py")}
    assert lengths
    assert [path for path, length in lengths.items() if length > 320] == []


@pytest.mark.parametrize("command", ["run", "main", "pick"])
def test_commands_start_without_what_few_of_them_need(command):
    slow = ("sklearn", "scipy", "kornia", "matplotlib", "torchvision", "skactiveml")
    code = f"import sys, fisher_al.commands.{command}; print([n for n in {slow} if n in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True) == "[]\n"
