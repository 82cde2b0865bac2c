"""The script of a batch report, in a real browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support.batch_records import failure, record

from mistral_cli.batch.report.page import write_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="there is no chromium")


def dom(path: Path, fragment: str = "") -> str:
    """Return the page's DOM after the script has run."""
    browser = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    browser.append(f"--user-data-dir={path.parent / 'profile'}")
    result = subprocess.run(
        [*browser, f"{path.as_uri()}{fragment}"], capture_output=True, text=True, timeout=200
    )
    return result.stdout


@pytest.fixture
def report(tmp_path: Path) -> Path:
    records = [
        record(1, text="the river rose", prompt_tokens=1200),
        record(2, text="the road closed", prompt_tokens=90),
        record(10, text="the <b>river</b> & the road", prompt_tokens=500),
        record(3, **failure("<script>document.title = 'taken over'</script>"), prompt_tokens=None),
    ]
    path = tmp_path / "report.html"
    write_report(path, records, {})
    return path


def rows(html: str) -> list[tuple[str, bool]]:
    """Return the ids in the table in order, each with whether its row is shown."""
    matches = re.findall(r'<tr role="row" id="row-\d+"([^>]*)><th[^>]*><bdi>([^<]*)', html)
    return [(name, "hidden" not in attributes) for attributes, name in matches]


def test_the_search_in_the_address_filters_the_rows(report: Path) -> None:
    html = dom(report, "#search=River%20road")
    assert rows(html) == [("row-1", False), ("row-2", False), ("row-10", True), ("row-3", False)]
    assert ">1 of 4 rows</output>" in html
    assert "<title>Batch report: 3 of 4 rows done</title>" in html


def test_without_a_search_every_row_is_shown(report: Path) -> None:
    html = dom(report)
    assert rows(html) == [("row-1", True), ("row-2", True), ("row-10", True), ("row-3", True)]
    assert ">4 rows</output>" in html
    assert '<div class="search" role="search">' in html


@pytest.mark.parametrize(
    ("heading", "clicks", "order"),
    [
        ("Id", 1, ["row-1", "row-2", "row-3", "row-10"]),
        ("Id", 2, ["row-10", "row-3", "row-2", "row-1"]),
        ("Id", 3, ["row-1", "row-2", "row-10", "row-3"]),
        ("Prompt tokens", 1, ["row-3", "row-2", "row-10", "row-1"]),
    ],
)
def test_a_click_on_a_heading_sorts(
    report: Path, heading: str, clicks: int, order: list[str]
) -> None:
    click = (
        "<script>const button = [...document.querySelectorAll('th button')]"
        f".find((one) => one.textContent === '{heading}');"
        f"for (let n = 0; n < {clicks}; n += 1) button.click();</script></body>"
    )
    html = report.read_text(encoding="utf-8").replace("</body>", click)
    # The page's policy would block this script, as the next test checks.
    report.write_text(re.sub(r"<meta http-equiv.*", "", html), encoding="utf-8")
    html = dom(report)
    assert [name for name, _ in rows(html)] == order
    direction = {1: ["ascending"], 2: ["descending"], 3: []}
    assert re.findall(r'<th[^>]* aria-sort="(\w+)"', html) == direction[clicks]


def test_a_foreign_script_does_not_run(report: Path) -> None:
    html = report.read_text(encoding="utf-8")
    foreign = "<script>document.title = 'taken over'</script></body>"
    report.write_text(html.replace("</body>", foreign), encoding="utf-8")
    assert "<title>Batch report: 3 of 4 rows done</title>" in dom(report)
