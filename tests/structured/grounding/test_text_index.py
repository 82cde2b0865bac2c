"""A text as spans and numbers: what can be extracted from it, and from which characters."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import TEXTS

from mistral_cli.structured.grounding.text_index import TextIndex


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("Jane  Doe,\n\tBerlin", ["Jane", " ", "Doe", ",", " ", "Berlin"]),
        ("  a b\n", ["a", " ", "b"]),
        ("12kg B12", ["12", "kg", " ", "B", "12"]),
        ("1,200.50 3,5 1.200", ["1,200.50", " ", "3,5", " ", "1.200"]),
        ("2.5.1990 1,2,3", ["2", ".", "5", ".", "1990", " ", "1", ",", "2", ",", "3"]),
        ("山田さん、ok", ["山", "田", "さ", "ん", "、", "ok"]),
        ("ไทยที่", ["ไ", "ท", "ย", "ที่"]),
        ("हिन्दी भाषा", ["हिन्दी", " ", "भाषा"]),
        ("cafe\u0301s", ["cafe\u0301s"]),
        ("👩\u200d👧!", ["👩\u200d👧", "!"]),
        ("a_b", ["a", "_", "b"]),
        ("Bob,34,1.85", ["Bob", ",", "34", ",", "1.85"]),
        ("34,180,Bob", ["34", ",", "180", ",", "Bob"]),
        ("costs 34,180.", ["costs", " ", "34,180", "."]),
        ("👍🏽🇩🇪🇫🇷", ["👍🏽", "🇩🇪", "🇫🇷"]),
        (" \n", []),
    ],
)
def test_units(text: str, units: list[str]) -> None:
    assert TextIndex(text).units == units


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("x Jane\n  Doe.", "Jane Doe", "Jane\n  Doe"),
        ("x Jane\n  Doe.", "Jane\n  Doe", "Jane\n  Doe"),
        ("the ABBA and AB", "AB", "AB"),
        ("  lead", "lead", "lead"),
        ("a\u00a0b", "a b", "a\u00a0b"),
        ("a b", "", None),
        ("a b", " ", None),
        ("Jane", "Jan", None),
        ("Jane", "jane", None),
    ],
)
def test_locating_a_value(text: str, value: str, expected: str | None) -> None:
    span = TextIndex(text).locate(value)
    assert (span and text[slice(*span)]) == expected


def test_a_word_is_not_located_inside_another() -> None:
    assert TextIndex("ABBA and AB").locate("AB") == (9, 11)


@given(text=TEXTS, data=st.data())
def test_every_span_can_be_located(text: str, data: st.DataObject) -> None:
    index = TextIndex(text)
    count = len(index.units)
    first = data.draw(st.integers(0, count))
    value = "".join(index.units[first : data.draw(st.integers(first, count))]).strip(" ")
    span = index.locate(value)
    assert (span is None) == (value == "")
    if span:
        assert text[slice(*span)].split() == value.split()


@given(text=TEXTS)
def test_no_unit_splits_a_character(text: str) -> None:
    index = TextIndex(text)
    assert "".join(index.units) == " ".join(text.split())
    for before, unit in zip(index.units, index.units[1:], strict=False):
        if before != " ":
            assert not unicodedata.category(unit[0]).startswith("M")


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("aged 34", ["34"]),
        ("40,000 euros", ["40000", "40.000"]),
        ("1,200.50 or 1.200,50", ["1200.50"]),
        ("3,5 and 0,25", ["3.5", "0.25"]),
        ("-7 and \u22128", ["7", "-7", "8", "-8"]),
        ("2020-05", ["2020", "5"]),
        ("007", ["7"]),
        ("6.02e23", ["6.02", "6.02e23", "23"]),
        ("40 000 km", ["40", "0", "40000"]),
        ("2.5.1990", ["2", "5", "1990"]),
        ("10.0.0.1", ["10", "0", "1"]),
        ("1'234'567.8", ["1234567.8"]),
        ("B12", ["12"]),
        ("٣٤", ["34"]),
        ("thirty", []),
        ("½ x²", []),
        ("12.", ["12"]),
        ("Bob,34,1.85", ["34", "1.85"]),
        ("Bob;34;180", ["34", "180"]),
        ("34,180,Bob", ["34", "180"]),
        (".75 v.5", ["0.75", "5"]),
        ("1,00,000", ["100000"]),
    ],
)
def test_numbers(text: str, numbers: list[str]) -> None:
    assert list(TextIndex(text).numbers) == numbers


@given(text=st.text(alphabet="0123456789.,'- \u00a0eE+x٣", max_size=30))
def test_every_number_is_json_and_uses_digits_of_the_text(text: str) -> None:
    index = TextIndex(text)
    for literal, (start, end) in index.numbers.items():
        value = json.loads(literal)
        assert (
            digits(literal) == digits(text[start:end]).lstrip("0") or value == 0 or "." in literal
        )
        assert index.locate_number(value) is not None


def digits(text: str) -> str:
    return "".join(str(unicodedata.digit(c)) for c in text if c.isdigit())


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("due 2026-12-01, sent 2026-11-02.", ["2026-12-01", "2026-11-02"]), ("a b a", ["a", "b"])],
)
def test_candidates(text: str, wanted: Sequence[str]) -> None:
    for with_spaces in (True, False):
        candidates = TextIndex(text).candidates(
            lambda span: span in wanted, with_spaces=with_spaces
        )
        assert candidates == wanted
    assert TextIndex("a b").candidates(lambda _: True, with_spaces=False) == ["a", "b"]


@given(text=TEXTS, shortest=st.integers(1, 8), more=st.integers(0, 4))
def test_whether_a_span_of_some_length_exists(text: str, shortest: int, more: int) -> None:
    index = TextIndex(text)
    wanted = range(shortest, shortest + more + 1)
    known = index.candidates(lambda span: len(span) in wanted)
    assert index.has_span(shortest, shortest + more) is bool(known)


def test_too_many_candidates_are_not_listed() -> None:
    text = " ".join(map(str, range(400)))
    assert TextIndex(text).candidates(lambda _: True) is None
