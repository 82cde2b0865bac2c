"""Marks that are never closed and many sentences take time in proportion to their length."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from mistral_cli.texts.markup import has_markup, has_words
from mistral_cli.texts.sentences import Sentences
from mistral_cli.texts.structure import detect_format, segments

LENGTH, FACTOR = 10_000, 4
MOST_TIMES_AS_LONG = 9
"""For a text that is 4 times as long: linear work takes 4 times as long, quadratic 16 times."""


def of_format(text: str) -> str:
    return detect_format("stdin", text)


def as_cue(text: str) -> object:
    return segments(f"1\n00:00:01,000 --> 00:00:02,000\n{text}\n", "subtitles")


@pytest.mark.parametrize(
    ("read", "unit", "before", "after"),
    [
        *((read, unit, "", "") for read in (has_words, has_markup) for unit in ("{{ ", "<!--")),
        *((has_words, unit, "", "") for unit in ("{{", "<code>", "<code></code", "[^", "$$ ")),
        (has_words, "0", "%", ""),
        *((of_format, unit, "", "") for unit in ("[", "[a](", "[a](b) ", "[a]")),
        (of_format, "x\n", "[a](b) " * 2000, ""),
        (as_cue, " ", "a", "b"),
        (as_cue, "</", "a", "b"),
        (as_cue, "{\\", "a", "b"),
        *((Sentences.of, unit, "", "") for unit in ("We met. ", "1. ", "word ")),
    ],
)
def test_four_times_the_text_takes_about_four_times_as_long(
    read: Callable[[str], object], unit: str, before: str, after: str
) -> None:
    def seconds(length: int) -> float:
        return _seconds(read, before + unit * (length // len(unit)) + after)

    def is_linear() -> bool:
        shorter = max(seconds(LENGTH), 0.001)  # a time that the clock does not blur
        return seconds(FACTOR * LENGTH) < MOST_TIMES_AS_LONG * shorter

    assert any(is_linear() for _ in range(5))  # other programs can slow one of them down


def _seconds(read: Callable[[str], object], text: str) -> float:
    start = time.process_time()
    read(text)
    return time.process_time() - start


def test_long_marks_are_marks() -> None:
    for text in ("{{%s}}", "<!-- %s -->", "<code>%s</code>", "`%s`"):
        assert not has_words(text % ("some words " * 300))
