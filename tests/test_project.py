"""The files around the code: links between pages, and what other programs read."""

import re
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from pages import DOCS, README

LINKED = [ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md"))]
PAGES = [README, ROOT / "local_data" / "README.md", *LINKED]
WORKFLOW = ".github/workflows/test.yml"


def load(name: str) -> dict:
    return yaml.safe_load((ROOT / name).read_text())


def anchors(page: Path) -> set[str]:
    """What links to the page's headings end with."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_readme_is_short():
    assert len(README.read_text().splitlines()) <= 200


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_images_lead_to_something(page):
    links = re.findall(r"\]\(([^)]+)\)", page.read_text())
    for link in (link for link in links if not link.startswith("https://")):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_linked_from_the_readme():
    assert all(f"]({page.relative_to(ROOT)})" in README.read_text() for page in LINKED)


def test_citation_names_the_paper():
    citation = load("CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= citation.keys()
    paper = citation["preferred-citation"]
    bibtex = README.read_text().split("@article")[1]
    assert f"{{{paper['title']}}}" in bibtex
    names = " and ".join(f"{author['family-names']}, {author['given-names']}" for author in paper["authors"])
    assert f"{{{names}}}" in bibtex
    assert f"{{{paper['year']}}}" in bibtex


def test_workflow_runs_what_the_readme_says():
    steps = load(WORKFLOW)["jobs"]["test"]["steps"]
    commands = [step["run"] for step in steps if "run" in step]
    assert {"make demo", "make test"} <= {*commands}
    assert all(re.fullmatch(r"[\w/-]+@v\d+", step["uses"]) for step in steps if "uses" in step)


def test_pre_commit_has_the_ruff_of_the_tests():
    [repository] = load(".pre-commit-config.yaml")["repos"]
    [version] = re.findall(r'"ruff==([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    assert repository["rev"] == f"v{version}"
    assert [hook["id"] for hook in repository["hooks"]] == ["ruff-check", "ruff-format"]
