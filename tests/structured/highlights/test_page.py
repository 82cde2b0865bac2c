"""The page with highlighted values: every character once, values where they stand, escaping."""

from __future__ import annotations

import base64
import hashlib
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.html_page import Page

from mistral_cli.errors import MistralCliError, UsageError
from mistral_cli.structured.grounding.text_index import TextIndex
from mistral_cli.structured.highlights.page import HighlightsPage, Section, check_highlights
from mistral_cli.structured.highlights.segments import cut
from mistral_cli.structured.highlights.values import Kind, PlacedValue
from mistral_cli.structured.spans import ValueSpan
from mistral_cli.structured.spec import Extraction
from mistral_cli.system.controls import visible


def section(
    text: str, data: Any, *spans: ValueSpan, schema: Any = None, name: str = "a"
) -> Section:
    return Section.of(name, text, Extraction(data, spans), schema or {})


def page_of(tmp_path: Path, *sections: Section, **facts: str) -> Page:
    page = HighlightsPage(tmp_path / "page.html", list(sections))
    page.write(facts)
    return Page(page.path.read_text(encoding="utf-8"))


def listed(page: Page) -> list[str]:
    """The values of the list, each with its path and what is said about it."""
    return page.texts("li")[len(page.texts("legend")[0].strip().splitlines()) :]


ARTICLE = "My name is Suvojit Hore, working in company AB. Suvojit is 34.\nAB Street"


def test_values_are_highlighted_where_they_stand_and_the_others_are_listed(tmp_path: Path) -> None:
    data = {"name": "Suvojit", "age": 34, "kind": "senior", "member": True, "city": None}
    data |= {"street": "AB Street", "made up": "Bob", "tags": [], "nick": ""}
    schema = {"properties": {"kind": {"enum": ["junior", "senior"]}}}
    page = page_of(tmp_path, section(ARTICLE, data, schema=schema))
    assert page.texts("value") == ["Suvojit", "34", "AB Street"]
    assert page.texts("again") == ["a dotted line", "Suvojit"]
    assert page.texts("block") == [ARTICLE]
    assert listed(page) == [
        "name Suvojit",
        "age 34",
        "kind senior choice",
        "member true choice",
        "city  null",
        "street AB Street",
        "made up Bob not in the text",
        "tags [] empty",
        'nick "" empty',
    ]
    tally = "3 found, 1 not in the text, 2 choice, 1 null, 2 empty"
    assert page.texts("muted")[-2] == tally


def test_links_lead_from_the_list_to_the_text_and_back(tmp_path: Path) -> None:
    people = [{"name": "Bob", "age": 5}, {"name": "Zoë", "age": 5}]
    texts = [section("Bob is 5 and Zoë is 5", people, name=name) for name in ("a", "b")]
    page = page_of(tmp_path, *texts)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [(attributes["href"], text) for attributes, text in page.all("a")]
    assert all(target.removeprefix("#") in ids for target, _ in links)
    there = {attributes["id"]: (attributes, text) for attributes, text in page.all("value")}
    lists = [each for each in page.all("li") if "id" in each[0]]
    assert [each[0]["id"] for each in lists] == [f"t{t}-v{v}" for t in (1, 2) for v in range(4)]
    for target, text in links:
        if target[1:] in there:
            attributes, word = there[target[1:]]
            assert word == text
            assert attributes["href"][1:] in ids
    labels = [attributes["aria-description"] for attributes, _ in page.all("value")]
    assert labels == ["[0].name", "[0].age, [1].age", "[1].name"] * 2
    assert [text for text in page.texts("legend")[0].split() if text.isalpha()] == [
        *("name", "found", "age", "found")
    ]


def test_nested_and_overlapping_spans_are_shown_by_the_innermost_value(tmp_path: Path) -> None:
    spans = [ValueSpan("/all", 0, 9), ValueSpan("/inner", 2, 5), ValueSpan("/over", 4, 12)]
    page = page_of(
        tmp_path, section("abcdefghijklmnop", {"all": "x", "inner": "y", "over": "z"}, *spans)
    )
    found = [(text, a["aria-description"], a["class"]) for a, text in page.all("value")]
    assert found == [
        ("ab", "all", "value k1 l1 o1"),
        ("cd", "inner, all", "value k2 l1 o1"),
        ("e", "inner, over, all", "value k2 l1 o1"),
        ("fghi", "over, all", "value k3 l1 o1"),
        ("jkl", "over", "value k3 l1 o3"),
    ]


def test_grounded_values_keep_the_places_that_are_known(tmp_path: Path) -> None:
    page = page_of(tmp_path, section("Bob met Bob", {"second": "Bob"}, ValueSpan("/second", 8, 11)))
    assert page.texts("block") == ["Bob met Bob"]
    assert [attributes["id"] for attributes, _ in page.all("value")] == ["t1-s2"]
    assert page.texts("again")[1:] == ["Bob"]
    edited = [ValueSpan("/a", -3, 2), ValueSpan("/a", 5, 99), ValueSpan("/a", 2, 2)]
    page = page_of(tmp_path, section("a short text", {"a": "short"}, *edited))
    assert page.texts("value") == ["short"]


TEXTS = st.text(
    st.sampled_from("ab \n\r<&>'\"\x00\x1b\u202e\u200f\ud800\U0001f600é-0"), max_size=80
)


