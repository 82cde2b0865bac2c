"""The page about a batch: what it counts, what it escapes, what its script does."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from mistral_cli.batch import charts
from mistral_cli.batch.charts import Work
from mistral_cli.batch.report import write_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
VOID = {"meta", "input", "br", "link", "img"}


class Page(HTMLParser):
    """The elements of a page, and the text inside each element that has an id or a class."""

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
        """The texts of the elements `tag`, of the class `name` if given."""
        return [
            text
            for each, attributes, text in self.texts
            if each == tag and (name is None or name in (attributes.get("class") or "").split())
        ]


def record(number: int, **changes: Any) -> dict[str, Any]:
    timings = {"prompt_seconds": 1.0, "generation_seconds": 2.0, "finished_at": 3.0 * number}
    return {
        "id": f"row-{number}",
        "source": f"mails.jsonl:{number}",
        "text": f"Answer {number}.",
        "finish_reason": "stop",
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "timings": timings,
        "error": None,
        "warnings": [],
    } | changes


def failure(message: str, code: int = 5) -> dict[str, Any]:
    error = {"code": code, "message": message, "hint": "Do something else."}
    return {"error": error, "text": None, "finish_reason": None, "completion_tokens": 0}


@pytest.fixture
def html(tmp_path: Path) -> Any:
    def html(records: list[dict[str, Any]], **facts: str) -> str:
        path = tmp_path / "report.html"
        write_report(path, records, facts, started_at=1_700_000_000)
        return path.read_text(encoding="utf-8")

    return html


def tiles(page: Page) -> dict[str, str]:
    """The label and the value of every fact at the head."""
    return dict(zip(page.all("dt"), page.all("dd"), strict=True))


def test_counts_what_became_of_the_rows(html: Any) -> None:
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
        "Tokens a second": "120.0",
        "Model": "SmolLM2",
    }
    assert page.all("span", "status") == ["done", "cut", "failed", "done"]
    assert page.all("td", "seconds") == ["3.0"] * 4


def test_a_row_needs_nothing_but_its_id(html: Any) -> None:
    page = Page(html([{"id": "only"}, {"id": "odd", "timings": None, "prompt_tokens": "many"}]))
    assert page.all("th")[-2:] == ["only", "odd"]
    assert page.all("span", "status") == ["done", "done"]
    assert page.all("svg") == []


def test_a_batch_without_rows_has_a_page_without_a_search(html: Any) -> None:
    page = Page(html([]))
    assert tiles(page)["Rows"] == "0"
    assert page.all("table") == page.all("script") == []


def test_the_page_needs_nothing_else_and_runs_only_its_own_script(html: Any) -> None:
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
    "\u202eright to left",
    "<!-- not a comment",
    "]]><style>* { display: none }</style>",
]


def test_what_a_row_says_stays_text(html: Any) -> None:
    records = []
    for text in HOSTILE:
        records.append(record(1, id=text, source=text, text=text, warnings=[text]))
        records.append(record(1, id=text, **failure(text, code=999)))
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


def test_characters_that_no_file_or_page_can_hold_do_no_harm(html: Any) -> None:
    page = Page(html([record(1, id="a\0b\x1b[2J", text="half \ud800 of a pair")]))
    assert page.all("th")[-1] == "ab[2J"
    assert page.all("div", "text") == ["half ? of a pair"]


def test_what_is_left_out_of_a_long_text_is_said(html: Any) -> None:
    text = "word " * 200_000
    source = html([record(1, text=text), record(2)], Output="out.jsonl")
    page = Page(source)
    assert page.all("div", "text")[0] == text[:4000]
    (note,) = page.all("p", "left-out")
    assert "996,000 more characters" in note
    assert "out.jsonl" in note
    assert "1 text is shortened" in source
    assert len(source) < 100_000


def test_ten_thousand_rows_make_a_page_that_a_browser_opens(html: Any) -> None:
    records = [record(n, text="word " * 1000) for n in range(1, 10_001)]
    source = html(records)
    assert source.count('<tr role="row" id="row-') == 10_000
    assert len(source) < 20_000_000


def test_failures_come_first_and_those_alike_together(html: Any) -> None:
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


def test_throughput_spreads_tokens_over_the_time_they_took() -> None:
    # 2 s of prompt at 50 tokens/s, then 8 s of answer at 5 tokens/s.
    chart = charts.throughput([Work(10.0, 2.0, 8.0, 100, 40)])
    assert chart is not None
    assert chart.summary == "4.0 answer and 10.0 prompt tokens/s on average"
    assert len(chart.bars) == 50  # of 0.2 s
    assert chart.bars[0].title == "0 s to 0.2 s: 0.0 answer and 50.0 prompt tokens/s"
    assert chart.bars[-1].title == "9.8 s to 10 s: 5.0 answer and 0.0 prompt tokens/s"
    (answer, prompt) = chart.bars[0].parts
    assert answer == pytest.approx((100, 0))
    assert prompt == pytest.approx((100 / 6, 500 / 6))  # of 60, the highest label
    assert sum(bar.width for bar in chart.bars) == pytest.approx(100)


def test_throughput_has_two_rows_at_once_on_top_of_each_other() -> None:
    work = [Work(100.0, 0.0, 100.0, 0, 1000), Work(50.0, 0.0, 50.0, 0, 1000)]
    chart = charts.throughput(work)
    assert chart is not None
    assert "30.0 answer" in chart.bars[0].title
    assert "10.0 answer" in chart.bars[-1].title
    assert chart.x_labels[-1] == (90.0, "1:30")


def test_no_token_is_lost_where_times_do_not_add_up() -> None:
    work = [Work(1.0, 50.0, 50.0, 300, 700), Work(0.0, 0.0, 0.0, 10, 10), Work(9.5, 0.0, 0.0, 1, 1)]
    chart = charts.throughput(work)
    assert chart is not None
    assert (
        chart.summary == f"{711 / 9.5:,.1f} answer and {311 / 9.5:,.1f} prompt tokens/s on average"
    )


def test_no_times_make_no_throughput() -> None:
    assert charts.throughput([]) is None
    assert charts.throughput([Work(0.0, 0.0, 0.0, 1, 1)]) is None


def test_a_histogram_counts_every_row_once() -> None:
    chart = charts.histogram("Tokens", [0, 9, 10, 11, 19, 45, 99, 99])
    assert chart is not None
    assert chart.summary == "Rows by number of tokens; median 11, longest 99"
    counts = {bar.title: bar.parts[0][1] for bar in chart.bars if bar.parts[0][1]}
    assert counts == {
        "0 to 4 tokens: 1 row": 50.0,
        "5 to 9 tokens: 1 row": 50.0,
        "10 to 14 tokens: 2 rows": 100.0,
        "15 to 19 tokens: 1 row": 50.0,
        "45 to 49 tokens: 1 row": 50.0,
        "95 to 99 tokens: 2 rows": 100.0,
    }
    assert [label for _, label in chart.y_labels] == ["0", "1", "2"]


def test_one_very_long_row_does_not_squeeze_the_others() -> None:
    chart = charts.histogram("Tokens", [*range(100), 1_000_000])
    assert chart is not None
    assert len(chart.bars) < 50
    assert chart.bars[-1].title == "100 tokens and more: 1 row"
    assert chart.x_labels[-1][1] == "100+"


@pytest.mark.parametrize("seconds", [1e-9, 0.003, 0.7, 1, 29.9, 61, 3599, 86_400, 9e6])
def test_every_length_of_a_batch_can_be_drawn(seconds: float) -> None:
    chart = charts.throughput([Work(seconds, 0.0, seconds / 2, 0, 5)])
    assert chart is not None
    assert 1 <= len(chart.bars) <= 61
    assert len({label for _, label in chart.x_labels}) == len(chart.x_labels) >= 2
    assert all(0 <= top <= 100 for bar in chart.bars for top, _ in bar.parts)


def dom(path: Path, fragment: str = "") -> str:
    """The page as a browser has it after the script ran."""
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
    """The ids in the table in their order, and whether each is shown."""
    found = re.findall(r'<tr role="row" id="row-\d+"([^>]*)><th[^>]*><bdi>([^<]*)', html)
    return [(name, "hidden" not in attributes) for attributes, name in found]


browser = pytest.mark.skipif(not CHROMIUM, reason="there is no chromium")


@browser
def test_the_search_of_a_link_filters_the_rows(report: Path) -> None:
    html = dom(report, "#search=River%20road")
    assert rows(html) == [("row-1", False), ("row-2", False), ("row-10", True), ("row-3", False)]
    assert ">1 of 4 rows</output>" in html
    assert "<title>Batch report: 3 of 4 rows done</title>" in html


@browser
def test_without_a_search_every_row_is_shown(report: Path) -> None:
    html = dom(report)
    assert rows(html) == [("row-1", True), ("row-2", True), ("row-10", True), ("row-3", True)]
    assert ">4 rows</output>" in html
    assert '<div class="search" role="search">' in html


@browser
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
    # The page's own policy would not run our script: the next test.
    report.write_text(re.sub(r"<meta http-equiv.*", "", html), encoding="utf-8")
    html = dom(report)
    assert [name for name, _ in rows(html)] == order
    said = {1: ["ascending"], 2: ["descending"], 3: []}
    assert re.findall(r'<th[^>]* aria-sort="(\w+)"', html) == said[clicks]


@browser
def test_a_script_that_is_not_the_pages_own_does_not_run(report: Path) -> None:
    html = report.read_text(encoding="utf-8")
    foreign = "<script>document.title = 'taken over'</script></body>"
    report.write_text(html.replace("</body>", foreign), encoding="utf-8")
    assert "<title>Batch report: 3 of 4 rows done</title>" in dom(report)
