"""Which segments of a document are translated, and which translations are rejected."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_cli.texts.structure import (
    Segment,
    TextFormat,
    detect_format,
    left_out,
    place,
    segments,
    translation_problem,
    with_breaks,
    without_breaks,
)

DOCUMENTS = Path(__file__).parents[1] / "support" / "files"
FILES: list[tuple[str, TextFormat]] = [
    ("rfc.txt", "text"),
    ("readme.md", "markdown"),
    ("talk.srt", "subtitles"),
    ("talk.vtt", "subtitles"),
]
KINDS: list[TextFormat] = ["text", "markdown", "subtitles"]


def read(name: str) -> str:
    return (DOCUMENTS / name).read_text(encoding="utf-8")


def translated(text: str, text_format: TextFormat) -> list[str]:
    return [segment.text for segment in segments(text, text_format) if segment.translate]


def joined(parts: list[Segment]) -> str:
    return "".join(part.text for part in parts)


@pytest.mark.parametrize(("name", "text_format"), FILES)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_the_skeleton_outlives_a_translation(
    name: str, text_format: TextFormat, end: str, mark: str
) -> None:
    text = mark + read(name).replace("\n", end)
    for document in (text, text.rstrip()):
        parts = segments(document, text_format)
        assert joined(parts) == document
        other = [Segment("Andere Worte", True) if part.translate else part for part in parts]
        assert segments(joined(other), text_format) == other


def test_a_text_is_translated_by_paragraphs() -> None:
    text = "\n  A title\n\n\tTwo lines that\n\tbelong together.  \n \n----\n\n42\n\nThe end"
    assert translated(text, "text") == [
        "A title",
        "Two lines that\n\tbelong together.",
        "The end",
    ]


def test_only_the_prose_of_markdown_is_translated() -> None:
    parts = translated(read("readme.md"), "markdown")
    assert parts[0] == "Lantern"
    assert "Version 1 is kept alive until 2026." in parts
    assert "Run `make`, which needs a C compiler\n   and about two minutes:" in parts
    assert "On Windows, it is called `lantern.exe`." in parts
    assert "How long it holds, 1 \\| 2 hours" in parts
    assert {"Installation", "Usage", "To do", "Announce a device", "Term"} < {*parts}
    assert "A device may be off." in parts
    kept = "".join(
        part.text for part in segments(read("readme.md"), "markdown") if not part.translate
    )
    for text in (
        "title: Lantern",
        "# a comment, not a heading",
        'lantern announce --name "Printer"',
        "t_n = \\min(2^n \\cdot 4, 3600)",
        '<img src="docs/logo.png"',
        '[upgrade]: https://example.com/upgrade "How to upgrade"',
        "|:-------|:------------:|--------:|",
        "* * *",
        "over two lines -->",
        "- [x] ",
        "| `-q` | | |",
    ):
        assert text in kept
        assert not any(text in part for part in parts)


def test_toml_front_matter_and_definitions() -> None:
    text = '+++\ntitle = "x"\n+++\nTerm one\n: Its meaning\n: Another\n\n> [!NOTE]\n> Look here.\n'
    assert translated(text, "markdown") == ["Term one", "Its meaning", "Another", "Look here."]


def test_only_the_spoken_words_of_subtitles_are_translated() -> None:
    assert translated(read("talk.srt"), "subtitles") == [
        "Good evening, everybody.",
        "This is the story\nof a very small lamp.",
        "Who is there?",
        "Only me.",
        "At 7:30 he left <b>the house</b>.\nNobody saw him again.",
    ]
    assert translated(read("talk.vtt"), "subtitles") == [
        "Welcome to the show,\nwe are glad to have you.",
        "Thank you!",
    ]


def test_cues_without_blank_lines_between() -> None:
    text = "1\n00:00:01,000 --> 00:00:02,000\nOne cue\n2\n00:00:03,000 --> 00:00:04,000\nAnother"
    assert translated(text, "subtitles") == ["One cue", "Another"]


@pytest.mark.parametrize(("name", "text_format"), FILES)
def test_name_and_content_show_the_format(name: str, text_format: TextFormat) -> None:
    assert detect_format(name, "") == text_format
    assert detect_format("stdin", read(name)) == text_format


@pytest.mark.parametrize(
    "text",
    [
        "#!/bin/sh\n# A comment\nls\n# Another\nls\n",
        "Dear Ann,\n\nsee [1](http://a) and\n\n[2](http://b)\n",
        "At 10:30 --> lunch\n",
        "",
    ],
)
def test_a_text_without_clear_signs_is_plain_text(text: str) -> None:
    assert detect_format("argument", text) == "text"


LINES = """# Heading|Setext|===|---|- item|  - inner|1. one|> quote|> > deep|    code|```|~~~|$$
| a | b ||---|---||text with `code`|more, [link](u) here|<div>|</div>|***|[ref]: http://x|+++
00:00:01,000 --> 00:00:02,000|7|- Who?|<v Bob>Hi||\t|:::|: def|- [ ] box|\\|WEBVTT|NOTE x
[00:01.20]Hi|{1}{2}Hi there|[1][2]Hi|0:00:01.0,0:00:02.0|00:00:01:Hi|one\\Ntwo|[ti:x]|;x|00:01 ->
[Script Info]|[Events]|Format: Start, Text|Dialogue: 0,{\\i1}Hi, you|Comment: a, b|Title: Hi|STYLE
<p>a|</p>|<!-- a -->|<b>x</b> y|<pre>|</pre>|[^1]: Word|    more|key: value|---|$$a$$
\ufeff|\x0b|\u2028"""


@given(
    st.lists(st.sampled_from(re.split(r"(?<!\\)[|\n]", LINES)) | st.text(max_size=8), max_size=14),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(KINDS),
)
def test_nothing_is_lost(lines: list[str], end: str, text_format: TextFormat) -> None:
    text = end.join(lines)
    parts = segments(text, text_format)
    assert joined(parts) == text
    assert all(part.text for part in parts)
    for part in parts:
        if part.translate:
            assert part.text == part.text.strip()
            words = without_breaks(part.text, text_format)
            assert with_breaks(part.text, words, text_format) == part.text
            assert place(text, len(text), text_format)
    assert len(left_out(text, text_format)) <= 1


WORDS = st.lists(
    st.sampled_from(["The", "lamp", "burns", "`all`", "day,", "[see](http://x.y/z)", "**it**"]),
    min_size=2,
)
SENTENCE = WORDS.map(lambda words: "So " + " ".join(words))
BLOCKS = st.one_of(
    SENTENCE,
    st.tuples(SENTENCE, SENTENCE).map("\n".join),
    SENTENCE.map("## {}".format),
    SENTENCE.map("{}\n====".format),
    st.lists(SENTENCE.map("- {}".format), min_size=1).map("\n".join),
    st.lists(SENTENCE.map("1. {}\n\n   And more.".format), min_size=1).map("\n".join),
    SENTENCE.map("> {}\n> and on".format),
    SENTENCE.map("| One | Two |\n|---|:-:|\n| {} | x |".format),
    SENTENCE.map("```\n{}\n```".format),
    SENTENCE.map("$$\n{}\n$$".format),
    SENTENCE.map("<div>\n{}\n</div>".format),
    st.just("***"),
)


@given(st.lists(BLOCKS, min_size=1, max_size=8))
def test_any_markdown_keeps_its_structure(blocks: list[str]) -> None:
    parts = segments("\n\n".join(blocks) + "\n", "markdown")
    other = [Segment("Andere Worte", True) if part.translate else part for part in parts]
    assert segments(joined(other), "markdown") == other


# --- translations --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("original", "translation", "text_format"),
    [
        ("The lamp.", "Die Lampe.", "text"),
        ("See [the page](a/b.md) and `code`.", "Siehe `code` und [die Seite](a/b.md).", "markdown"),
        ("Hello {name}, %s of %d", "%d: %s, hallo {name}", "text"),
        ("It costs $5 or $6, 100 % sure.", "Es kostet 5 $ oder 6 $, zu 100 % sicher.", "text"),
        ("One line\nand two", "Eine Zeile\nund zwei", "subtitles"),
        ("One line\nand two", "Eine Zeile und zwei", "text"),
        ("- no list", "- keine Liste", "markdown"),
        ('<a href="x.html" title="Go">go</a>', '<a href="x.html" title="Geh">geh</a>', "markdown"),
        ("\u4f60\u597d\u4e16\u754c", "Hello, world out there!", "text"),
        ("OK?", "Ist das so in Ordnung?", "text"),
        ("One.\n\nTwo.", "Eins.\n\nZwei.", "text"),
    ],
)
def test_a_translation_that_kept_everything(
    original: str, translation: str, text_format: TextFormat
) -> None:
    assert translation_problem(original, translation, text_format) is None


@pytest.mark.parametrize(
    ("original", "translation", "text_format", "why"),
    [
        ("The lamp.", " \n", "text", "empty"),
        ("See [it](a.md).", "Siehe es (a.md).", "markdown", "lacks a.md"),
        ("See [it](a.md).", "Siehe [es](b.md).", "markdown", "lacks a.md"),
        ("See [it][ref].", "Siehe es.", "markdown", "lacks [ref]"),
        ("Run `make`.", "Starte make.", "markdown", "lacks `make`"),
        ("Run make.", "Starte `make`.", "markdown", "adds `make`"),
        ("See https://a.org/x.", "Siehe dort.", "text", "lacks https://a.org/x"),
        ("<b>So</b> it is", "<b>So ist es", "markdown", "lacks </b>"),
        ('<a href="x">y</a>', '<a href="z">y</a>', "markdown", "lacks x"),
        ("Hello {name}", "Hallo {Name}", "text", "lacks {name}"),
        ("Hello %s", "Hallo", "text", "lacks %s"),
        ("Where $n$ counts", "Wobei n z\u00e4hlt", "markdown", "lacks $n$"),
        ("One\nand two", "Eins und zwei", "subtitles", "1 line instead of 2"),
        ("One", "Eins\nund zwei", "subtitles", "2 lines instead of 1"),
        ("One", "Eins\n\nAnmerkung: so", "text", "blank lines"),
        ("A heading", "Ein\nTitel", "markdown", "2 lines"),
        ("A heading", "# Ein Titel", "markdown", "begins with #"),
        ("One cell", "Eine | Zelle", "markdown", "column separators"),
        ("It burns\nall day", "Sie brennt\n- und brennt", "markdown", "new block (bullet list)"),
        ("It burns\nall day", "Sie brennt\n===", "markdown", "new block (heading)"),
        ("It burns all day.", "[Sie]: brennt", "markdown", "new block"),
        ("See [the lamp].", "Siehe [die Lampe].", "markdown", "lacks [the lamp]"),
        ("Run [it](a.md) `now` %s", "Lauf", "markdown", "lacks a.md, `now`, %s"),
        ("The lamp.", "Here is the translation: " + "Die Lampe. " * 9, "text", "times as long"),
        ("The lamp burns. " * 20, "Die Lampe.", "text", "shorter"),
    ],
)
def test_a_translation_that_lost_something(
    original: str, translation: str, text_format: TextFormat, why: str
) -> None:
    labels = frozenset(["THE LAMP"])
    assert why in (translation_problem(original, translation, text_format, labels) or "")


def test_every_segment_passes_as_its_own_translation() -> None:
    for name, text_format in FILES:
        for text in translated(read(name), text_format):
            assert translation_problem(text, text, text_format) is None
