"""Where a completion ends, however it is split into deltas."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_cli.errors import UsageError
from mistral_cli.generation.answer import AnswerEnded
from mistral_cli.generation.completions.block import BlockEnd
from mistral_cli.generation.completions.ends import (
    CompletionEnd,
    GrowingCompletion,
    LinesEnd,
    PatternEnd,
    compile_pattern,
)


def completed(text: str, *ends: CompletionEnd, size: int = 1) -> str:
    """What is written of a completion that comes in deltas of `size` characters."""
    written: list[str] = []
    completion = GrowingCompletion(ends, written.append)
    try:
        for start in range(0, len(text), size):
            completion.feed(text[start : start + size])
    except AnswerEnded:
        pass
    whole = completion.finish()
    assert "".join(written) == whole
    assert text.startswith(whole)
    return whole


@pytest.mark.parametrize(
    ("number", "text", "expected"),
    [
        (1, "one\ntwo\n", "one"),
        (2, "one\ntwo\nthree", "one\ntwo"),
        (1, "\n\none\ntwo", "\n\none"),
        (2, "one\n\ntwo\nthree", "one\n\ntwo"),
        (3, "one\ntwo", "one\ntwo"),
        (1, "one\r\ntwo", "one"),
        (1, "one\r", "one\r"),
    ],
)
def test_lines_that_are_not_blank_are_counted(number: int, text: str, expected: str) -> None:
    assert completed(text, LinesEnd(number)) == expected


@pytest.mark.parametrize(
    ("pattern", "before", "text", "expected"),
    [
        (r"\.", "", "Paris. It is", "Paris"),
        (r"\n\n", "", "one\n\ntwo", "one"),
        (r"^def ", "", "    x\ndef g", "    x\n"),
        (r"^def ", "x = ", "def g\ndef h", "def g\n"),
        (r"END\s+OF", "", "a END\n OF b", "a "),
        (r"END\s+OF", "", "a END IF", "a END IF"),
        (r"ab|abc+d", "", "x abccd", "x "),
    ],
)
def test_a_pattern_ends_the_completion_before_it(
    pattern: str, before: str, text: str, expected: str
) -> None:
    assert completed(text, PatternEnd(compile_pattern(pattern), before)) == expected


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("(", "not a regular expression"), ("x*", "empty text"), ("", "empty text")],
)
def test_a_pattern_that_cannot_work_is_an_error(pattern: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        compile_pattern(pattern)


def test_the_first_of_several_ends_holds() -> None:
    ends = [LinesEnd(2), PatternEnd(compile_pattern("three|o"))]
    assert completed("a\nb\nthree", *ends) == "a\nb"
    assert completed("a\nfor\nthree", *ends) == "a\nf"


def test_without_ends_all_of_it_is_written() -> None:
    assert completed("  a\n\n ") == "  a\n\n "


ENDS = st.sampled_from(
    [
        LinesEnd(1),
        LinesEnd(2),
        PatternEnd(compile_pattern(r"b\s*c|\n\n")),
        PatternEnd(compile_pattern(r"^ a"), "x"),
        BlockEnd("def f(a):\n"),
        BlockEnd("class A {\n  int x = ("),
        BlockEnd("  x = 1\n", ")"),
    ]
)
PIECES = st.sampled_from(
    [
        *("a", "b", "c ", "\n", "\n\n", "  ", "    ", "\t", "\r\n", ":", ";"),
        *("(", ")", "{", "}", "]", "'", '"', '"""', "#", "//", "/*", "\\"),
        *("else", "elif x", "def g():", "end"),
    ]
)


@given(st.lists(ENDS, max_size=3), st.lists(PIECES, max_size=25), st.integers(1, 9))
def test_the_deltas_make_no_difference(
    ends: list[CompletionEnd], pieces: list[str], size: int
) -> None:
    text = "".join(pieces)
    assert completed(text, *ends, size=size) == completed(text, *ends, size=len(text) + 1)
