"""Patterns of schemas: what the grammar enforces of them, and how a value is checked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.grammars import admits

from mistral_cli.structured.grammar import as_text, json_grammar
from mistral_cli.structured.patterns import read_pattern


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("^a$", ["a"], ["b", "aa", "a\n"]),
        ("foo", ["foo", "xfoox"], ["fo"]),
        ("", ["", "x"], []),
        ("^$", [""], ["x"]),
        ("a|^b$", ["xax", "b"], ["xb"]),
        ("(^|/)x($|/)", ["x", "a/x", "a/x/b"], ["axb", "xx"]),
        (r"^\d+\Z", ["12"], ["१२", "1a"]),
        (r"\Aa\w\z", ["ab"], ["aé", "abc"]),
        (r"^[\w-.]+$", ["a-.b"], ["é", ""]),
        (r"^[^\W_]+$", ["ab"], ["_", "-"]),
        ("^[[a]$", ["[", "a"], ["]"]),
        ("^[a&&b]$", ["&", "b"], ["c"]),
        ("^x{$", ["x{"], ["x"]),
        (r"^\d{,3}$", ["", "12"], ["1234"]),
        (r"^\p{Lu}\P{L}$", ["É1"], ["é1", "ÉÉ"]),
        ("^.$", ["é", "😀"], ["\n", "ab"]),
        (r"^\ud83d\ude00$", ["😀"], ["x"]),
        ("(?i)^abc$", ["aBC"], ["abd"]),
        (r"^\/\-\_\u0041\x42\cJ?$", ["/-_AB"], ["/-_A"]),
        ("^(?=.*[A-Z])(?=.*\\d).{3,}$", ["aB1"], ["ab1", "B1", "ABC"]),
    ],
)
def test_patterns_that_a_grammar_enforces(
    pattern: str, matching: list[str], others: list[str]
) -> None:
    assert read_pattern(pattern).exact
    grammar = json_grammar({"type": "string", "pattern": pattern}, many=False)
    for text in matching + others:
        expected = text in matching
        assert admits(grammar, as_text(text)) is expected, text
        assert read_pattern(pattern).matches(text) is expected, text


@pytest.mark.parametrize(
    ("pattern", "valid", "only_admitted", "refused"),
    [
        ("^(?!foo)[a-z]+$", ["bar"], ["foo", "foox"], ["1"]),
        (r"^(a|b)\1$", ["aa", "bb"], ["ab"], ["ac"]),
        (r"^(?<y>\d)-\k<y>$", ["1-1"], ["1-2"], ["1-x"]),
        (r"^(?P<y>\d)-(?P=y)$", ["1-1"], ["1-2"], ["1-x"]),
        (r"^x\b-?$", ["x", "x-"], [], ["y"]),
        (r"^\bx\B$", [], ["x"], ["y"]),
        ("(?<=a)b", ["ab"], ["b"], ["a"]),
        (r"^((a|b)($|/))*$", ["a/b", "a/"], ["ab"], ["c"]),
        ("^(?>a+)b$", ["ab"], ["c"], []),
        ("^(?!x)", ["a"], ["xa"], []),
    ],
)
def test_what_a_grammar_cannot_express_is_left_to_validation(
    pattern: str, valid: list[str], only_admitted: list[str], refused: list[str]
) -> None:
    assert not read_pattern(pattern).exact
    grammar = json_grammar({"type": "string", "pattern": pattern}, many=False)
    for text in valid + only_admitted + refused:
        assert admits(grammar, as_text(text)) is (text not in refused), text
        assert read_pattern(pattern).matches(text) is (text in valid), text


@pytest.mark.parametrize(
    "pattern",
    ["(", "a)", "[", "*a", "a**", r"\p{Script=Klingon}", "[z-a]", "a{2,1}", "\\", r"(?<n"],
)
def test_what_is_not_a_pattern(pattern: str) -> None:
    with pytest.raises(ValueError, match="is not a regular expression"):
        read_pattern(pattern)


PIECES = [
    "a",
    "b",
    "^",
    "$",
    "(",
    ")",
    "|",
    "*",
    "{2}",
    "[ab]",
    "[^a]",
    ".",
    "(?=",
    "(?!",
    "/",
    r"\1",
]


@given(
    pattern=st.lists(st.sampled_from(PIECES), max_size=7).map("".join),
    text=st.text("ab/", max_size=4),
)
def test_a_grammar_admits_every_text_that_matches(pattern: str, text: str) -> None:
    try:
        read = read_pattern(pattern)
    except ValueError:
        return
    if read.matches(text):
        schema = {"type": "string", "pattern": pattern}
        assert admits(json_grammar(schema, many=False), as_text(text))
