"""Counting sentences, and cutting a text after some of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import sentencex

from mistral_cli.texts.languages import language_code, recognize
from mistral_cli.texts.sentences import Sentences

_TABLE = Path(__file__).with_name("sentence_cases.txt")


def _cases() -> list[tuple[str, list[str]]]:
    """The language and the sentences of every text of the table."""
    lines = _TABLE.read_text(encoding="utf-8").splitlines()
    rows = [line.split(" | ", 1) for line in lines if not line.startswith("#")]
    return [(language, text.replace("\u23ce", "\n").split("\u2016")) for language, text in rows]


CASES = _cases()


@pytest.mark.parametrize(("language", "sentences"), CASES)
def test_the_right_number_is_among_the_possible_ones(language: str, sentences: list[str]) -> None:
    text = "".join(sentences)
    assert len(sentences) in Sentences.of(text, language).possible
    assert len(sentences) in Sentences.of(text).possible  # the language is recognized, or not


@pytest.mark.parametrize(("language", "sentences"), CASES)
def test_a_text_is_cut_only_between_sentences(language: str, sentences: list[str]) -> None:
    text = "".join(sentences)
    heads = {"".join(sentences[:n]).rstrip() for n in range(1, len(sentences) + 1)}
    for known in (language, None):
        for number in range(1, len(sentences) + 1):
            assert Sentences.of(text, known).first(number) in {*heads, None}


def test_nearly_all_texts_of_the_table_are_counted_right() -> None:
    """Prints the figure of each language; `sentencex` alone is there to compare with."""
    right, library, cut, total = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    for language, sentences in CASES:
        text, number = "".join(sentences), len(sentences)
        found = Sentences.of(text, language)
        total[language] += 1
        right[language] += found.count == number
        cut[language] += number == 1 or found.first(1) == sentences[0].rstrip()
        library[language] += len([*filter(str.strip, sentencex.segment(language, text))]) == number
    print("\nlanguage: texts, counted right, cut after the first sentence, right in sentencex")
    for language, texts in total.items():
        print(f"{language}: {texts}, {right[language]}, {cut[language]}, {library[language]}")
    print(f"all: {total.total()}, {right.total()}, {cut.total()}, {library.total()}")
    assert len(total) >= 30
    assert right.total() / total.total() >= 0.97
    assert cut.total() / total.total() >= 0.75


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("", 0),
        (" \n ...\n---\n", 0),
        ("No stop at the end", 1),
        ('Hello world. It costs 3.5 euros. "Why?" he asked. Yes!', 4),
        ("He lives in the U.S. It is nice there.", 2),
        ("The U.S. Government moved. Dr. No and Mr. And came.", 2),
        ("Read e.g. Fig. 3 of example.com. Then stop.", 2),
        ("He told me. Ann is ok. You may. Go!", 4),
        ("(He left.) She stayed.", 2),
        ('He said "Go. Now." Then he left.', 2),
        ("Wait... what? He left\u2026 She stayed.", 3),
        ("**Bold.** Then plain. _The end._", 3),
        ("- one\n- two goes\n  on\n- three. And four.", 4),
        ("1. First.\n2. Second", 2),
        ("# A title\nA text that\nis wrapped. Its end.\n\n\nA paragraph", 4),
        ("\u3053\u308c\u306f\u6587\u3067\u3059\u3002\u6b21\u306e\u6587\u3067\u3059\u3002", 2),
        ("\u4f60\u597d\u3002\u6211\u4eec\u8d70\u3002\u597d\u5417\uff1f\u662f\uff01", 4),
    ],
)
def test_counting(text: str, sentences: int) -> None:
    assert Sentences.of(text).count == sentences


@pytest.mark.parametrize(
    ("text", "possible"),
    [
        ("It rained. It snowed. It froze.", {3}),
        ("Er kam am 12. Sie blieb.", {1, 2}),
        ("Er kam am 12. M\u00e4rz. Sie blieb.", {2}),
        ("We met at 5 p.m. Monday is free.", {1, 2}),
        ('He said "No. Never. Ever." She left.', {2, 4}),
    ],
)
def test_only_doubtful_ends_have_two_readings(text: str, possible: set[int]) -> None:
    assert Sentences.of(text).possible == possible


@pytest.mark.parametrize(
    ("text", "number", "complete", "expected"),
    [
        ("One. Two. Three.", 2, True, "One. Two."),
        ("One. Two. Thr", 2, False, "One. Two."),
        ("One. Two.", 2, False, None),
        ("One. Two.", 3, True, None),
        ("Er kam am 12. M\u00e4rz. Sie blieb. Er ging.", 1, True, "Er kam am 12. M\u00e4rz."),
        ('"One. Two. Three." Four.', 2, True, '"One. Two. Three." Four.'),
        ('"One. Two. Three."', 2, True, None),
        ("**One.** **Two.** Three.", 2, True, "**One.** **Two.**"),
        ("- One.\n- Two.\n- Three.", 2, True, "- One.\n- Two."),
    ],
)
def test_cutting(text: str, number: int, complete: bool, expected: str | None) -> None:
    assert Sentences.of(text).first(number, complete=complete) == expected


@pytest.mark.parametrize(
    ("name", "code"),
    [
        *[("de", "de"), ("de-CH", "de"), ("German", "de"), ("Deutsch", "de")],
        *[("Brazilian Portuguese", "pt"), ("fran\u00e7ais", "fr"), ("nn", "nb"), ("Klingon", None)],
    ],
)
def test_languages_are_known_by_code_and_name(name: str, code: str | None) -> None:
    assert language_code(name) == code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Der Hund schl\u00e4ft und die Katze ist wach.", "de"),
        ("The dog sleeps and the cat is awake.", "en"),
        ("Paris, Berlin, Rome.", None),
    ],
)
def test_a_language_is_recognized_by_its_frequent_words(text: str, code: str | None) -> None:
    assert recognize(text) == code
