"""A text as spans and numbers: what can be taken from it, and where it stands."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import TEXTS

from mistral_cli.structured.text_index import Source


@pytest.mark.parametrize(
    ("text", "chunks"),
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
def test_chunks(text: str, chunks: list[str]) -> None:
    assert Source(text).chunks == chunks


@pytest.mark.parametrize(
    ("text", "value", "found"),
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
def test_places(text: str, value: str, found: str | None) -> None:
    place = Source(text).locate(value)
    assert (place and text[slice(*place)]) == found


def test_the_place_is_that_of_the_word_by_itself() -> None:
    assert Source("ABBA and AB").locate("AB") == (9, 11)


@given(text=TEXTS, data=st.data())
def test_every_span_is_found_as_it_stands(text: str, data: st.DataObject) -> None:
    source = Source(text)
    count = len(source.chunks)
    first = data.draw(st.integers(0, count))
    span = "".join(source.chunks[first : data.draw(st.integers(first, count))]).strip(" ")
    place = source.locate(span)
    assert (place is None) == (span == "")
    if place:
        assert text[slice(*place)].split() == span.split()


@given(text=TEXTS)
def test_no_chunk_tears_a_character_apart(text: str) -> None:
    source = Source(text)
    assert "".join(source.chunks) == " ".join(text.split())
    for before, chunk in zip(source.chunks, source.chunks[1:], strict=False):
        if before != " ":
            assert not unicodedata.category(chunk[0]).startswith("M")


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
    assert list(Source(text).numbers) == numbers


@given(text=st.text(alphabet="0123456789.,'- \u00a0eE+x٣", max_size=30))
def test_every_number_is_json_and_made_of_digits_of_the_text(text: str) -> None:
    source = Source(text)
    for literal, (start, end) in source.numbers.items():
        value = json.loads(literal)
        assert (
            digits(literal) == digits(text[start:end]).lstrip("0") or value == 0 or "." in literal
        )
        assert source.locate_number(value) is not None


def digits(text: str) -> str:
    return "".join(str(unicodedata.digit(c)) for c in text if c.isdigit())


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("due 2026-12-01, sent 2026-11-02.", ["2026-12-01", "2026-11-02"]), ("a b a", ["a", "b"])],
)
def test_candidates(text: str, wanted: Sequence[str]) -> None:
    for with_spaces in (True, False):
        found = Source(text).candidates(lambda span: span in wanted, with_spaces=with_spaces)
        assert found == wanted
    assert Source("a b").candidates(lambda _: True, with_spaces=False) == ["a", "b"]


@given(text=TEXTS, shortest=st.integers(1, 8), more=st.integers(0, 4))
def test_whether_a_span_of_some_length_is_there(text: str, shortest: int, more: int) -> None:
    source = Source(text)
    wanted = range(shortest, shortest + more + 1)
    known = source.candidates(lambda span: len(span) in wanted)
    assert source.has_span(shortest, shortest + more) is bool(known)


def test_too_many_candidates_are_not_listed() -> None:
    text = " ".join(map(str, range(400)))
    assert Source(text).candidates(lambda _: True) is None
