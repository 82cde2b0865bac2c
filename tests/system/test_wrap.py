from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len

from mistral_cli.system.wrap import Wrapper

FAMILY = "👨\u200d👩\u200d👧"
UMLAUT = "u\u0308"
FLAG = "🇯🇵"


def wrap(text: str, width: int) -> str:
    wrapper = Wrapper(width)
    return wrapper.feed(text) + wrapper.finish()


def columns(line: str) -> int:
    """Return the width of a line on a terminal with tab stops every 8 columns."""
    column = 0
    for part in re.split("(\t)", line):
        column += 8 - column % 8 if part == "\t" else cell_len(part)
    return column


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("one two three", 7, "one two\nthree"),
        ("one two", 7, "one two"),
        ("one  two", 7, "one\ntwo"),
        ("a  b   c", 20, "a  b   c"),
        ("one\n\n two\n", 20, "one\n\n two\n"),
        ("end  \nnext", 5, "end  \nnext"),
        ("end   \nnext", 5, "end\nnext"),
        ("abcdefghij", 4, "abcd\nefgh\nij"),
        ("x abcdefghij y", 4, "x\nabcd\nefgh\nij y"),
        ("    long", 6, "long"),
        ("a\tb", 9, "a\tb"),
        ("a\tb", 8, "a\nb"),
        ("non\u00a0breaking", 5, "non\u00a0b\nreaki\nng"),
        ("日本語です", 4, "日本\n語で\nす"),
        ("日本語。", 6, "日本\n語。"),
        ("日本「語」", 6, "日本\n「語」"),
        ("日本語。", 2, "日\n本\n語\n。"),
        ("日本語word日", 8, "日本語\nword日"),
        (f"{FAMILY}{FAMILY}{FAMILY}", 4, f"{FAMILY}{FAMILY}\n{FAMILY}"),
        (f"{FLAG}{FLAG}{FLAG}", 4, f"{FLAG}{FLAG}\n{FLAG}"),
        (f"{FLAG}{FLAG}", 3, f"{FLAG}\n{FLAG}"),
        ("1️⃣2️⃣3️⃣", 4, "1️⃣2️⃣\n3️⃣"),
        ("👍🏽👍🏽", 2, "👍🏽\n👍🏽"),
        (UMLAUT * 5, 2, f"{UMLAUT * 2}\n{UMLAUT * 2}\n{UMLAUT}"),
    ],
)
def test_wraps(text: str, width: int, expected: str) -> None:
    assert wrap(text, width) == expected


@pytest.mark.parametrize(
    "block",
    [
        "```\na very long line of code\n```\n",
        "```python\nif a  and   b:\n\treturn 'xxxxxxxxxxxxxx'\n```\n",
        "~~~ ruby `x`\nlonger than ten ``` columns\n```\nstill the same block\n~~~\n",
        "````\n```\nlonger than ten columns\n````\n",
        "            ```\n            longer than ten columns\n            ```\n",
        "```\nnever closed, never wrapped",
        "``` unfinished fence line, longer than the width",
    ],
)
def test_code_blocks_are_verbatim(block: str) -> None:
    assert wrap("some text\n" + block, 10) == "some text\n" + block


def test_wraps_again_after_a_code_block() -> None:
    assert wrap("```\na b c d\n```  \na b c d", 3) == "```\na b c d\n```  \na b\nc d"


@pytest.mark.parametrize("text", ["```code``` is inline", "``code`` is inline", "~~no~~ is out"])
def test_inline_code_marks_are_not_a_fence(text: str) -> None:
    *_, last = wrap(text + " and more to wrap", 10).split("\n")
    assert columns(last) <= 10
    assert last.endswith("wrap")


