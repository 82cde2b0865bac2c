"""JSON as RFC 8259 defines it."""

from __future__ import annotations

import pytest

from mistral_cli.system import strict_json
from mistral_cli.system.strict_json import loads


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