@given(TEXTS, st.lists(st.tuples(st.integers(0, 80), st.integers(1, 30)), max_size=12))
def test_every_character_of_the_text_is_there_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, text: str, ranges: list[tuple[int, int]]
) -> None:
    spans = [(start, start + size) for start, size in ranges if start + size <= len(text)]
    data = [text[start:end] for start, end in spans]
    known = [ValueSpan(f"/{number}", *span) for number, span in enumerate(spans)]
    page = page_of(tmp_path_factory.getbasetemp(), section(text, data, *known))
    assert "".join(page.texts("block")) == visible(text)
    index = TextIndex(text)
    values = [PlacedValue("x", "x", "x", Kind.FOUND, span) for span in spans]
    at, covered = 0, set()
    for part in (part for block in cut(text, values, index) for part in block):
        covered |= set(range(at, at + len(part.text))) if part.strong else set()
        at += len(part.text)
    assert covered == {place for span in spans for place in range(*span)}


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</div></section></main><h1>mine</h1>",
    "{{ 7 * 7 }} {% raw %}",
    "&lt;b&gt; &amp; &#60;",
    "<!-- not a comment",
    "]]></style><style>* { display: none }",
]


def test_markup_in_texts_keys_and_values_is_escaped(tmp_path: Path) -> None:
    plain = page_of(
        tmp_path, *[section("a b", {"a": "a", "c": "none"}) for _ in HOSTILE], Model="x"
    )
    sections = [
        Section.of(text, text, Extraction({text: text, "c": f"{text}?"}), {}, [text])
        for text in HOSTILE
    ]
    page = page_of(tmp_path, *sections, **{HOSTILE[0]: HOSTILE[1]})
    assert {tag for tag, _ in page.elements} == {tag for tag, _ in plain.elements}
    assert page.texts("block") == HOSTILE
    assert page.texts("value") == HOSTILE
    assert page.texts("h2")[2:] == HOSTILE
    assert page.texts("note") == [f"Warning: {text}" for text in HOSTILE]
    for _, attributes in page.elements:
        assert not {"src", "style", "srcset", "action"} & set(attributes)
        assert not [name for name in attributes if name.startswith("on")]


def test_the_page_is_self_contained_and_has_no_script(tmp_path: Path) -> None:
    page = page_of(tmp_path, section("a b", {"x": "b"}))
    assert page.texts("script") == []
    (style,) = page.texts("style")
    assert not re.search(r"@import|url\(", style)
    (policy,) = [a["content"] for _, a in page.elements if "http-equiv" in a]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}'; base-uri")
    for number in range(1, 9):
        assert style.count(f"--k{number}: #") == style.count(f"--f{number}: #") == 2


def test_controls_are_visible_in_names_too(tmp_path: Path) -> None:
    text = "a\x1b[2J\u202eb\x00 half \ud800"
    page = page_of(tmp_path, section(text, {"k\u202e\n": "\ud800"}, name="n\x1b\n"))
    assert page.texts("block") == [r"a\x1b[2J\u202eb\x00 half \ud800"]
    assert page.texts("control") == [r"\x1b", r"\u202e", r"\x00", r"\ud800"]
    assert page.texts("h2")[1:] == [r"n\x1b\n"]
    assert listed(page) == [r"k\u202e\n \ud800"]


def test_a_long_text_is_cut_into_blocks_between_lines(tmp_path: Path) -> None:
    text = "\n".join(f"line {number} of the text" for number in range(40_000))
    data = [f"line {number * 97}" for number in range(200)]
    page = page_of(tmp_path, section(text, data))
    blocks = page.texts("block")
    assert "".join(blocks) == text
    assert len(blocks) > 100
    assert max(map(len, blocks)) < 6000
    assert page.texts("value") == data
    assert (tmp_path / "page.html").stat().st_size < 1.2 * len(text)


def test_a_value_that_covers_a_long_text_many_times_stays_small(tmp_path: Path) -> None:
    text = "word " * 5000
    page = page_of(tmp_path, section(text, [text.strip()] * 2000 + ["word"] * 2000))
    assert "".join(page.texts("block")) == text
    assert page.all("value")[0][0]["aria-description"].endswith(" and 3995 more")
    assert len(page.all("value")) < 210


def test_data_nested_as_deep_as_python_can_read(tmp_path: Path) -> None:
    data: Any = "a"
    for _ in range(3 * sys.getrecursionlimit()):
        data = [data]
    assert page_of(tmp_path, section("a", data)).texts("value") == ["a"]


def test_a_page_replaces_only_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "new" / "page.html"
    check_highlights(page)
    HighlightsPage(page, [section("a b", {"x": "b"})]).write({})
    check_highlights(page, {"-o": tmp_path / "out.jsonl", "--report": None})
    other = tmp_path / "other.html"
    other.write_text("<html>", encoding="utf-8")
    refused = {
        "-": "stdout",
        str(other): "was not written by mistral-cli json-extract",
        str(tmp_path): "is a folder",
    }
    for name, message in refused.items():
        with pytest.raises(UsageError, match=message):
            check_highlights(Path(name))
    with pytest.raises(UsageError, match="--report and --html are the same file"):
        check_highlights(page, {"--report": page})
    with pytest.raises(MistralCliError, match="cannot write"):
        HighlightsPage(other / "x.html").write({})
    with page.open("rb") as file:
        monkeypatch.setattr("mistral_cli.system.html.page._STDOUT", file.fileno())
        with pytest.raises(UsageError, match="stdout"):
            check_highlights(page)
