"""The report page of a batch: counts, escaping, shortened texts."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from support.batch_records import failure, record

from mistral_cli.batch.report.page import write_report

VOID = {"meta", "input", "br", "link", "img"}


class Page(HTMLParser):
    """The elements of a page, and the text inside each."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[tuple[str, list[str]]] = []
        self.texts: list[tuple[str, dict[str, str | None], str]] = []
        self.feed(html)
        assert not self._open, "an element is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append((tag, []))
            self.texts.append((tag, dict(attrs), ""))
            self._open[-1][1].append(str(len(self.texts) - 1))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        opened, _ = self._open.pop()
        assert opened == tag

    def handle_data(self, data: str) -> None:
        for _, (index,) in self._open:
            tag, attributes, text = self.texts[int(index)]
            self.texts[int(index)] = (tag, attributes, text + data)

    def all(self, tag: str, name: str | None = None) -> list[str]:
        """Return the texts of the elements `tag`, if given only those with the class `name`."""
        return [
            text
            for each, attributes, text in self.texts
            if each == tag and (name is None or name in (attributes.get("class") or "").split())
        ]


@pytest.fixture
def html(tmp_path: Path) -> Any:
    def html(records: list[dict[str, Any]], **facts: str) -> str:
        path = tmp_path / "report.html"
        write_report(path, records, facts)
        return path.read_text(encoding="utf-8")

    return html


def tiles(page: Page) -> dict[str, str]:
    """Return the facts at the top of the page by label."""
    return dict(zip(page.all("dt"), page.all("dd"), strict=True))


def test_the_page_counts_rows_by_status(html: Any) -> None:
    records = [
        record(1),
        record(2, finish_reason="length", completion_tokens=1000),
        record(3, **failure("the prompt is too long")),
        record(4, warnings=["5 tokens were left out"]),
    ]
    page = Page(html(records, Model="SmolLM2"))
    assert tiles(page) == {
        "Rows": "4",
        "Done": "3",
        "Failed": "1",
        "Cut at the token limit": "1",
        "With warnings": "1",
        "Prompt tokens": "400",
        "Answer tokens": "1,040",
        "Time": "0:12",
        "Tokens per second": "120.0",
        "Model": "SmolLM2",
    }
    assert page.all("span", "status") == ["done", "cut", "failed", "done"]
    assert page.all("td", "seconds") == ["3.0"] * 4


def test_runs_are_joined_in_time(html: Any) -> None:
    """Each run counts its time from 0, so the times of the runs add up."""
    first = [record(n) for n in (1, 2, 3, 4)]
    second = [record(n) for n in (1, 2)]
    for run, records in ((1_700_000_000, first), (1_700_009_000, second)):
        for each in records:
            each["timings"]["run_began_at"] = run
    page = Page(html([*second, *first]))
    assert tiles(page)["Time"] == "0:18"
    assert tiles(page)["Tokens per second"] == "40.0"
    assert page.all("time")[0].startswith(time.strftime("%d %B %Y", time.localtime(1_700_000_000)))


def test_a_record_needs_only_an_id(html: Any) -> None:
    page = Page(html([{"id": "only"}, {"id": "odd", "timings": None, "prompt_tokens": "many"}]))
    assert page.all("th")[-2:] == ["only", "odd"]
    assert page.all("span", "status") == ["done", "done"]
    assert page.all("svg") == []


def test_a_batch_without_rows_has_a_page_without_a_search(html: Any) -> None:
    page = Page(html([]))
    assert tiles(page)["Rows"] == "0"
    assert page.all("table") == page.all("script") == []


def test_the_page_is_self_contained_and_allows_only_its_own_script(html: Any) -> None:
    page = Page(html([record(1), record(2, **failure("no"))]))
    for tag, attributes in page.elements:
        assert not {"src", "style", "srcset", "action"} & set(attributes)
        assert not [name for name in attributes if name.startswith("on")]
        assert (attributes.get("href") or "#").startswith("#")
        assert tag not in ("link", "img", "iframe", "object", "base")
    assert not re.search(r"@import|url\(", "".join(page.all("style")))
    (policy,) = [a["content"] for t, a in page.elements if t == "meta" and "http-equiv" in a]
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    for tag in ("style", "script"):
        (source,) = page.all(tag)
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}';" in policy


HOSTILE = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'; DROP TABLE rows; --",
    "</div></details></table><h1>mine</h1>",
    "{{ 7 * 7 }} {% raw %}",
    "&lt;b&gt; &amp; &#60;i&#62;",
    "line\u2028separator\u2029s",
    "<!-- not a comment",
    "]]><style>* { display: none }</style>",
]


def test_markup_in_records_is_escaped(html: Any) -> None:
    records = []
    for number, text in enumerate(HOSTILE):
        records.append(record(1, id=text, source=text, text=text, warnings=[text]))
        records.append(record(1, id=text, **failure(text, code=900 + number)))
        records.append(record(1, id=text, text=None, data={text: [text]}))
    page = Page(html(records, **{"Command": HOSTILE[0], "<b>": HOSTILE[1]}))
    plain = Page(html([record(1), record(2, **failure("no"), warnings=["no"])], Command="x"))
    assert {tag for tag, _ in page.elements} == {tag for tag, _ in plain.elements}
    ids = page.all("th")[-len(records) :]
    assert ids == [text for text in HOSTILE for _ in range(3)]
    assert page.all("div", "text")[::2] == HOSTILE
    data = map(json.loads, page.all("div", "text")[1::2])
    assert list(data) == [{text: [text]} for text in HOSTILE]
    assert set(page.all("strong")) == set(HOSTILE)


def test_control_characters_and_lone_surrogates_are_replaced(html: Any) -> None:
    page = Page(html([record(1, id="a\0b\x1b[2J\u202etxt.exe", text="half \ud800 of a pair")]))
    assert page.all("th")[-1] == "ab[2Jtxt.exe"
    assert page.all("div", "text") == ["half ? of a pair"]


def test_the_page_says_what_it_leaves_out_of_a_long_text(html: Any) -> None:
    text = "word " * 200_000
    source = html([record(1, text=text), record(2)], Output="out.jsonl")
    page = Page(source)
    assert page.all("div", "text")[0] == text[:4000]
    (note,) = page.all("p", "left-out")
    assert "996,000 more characters" in note
    assert "out.jsonl" in note
    assert "1 text is shortened" in source
    assert len(source) < 100_000


def test_ten_thousand_rows_make_a_page_that_a_browser_can_open(html: Any) -> None:
    records = [record(n, text="word " * 1000) for n in range(1, 10_001)]
    source = html(records)
    assert source.count('<tr role="row" id="row-') == 10_000
    assert len(source) < 20_000_000


def test_failures_are_grouped_and_the_largest_group_is_first(html: Any) -> None:
    records = [record(1, **failure("the engine died", code=9))]
    records += [record(n, **failure(f"row-{n}: {n},000 tokens")) for n in range(2, 40)]
    page = Page(html(records))
    assert page.all("strong") == ["row-2: 2,000 tokens", "the engine died"]
    assert page.all("span", "times") == ["38 rows", "1 row"]
    links = [a["href"] for tag, a in page.elements if tag == "a"]
    assert links == [f"#row-{n}" for n in range(2, 22)] + ["#row-1"]
    (more, _) = [text for text in page.all("p", "muted") if "exit code" in text]
    assert "exit code 5: the prompt does not fit the context" in more
    assert more.endswith(" and 18 more")
