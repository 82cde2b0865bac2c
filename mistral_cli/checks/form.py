"""Checks the form of an answer: its words, sentences, bullet points and characters."""

from __future__ import annotations

import re

from mistral_cli.checks.check import Check
from mistral_cli.checks.words import count_words
from mistral_cli.texts.sentences import Sentences

_BULLET = re.compile(r"^[ \t]*(?:[-*+\u2022\u2013]|\d{1,3}[.)])[ \t]+\S", re.MULTILINE)


def check_words(answer: str, least: int, most: int) -> Check:
    """Check that an answer has from `least` to `most` words in some way of counting."""
    count = count_words(answer)
    return Check("words", count.may_be(least, most), f"{least} to {most}", count.likely)


def check_sentences(answer: str, number: int, language: str | None = None) -> Check:
    """Check that an answer has exactly `number` sentences in some reading."""
    sentences = Sentences.of(answer, language)
    ok = number in sentences.possible
    return Check("sentences", ok, number, number if ok else sentences.count)


def check_bullets(answer: str, number: int) -> Check:
    """Check that exactly `number` lines of an answer begin as items of a list do."""
    found = len(_BULLET.findall(answer))
    return Check("bullets", found == number, number, found)


def check_characters(answer: str, most: int) -> Check:
    """Check that an answer has at most `most` characters, without the blanks around it."""
    found = len(answer.strip())
    return Check("characters", found <= most, most, found)
