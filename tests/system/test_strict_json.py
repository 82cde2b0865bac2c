"""JSON as RFC 8259 defines it."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_cli.system import strict_json
from mistral_cli.system.strict_json import loads, loads_exactly, repeated_keys


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (r'{"a": "\ud800"}', r"\ud800 is half of a surrogate pair, not a character"),
        (r'{"\udfff x": 1}', r"\udfff is half of a surrogate pair"),
        ("NaN", "a number is NaN or infinite"),
        ("[1e999]", "a number is NaN or infinite"),
        ("[" * 100_000, "it is nested too deeply"),
        ("9" * 5000, "a number has more than 4,300 digits"),
        ('{"a": 1, "a": 2}', "the key 'a' occurs twice"),
        ("{", "Expecting property name"),
    ],
)
def test_what_is_not_json_is_named(text: str, problem: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        loads(text)
    assert problem in str(error.value)


def test_a_whole_surrogate_pair_is_a_character() -> None:
    assert loads(r'"\ud83d\ude42"') == "\U0001f642"


def test_the_key_that_occurs_twice_is_found_in_one_pass() -> None:
    hashes = 0

    class Name(str):
        __slots__ = ()

        def __hash__(self) -> int:
            nonlocal hashes
            hashes += 1
            return super().__hash__()

        def __eq__(self, other: object) -> bool:
            nonlocal hashes
            hashes += 1
            return super().__eq__(other)

    names = [Name(number) for number in range(1000)]
    with pytest.raises(ValueError, match="the key '7' occurs twice"):
        strict_json._object([(name, 0) for name in [*names, Name(7)]])
    assert hashes < 20 * len(names)


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ('{"a": 1, "b": 2}', ()),
        ('{"a": {"x": 1}, "b": [{"x": 2}, {"x": 3}]}', ()),
        ('{"a": 1, "b": 2, "a": 3}', ("a", "b")),
        ('{"m": {"x": "{\\"", "é\\n": "a: ]", "x": [1, {"c"', ("x", "é\n")),
        ('{"a": 1, "a": "cu', ("a",)),
        ('["a", "a", {"a"', ()),
        ('}]{"a": "a", "a', ()),
        ("", ()),
    ],
)
def test_repeated_keys_are_found_also_in_an_answer_that_was_cut(
    text: str, keys: tuple[str, ...]
) -> None:
    assert repeated_keys(text) == keys


@pytest.mark.parametrize(
    ("literal", "printed"),
    [
        ("19.90", "19.9"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ("-0.0", "-0.0"),
        ("1E5", "100000.0"),
        ("0.30000000000000004", "0.30000000000000004"),
        ("5e-324", "5e-324"),
    ],
)
def test_a_number_that_is_printed_is_the_same_number(literal: str, printed: str) -> None:
    assert json.dumps(loads_exactly(f"[{literal}]")) == f"[{printed}]"
    assert Decimal(printed) == Decimal(literal)


@pytest.mark.parametrize(
    "literal",
    [
        "3.14159265358979323846",
        "0.1000000000000000055",
        "1e-400",
        "1e-99999999999999999999",
        "1e400",
    ],
)
def test_a_number_that_would_be_rounded_is_refused(literal: str) -> None:
    with pytest.raises(ValueError, match=r"more digits than can be kept|NaN or infinite"):
        loads_exactly(literal)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_survives(value: float) -> None:
    assert loads_exactly(json.dumps(value)) == value


values = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers())
)


@given(st.dictionaries(st.text(), values), st.booleans())
def test_what_is_parsed_fast_is_parsed_right(value: dict[str, object], ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    fast = strict_json.flat_object(text)
    assert fast is None or fast == loads(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1, "a": 2}',
        '{"a": "x", "a": "x"}',
        '{"a\\"": 1, "a\\"": 2}',
        r'{"a": "\\", "b": "\\", "a": 1}',
        r'{"a": "\"", "b": "", "a": 1}',
        '{"a": NaN}',
        '{"a": 1e999}',
        r'{"a": "\ud800"}',
        '{"a": {"b": 1, "b": 2}}',
        '{"a": [1e999]}',
        '{"a": 1} x',
        '{"a": 1}\xa0',
        "[1]",
        '"a"',
        "",
        "{",
        f'{{"a": {"9" * 5000}}}',
    ],
)
def test_what_needs_a_closer_look_is_not_parsed_fast(text: str) -> None:
    assert strict_json.flat_object(text) is None


@pytest.mark.parametrize("text", ['{"a": "b"}\r', '{"a": 1.5, "b": null, "c": "\\"\\u00e9"}'])
def test_a_plain_line_is_parsed_fast(text: str) -> None:
    assert strict_json.flat_object(text) == loads(text)
