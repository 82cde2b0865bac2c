"""Reads the facts of a text: its numbers with their units, its dates and times, its literals."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction

from mistral_cli.checks.facts.dates import DateFinder, Item, dotted_readings
from mistral_cli.checks.facts.facts import Fact, Quantity, Reading, century, decades
from mistral_cli.checks.facts.ideographs import find_ideographs
from mistral_cli.checks.facts.lexicon import Lexicon, code_of, lexicon, small_words
from mistral_cli.checks.facts.literals import Literal, find_literals
from mistral_cli.checks.facts.numbers import Number, read_number, roman_value
from mistral_cli.checks.facts.tokens import Token, prepare, tokenize
from mistral_cli.checks.facts.units import lookup, unit_after, unit_before

_ROMAN = re.compile(  # not "CD" and other abbreviations that are written alike
    r"(?=[IVXLCDM]{2})(?<![\w.-])(?!(?:CD|DC|MD|MC|CC|DI|LI|MI|MM|CM|XL|ML|DIM|MIX|LCD|DL|CL|MV|CV|CI)\b)"
    r"[IVXLCDM]{2,9}(?=e?\b)"
)
_ROMAN_ORDINAL = re.compile(r"(?:e|ème|\.)")
_UNIT_ARTICLE = re.compile(
    r" (?:(?:an?|of an?|einer?|eines|d'une?|di|de|d'|van een)(?= )|d'(?=[^\W\d_]))"
)
_ALL_DAY = re.compile(r" ?(?:h|hours|Stunden) (?:a|per|am|pro) (?:day|Tag)|/7")  # "24 hours a day"
_DECADE = re.compile(
    r"(?P<year>(?:\d\d)?\d0)(?:'?s|er(?:[ -]Jahren?)?|-?\u044b?[\u0435\u0445])(?!\w)"
)
_UNIT_AND_A = re.compile(r"\ban? ([a-z]+) and a \Z")  # "a year and a half"
_AND_A_HALF = re.compile(
    r" (?:y medi[oa]|e mezz[oa]|e mei[oa]|et demie?|and a half|en een half|och en halv)(?!\w)"
)


@dataclass(frozen=True)
class FactText:
    """A text, and what was read in it."""

    text: str
    prepared: str
    lexicon: Lexicon
    literals: list[Literal]
    facts: list[Fact]
    masked: str = field(repr=False)


def read_facts(text: str, lexicon: Lexicon) -> FactText:
    """Everything of a text that can be compared with another text."""
    prepared = prepare(text)
    literals, masked = find_literals(prepared)
    facts, rest = find_ideographs(masked)
    tokens = tokenize(rest, lexicon)
    items = [*_items(rest, tokens, lexicon)]
    dates = DateFinder(rest, items, lexicon)
    facts += dates.facts()
    facts += _with_shared_units(rest, [*_quantities(rest, items, dates.used, lexicon)])
    facts += _romans(rest)
    facts.sort(key=lambda fact: fact.start)
    return FactText(text, prepared, lexicon, literals, facts, masked)


def numbers_in_words(text: str) -> set[int]:
    """The whole numbers that a text writes in words: 11 and 40000 of "eleven of forty thousand".

    Not "the second", which is mostly something else, nor "millions" alone.
    """
    words = lexicon(code_of(text))
    numbers = (each for each in _items(*_tokens(text, words), words) if isinstance(each, Number))
    read = (each for each in numbers if each.word and not (each.unsure or each.scale))
    values = (value for each in read for value in each.values if not each.fraction)
    return {int(value) for value in values if value.denominator == 1}


def _tokens(text: str, words: Lexicon) -> tuple[str, list[Token]]:
    rest = find_ideographs(find_literals(prepare(text))[1])[1]
    return rest, tokenize(rest, words)


def _items(text: str, tokens: list[Token], lexicon: Lexicon) -> Iterator[Item]:
    at = 0
    while at < len(tokens):
        token = tokens[at]
        number = None
        if token.kind != "mark" and (token.kind != "word" or lexicon.starts_fact(token.text)):
            number = read_number(text, tokens, at, lexicon)
        yield number or token
        at = number.after if number else at + 1


def _quantities(text: str, items: list[Item], used: set[int], lexicon: Lexicon) -> Iterator[Fact]:
    end = 0
    for at, item in enumerate(items):
        if at in used or not isinstance(item, Number) or item.start < end:
            continue
        before = [
            each.text
            for each in items[max(0, at - 4) : at]
            if isinstance(each, Token) and each.text not in ("", ".")
        ][-3:]
        following = items[at + 1] if at + 1 < len(items) else None
        fact = _quantity(text, item, before, following, lexicon)
        word = text[item.start : item.end].lower()
        last = items[at - 1] if at else None
        ordinal = isinstance(last, Number) and last.ordinal
        if word in small_words("periods") and (ordinal or not fact.checked):
            continue
        end = fact.end
        yield fact


def _with_shared_units(text: str, facts: list[Fact]) -> Iterator[Fact]:
    """Give the first number of "24 to 30 euros" the unit of the second."""
    links = small_words("ranges") | small_words("ranges_of_numbers")
    for at, fact in enumerate(facts):
        atom = fact.readings[0][0]
        other = facts[at + 1].readings[0][0] if at + 1 < len(facts) else None
        if isinstance(atom, Quantity) and isinstance(other, Quantity) and not atom.units:
            between = text[fact.end : facts[at + 1].start].split()
            if other.units and len(between) == 1 and between[0].lower() in links:
                shared: tuple[Reading, ...] = ((atom._replace(units=other.units),),)
                if atom.value < 1:  # "by three quarters to 30 euros"
                    shared += fact.readings
                fact = replace(fact, readings=shared)
        yield fact


def _quantity(
    text: str, number: Number, before: list[str], following: Item | None, lexicon: Lexicon
) -> Fact:
    start, end = number.start, number.end
    if decade := _decade(text, number, before):
        return decade
    units, end = unit_after(text, end)
    money, before_number = unit_before(text, start)
    if money:
        units, start = money, before_number
    word = following.text if isinstance(following, Token) else ""
    values = number.values
    whole = _UNIT_AND_A.search(text, max(0, start - 20), start) if number.fraction else None
    if whole and (found := lookup(whole[1])):
        units, start, values = found, whole.start(), (1 + values[-1],)
    if not units and values[-1] < 1 and (article := _UNIT_ARTICLE.match(text, end)):
        units, end = unit_after(text, article.end())
        end = end if units else number.end
    if (
        number.ordinal
        and number.fraction
        and len(values) > 1
        and word in small_words("of")
        and before[-1:] != ["the"]
    ):
        values, number.ordinal = values[1:], False  # "a third of"
    if units and (half := _AND_A_HALF.match(text, end)):
        values, end = tuple(value + Fraction(1, 2) for value in values), half.end()
    if number.ordinal and before and before[-1] in small_words("every"):
        values += tuple(Fraction(1, value) for value in values if value > 1)
    if not number.word and units and len(values) > 1 and units & {"EUR", "USD", "GBP"} == units:
        values = values[:1]
    readings: list[Reading] = [(Quantity(value, units),) for value in values]
    if number.ordinal and 1 < values[0] < 30:
        dot = text[number.end : number.end + 1] == "."  # "20. Jahrhundert"
        if "century" in unit_after(text, number.end + dot)[0]:
            readings.append((century(int(values[0])),))
    if not units and not number.word:
        readings += dotted_readings(text[number.start : number.end])
    if not number.word and " " in text[number.start : number.end].strip():
        pieces = re.findall(r"\d+", text[number.start : number.end])
        if "".join(pieces) == text[number.start : number.end].replace(" ", ""):
            readings.append(tuple(Quantity(Fraction(piece), units) for piece in pieces))
    return Fact(
        "numbers",
        start,
        end,
        tuple(readings),
        _checked(number, before, word, units) and not _ALL_DAY.match(text, number.end),
        rough=_is_rough(before, lexicon),
        word=number.word,
        counts=_counts(text, number),
        hour=bool(before) and before[-1] in small_words("before_hour"),
    )


def _decade(text: str, number: Number, before: list[str]) -> Fact | None:
    """The decade that a number names: "1930s", "années 30", "anni Trenta"."""
    match = _DECADE.match(text, number.start)
    value = number.values[0]
    named = not small_words("decades").isdisjoint(before[-2:])
    if not match and not (named and value % 10 == 0 and (value < 100 or 1000 < value < 3000)):
        return None
    if match:
        value = Fraction(match["year"])
    readings: list[Reading] = [(Quantity(value),)]
    readings += [(each,) for each in decades(int(value))]
    end = match.end() if match else number.end
    return Fact("numbers", number.start, end, tuple(readings), counts=False, word=number.word)


def _counts(text: str, number: Number) -> bool:
    """True for numbers that may be added up: neither an ordinal, nor a score, nor a year."""
    if number.ordinal or ":" in (
        text[number.start - 1 : number.start],
        text[number.end : number.end + 1],
    ):
        return False
    value = number.values[0]
    return number.word or number.end - number.start != 4 or not 1900 <= value < 2100


def _checked(number: Number, before: list[str], following: str, units: frozenset[str]) -> bool:
    """False for words that are mostly no statement of a number: "one", "first", "the third"."""
    if not number.word:
        return True
    if number.unsure and not units:
        return False
    if number.scale and not (before and before[-1] in small_words("articles")):
        return False  # "hundreds of models"
    value = number.values[0]
    if value in (0, 1) or (number.ordinal and value <= 2 and not number.fraction):
        return False
    last = before[-1] if before else ""
    if number.ordinal:
        return following not in (",", "party") and (value > 2 or last in small_words("articles"))
    if number.fraction and value < 1:
        return (
            bool(units)
            or number.several
            or last in small_words("articles")
            or following in small_words("of")
        )
    return True


def _is_rough(before: list[str], lexicon: Lexicon) -> bool:
    return any(lexicon.phrase("roughly", before[at:]) for at in range(len(before)))


def _romans(text: str) -> Iterator[Fact]:
    """Roman numerals. Only those of centuries are checked: others are too often something else."""
    for match in _ROMAN.finditer(text):
        if value := roman_value(match[0]):
            readings: list[Reading] = [(Quantity(Fraction(value)),)]
            before = text[max(0, match.start() - 8) : match.start()].split()[-1:]
            after = _ROMAN_ORDINAL.match(text, match.end())
            units, _ = unit_after(text, after.end() if after else match.end())
            named = "century" in units or (before and "century" in lookup(before[0]))
            if named:
                readings.append((century(value),))
            yield Fact("numbers", *match.span(), tuple(readings), checked=bool(named))
