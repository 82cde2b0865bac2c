"""What must hold of the documentation, apart from what its build checks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from mistral_cli.errors import ExitCode

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
ROOT_PAGES = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")


def _tokens(path: Path) -> list[Token]:
    return MarkdownIt("commonmark").parse(path.read_text("utf-8"))


def _links(path: Path) -> list[str]:
    inline = (child for token in _tokens(path) for child in token.children or ())
    return [str(child.attrs["href"]) for child in inline if child.type == "link_open"]


def _anchors(path: Path) -> set[str]:
    tokens = _tokens(path)
    headings = [
        tokens[number + 1].content for number, t in enumerate(tokens) if t.type == "heading_open"
    ]
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", each.lower())) for each in headings}


@pytest.mark.parametrize("name", ROOT_PAGES)
def test_the_links_of_the_pages_beside_the_site_lead_somewhere(name: str) -> None:
    page = ROOT / name
    assert page.read_text("utf-8").startswith("# ")
    for link in _links(page):
        if not re.match(r"https?:", link):
            target, _, anchor = link.partition("#")
            assert (ROOT / target).exists(), link
            assert not anchor or anchor in _anchors(ROOT / target), link


def test_the_readme_is_short_and_has_the_two_commands() -> None:
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert len(lines) <= 150
    commands = {line.split()[1] for line in lines if line.startswith("$ ")}
    assert {"scripts/demo", "scripts/test"} <= commands


def test_the_readme_links_every_page_but_those_for_contributors() -> None:
    linked = {ROOT / link for link in _links(ROOT / "README.md")}
    pages = {
        path for path in DOCS.rglob("*.md") if path.parent not in (DOCS, DOCS / "contributing")
    }
    assert pages - linked == {DOCS / "performance" / "how-we-measure.md"}


def test_every_exit_code_is_documented() -> None:
    page = (DOCS / "reference" / "exit-codes.md").read_text("utf-8")
    assert all(f"| {code.value} | {code.meaning} |" in page for code in ExitCode)


def test_every_environment_variable_is_documented() -> None:
    sources = (path.read_text("utf-8") for path in (ROOT / "mistral_cli").rglob("*.py"))
    names = {
        name for source in sources for name in re.findall(r"\bMISTRAL_CLI_[A-Z_]+[A-Z]\b", source)
    }
    page = (DOCS / "reference" / "configuration.md").read_text("utf-8")
    assert {name for name in names if f"`{name}`" not in page} == set()


def test_the_files_that_the_contributing_pages_name_exist() -> None:
    missing = []
    for page in (DOCS / "contributing").glob("*.md"):
        names = re.findall(r"`((?:\w+/)+(?:\w+\.py)?|scripts/\w+)`", page.read_text("utf-8"))
        homes = (ROOT, ROOT / "mistral_cli")
        missing += [f"{page.name}: {n}" for n in names if not any((h / n).exists() for h in homes)]
    assert missing == []


def test_the_types_that_the_architecture_page_names_exist() -> None:
    page = (DOCS / "contributing" / "architecture.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| `([\w/]+\.py)` \|", page, re.MULTILINE)
    assert rows
    for name, file in rows:
        source = (ROOT / "mistral_cli" / file).read_text("utf-8")
        assert re.search(rf"^class {name}\b", source, re.MULTILINE), f"{name} in {file}"


def test_the_glossary_has_each_word_once_in_alphabetical_order() -> None:
    page = (DOCS / "reference" / "glossary.md").read_text("utf-8")
    words = [row.split("|")[1].strip() for row in page.splitlines() if row.startswith("| ")][1:]
    assert words == sorted(set(words), key=str.lower)


def test_the_pages_and_the_help_are_in_plain_english() -> None:
    """They have no turns of phrase that the style page replaces."""
    odd = re.compile(
        r"\b(mend\w*|anew|nobody|is said|is told|are told|(?<!there )is no (?!longer))\b",
        re.IGNORECASE,
    )
    pages = [ROOT / name for name in ROOT_PAGES] + sorted(DOCS.rglob("*.md"))
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in pages
        if path != DOCS / "contributing" / "style.md"
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1)
        if odd.search(line) and "`mend`" not in line
    ]
    assert found == []
