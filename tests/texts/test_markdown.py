"""Which text of a Markdown document is translated: all of it, at the specifications' examples."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from mdit_py_plugins.footnote import footnote_plugin

from mistral_cli.texts.structure import left_out, segments, translation_problem

FILES = Path(__file__).parents[1] / "support" / "files"
EXAMPLES = json.loads((FILES / "markdown-examples.json").read_text(encoding="utf-8"))
RENDERER = MarkdownIt("commonmark").enable(["table", "strikethrough"]).use(footnote_plugin)

MARK = "Zz "
TAGS = re.compile(r"""(?:</?[a-z]\w*(?:\s+\w+(?:=(?:"[^"]*"|'[^']*'|\w+))?)*\s*/?>\s*)*""")
ADDRESS = re.compile(r"<[^>]*>|\b(?:\w[\w+.-]*:|www\.)\S+|\S+@\S+|&\w+")
BROKEN_HTML = {  # tags without an end, or with words that are neither attributes nor text
    '<div id="foo"\n*hi*\n',
    "<div class\nfoo\n",
    "<div *???-&&&-<---\n*foo*\n",
    "<div></div>\n``` c\nint x = 33;\n```\n",
}


def marked(segment: str) -> str:
    """A translation that can be told from the text: it has one more word."""
    tags = TAGS.match(segment)
    assert tags
    return tags.group() + MARK + segment[tags.end() :]


def replaced(text: str, word: str) -> str:
    return "".join(word if part.translate else part.text for part in segments(text, "markdown"))


class _Texts(HTMLParser):
    """Collects the texts outside code."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            self._open.remove(tag)

    def handle_data(self, data: str) -> None:
        if not {"code", "pre", "script", "style"} & {*self._open}:
            self.texts.append(data)


def words_of(html: str) -> Iterator[str]:
    parser = _Texts()
    parser.feed(html)
    parser.close()
    for text in parser.texts:
        yield from re.findall(r"[^\W\d_]{2,}", ADDRESS.sub(" ", text))


@pytest.mark.parametrize("text", [*EXAMPLES["commonmark"], *EXAMPLES["gfm"]])
def test_all_text_of_the_specifications_is_translated_in_its_place(text: str) -> None:
    parts = segments(text, "markdown")
    assert "".join(part.text for part in parts) == text
    for part in parts:
        if part.translate:
            assert translation_problem(part.text, part.text, "markdown") is None
    dropped_cell = "| bar | baz | boo |" in text
    assert ("unread line" in "".join(left_out(text, "markdown"))) is dropped_cell
    if text not in BROKEN_HTML:
        assert list(words_of(RENDERER.render(replaced(text, "1")))) == []
        translation = "".join(marked(p.text) if p.translate else p.text for p in parts)
        html = RENDERER.render(translation)
        assert html.replace(MARK, "") == RENDERER.render(text)
        unused = text.count("[^unused]: ")  # a footnote that is not shown
        assert html.count(MARK) == sum(part.translate for part in parts) - unused


CHAPTERS = "---\n\n# One\n\nIt was late.\n\n---\n\n# Two\n"
SCENES = "---\nShe left: nobody saw her.\nThe lamp burned.\n---\n\nThe end.\n"
FRONT = "---\ntitle: A lamp\ntags: [a, b]\nlist:\n- one\n\n# comment\nog:x: |\n  text\n---\nText.\n"


@pytest.mark.parametrize(
    ("text", "front_matter", "translated"),
    [
        (CHAPTERS, False, ["One", "It was late.", "Two"]),
        (SCENES, False, ["She left: nobody saw her.\nThe lamp burned.", "The end."]),
        ("---\n---\nText.\n", False, ["Text."]),
        ("---\n- item one\n- item two\n---\n", False, ["item one", "item two"]),
        ("---\n# Title\n\n- item: one\n---\n", False, ["Title", "item: one"]),
        ("---\n# comment\ntitle: A lamp\n---\nText.\n", True, ["Text."]),
        ("+++\n# Title\n+++\n", False, ["Title"]),
        (FRONT, True, ["Text."]),
        (FRONT.replace("\n", "\r\n"), True, ["Text."]),
        ('\ufeff+++\ntitle = "Lamp"\n[a]\nb = [\n  1,\n]\n+++\nText.\n', True, ["Text."]),
    ],
)
def test_front_matter_is_told_from_a_rule(
    text: str, front_matter: bool, translated: list[str]
) -> None:
    parts = [part.text for part in segments(text, "markdown") if part.translate]
    assert parts == translated
    assert ("front matter" in "".join(left_out(text, "markdown"))) is front_matter


@pytest.mark.parametrize("levels", [14, 30, 45])
def test_deeply_nested_blocks_are_translated(levels: int) -> None:
    words = [f"Level {chr(97 + level % 26) * 2}." for level in range(levels)]
    lists = "".join(f"{'  ' * level}- {line}\n" for level, line in enumerate(words))
    assert [part.text for part in segments(lists, "markdown") if part.translate] == words
    quote = "> " * levels + "Words.\n"
    assert [part.text for part in segments(quote, "markdown") if part.translate] == ["Words."]


@pytest.mark.parametrize(
    ("text", "report"),
    [
        (
            "".join(f"{'  ' * level}- item\n" for level in range(52)),
            "3 unread lines (lines 50, 51, 52)",
        ),
        ("> " * 200 + "Words\n\nText.\n", "1 unread line (line 1)"),
        ("| A |\n|---|\n| one | two |\n", "1 unread line (line 3)"),
    ],
)
def test_what_the_parser_drops_is_reported(text: str, report: str) -> None:
    assert left_out(text, "markdown") == [f"not translated: {report}"]


HTML = """\
<div align="center">
  <h1>The <b>lamp</b></h1> <img src="a.png" alt="A lamp">
  It burns<br>
  all <a href="x">day</a>, <code>lamp on</code> &amp; night.<br/>
</div>

> <details><summary>More
> of it</summary>
> </details>

<!-- a note -->
<pre>
some code
</pre>
"""


def test_the_text_in_html_is_translated() -> None:
    assert [part.text for part in segments(HTML, "markdown") if part.translate] == [
        "The <b>lamp</b>",
        'It burns<br>\n  all <a href="x">day</a>, <code>lamp on</code> &amp; night.',
        "More\n> of it",
    ]
    assert left_out(HTML, "markdown") == [
        "not translated: 1 HTML attribute (line 2), 1 comment (line 11), 1 code block (line 12)"
    ]


def test_footnotes_definitions_and_titles() -> None:
    text = (
        "See[^1] and[^two].\n\n[^1]: Word\n\n    More of it.\n\n[^two]: One\n  two\n\n"
        "Term\n: Meaning\n\n    More.\n\n[ref]: /x 'A title'\n\n::: note A warning\nHot.\n:::\n\n"
        "    A poem\n    in lines\n"
    )
    assert [part.text for part in segments(text, "markdown") if part.translate] == [
        "See[^1] and[^two].",
        "Word",
        "More of it.",
        "One\n  two",
        "Term",
        "Meaning",
        "More.",
        "A warning",
        "Hot.",
    ]
    assert left_out(text, "markdown") == [
        "not translated: 1 link title (line 15), 1 code block (line 21)"
    ]