@pytest.mark.parametrize("control", [*map(chr, range(32)), "\x7f", "\x9b", "\x9d", "\x85"])
def test_no_control_character_reaches_the_terminal(control: str) -> None:
    if control in "\n\t":
        pytest.skip("these are text")
    for text in (f"a{control}b", f"```\na{control}b\n```\n"):
        assert wrap(text, 20) == text.replace(control, "")


def test_streams_word_by_word() -> None:
    wrapper = Wrapper(20)
    pieces = ["Hel", "lo", " wor", "ld", ". ", "Next", "\n", "- x", "\n"]
    assert [wrapper.feed(piece) for piece in pieces] == [
        *("", "", "Hello", "", " world.", "", " Next\n", "-", " x\n")
    ]


def test_streams_japanese_and_code_character_by_character() -> None:
    wrapper = Wrapper(20)
    assert [wrapper.feed(char) for char in "日本語"] == ["", "", "日"]
    wrapper = Wrapper(20)
    wrapper.feed("```\n")
    assert [wrapper.feed(char) for char in "a b\n"] == ["", "a ", "", "b\n"]


def test_a_grapheme_split_over_deltas_stays_whole() -> None:
    wrapper = Wrapper(4)
    shown = "".join(wrapper.feed(char) for char in f"ab{FAMILY}{UMLAUT}") + wrapper.finish()
    assert shown == f"ab{FAMILY}\n{UMLAUT}"


CHARS = st.sampled_from([*"ab  .,\n\t`~", "日", "本", "。", "「", "」", "👍", "🏽", "\u200d"])
MARKS = st.sampled_from(["\ufe0f", "\u0301", "☺", "🇯", "🇵", "\x1b", "\r", FAMILY, "```\n"])
TEXTS = st.lists(CHARS | MARKS | st.characters(), max_size=60).map("".join)
PROSE = TEXTS.map(lambda text: re.sub("[`~]", "", text))
WIDTHS = st.integers(2, 24)


@given(TEXTS, WIDTHS, st.data())
def test_where_deltas_end_does_not_matter(text: str, width: int, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    wrapper = Wrapper(width)
    shown = [wrapper.feed(text[a:b]) for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert "".join(shown) + wrapper.finish() == wrap(text, width)
    wrapper = Wrapper(width)
    assert "".join(map(wrapper.feed, text)) + wrapper.finish() == wrap(text, width)


@given(PROSE, WIDTHS)
@example("a\u200d\u200d日", 2)
def test_no_line_is_too_long(text: str, width: int) -> None:
    assert all(columns(line) <= width for line in wrap(text, width).split("\n"))


def printable(text: str) -> str:
    return "".join(c for c in text if c in "\n\t" or not (c < " " or "\x7f" <= c < "\xa0"))


@given(TEXTS, WIDTHS)
def test_only_spaces_are_lost_and_only_line_breaks_added(text: str, width: int) -> None:
    shown = wrap(text, width)
    source = iter(printable(text))
    for char in shown:
        for expected in source:
            if expected == char:
                break
            if expected not in " \t":
                # A line break of the wrapper: what it skipped is seen again below.
                assert char == "\n"
                source = iter([expected, *source])
                break
        else:
            assert char == "\n"
    assert not "".join(source).strip(" \t")


@given(st.lists(st.text("abc", min_size=1, max_size=12), max_size=20), st.integers(12, 30))
@example(["abcabcabcabc", "a"], 12)
def test_words_that_fit_are_never_split(words: list[str], width: int) -> None:
    assert wrap(" ".join(words), width).split() == words


@given(st.lists(st.text("abc", min_size=1, max_size=9), max_size=20), st.integers(10, 30))
def test_lines_are_filled(words: list[str], width: int) -> None:
    lines = [line.split() for line in wrap(" ".join(words), width).split("\n")]
    for line, following in pairwise(lines):
        assert len(" ".join([*line, following[0]])) > width


@given(PROSE, st.just(1000))
def test_text_that_fits_is_unchanged(text: str, width: int) -> None:
    assert wrap(text, width) == printable(text)
