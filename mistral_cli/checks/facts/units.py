"""The units and currencies beside a number; `units.toml` has their spellings."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from mistral_cli.checks.facts.facts import Quantity

_AFTER = re.compile(r"[ -]?(?:(per|por|pour|pro) (cent|ciento|cento)\b)?")
_OF = re.compile(r" (?:de |d'|di |of |von )")
_WORD = re.compile(
    r"(?:[^\W\d_]+[²³]?\.?(?:/[^\W\d_]+)?|[°º%‰€$£¥₹₽₴₺₩][A-Za-z]?(?![A-Za-z])|[°º%‰€$£¥₹₽₴₺₩])"
)
_BEFORE = re.compile(
    r"(?:(?<![A-Za-z])(?:[A-Z]{3}|US\$|CA?\$|AU?\$|R\$|Rs\.?|Fr\.|kr|zł)|[€$£¥₹₽₴₺₩]|US-\$) ?\Z"
)
_CJK = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]{1,6}")
_SHORT = 3  # spellings of up to this length are compared with their case


class Unit(NamedTuple):
    """A unit: what it measures, and its size in the first unit's terms."""

    quantity: str
    size: Fraction


@cache
def _units() -> tuple[dict[str, Unit], dict[str, frozenset[str]], dict[str, frozenset[str]]]:
    units: dict[str, Unit] = {}
    exact: dict[str, set[str]] = {}
    folded: dict[str, set[str]] = {}
    path = Path(__file__).with_suffix(".toml")
    for quantity, table in tomllib.loads(path.read_text(encoding="utf-8")).items():
        for name, words in table.items():
            size, *spellings = words.split()
            units[name] = Unit(quantity, Fraction(size))
            for spelling in spellings:
                spelling = spelling.replace("_", " ")
                exact.setdefault(spelling, set()).add(name)
                if len(spelling) >= _SHORT and not spelling.isupper():
                    folded.setdefault(spelling.lower(), set()).add(name)
    return (
        units,
        {spelling: frozenset(names) for spelling, names in exact.items()},
        {spelling: frozenset(names) for spelling, names in folded.items()},
    )


def unit(name: str) -> Unit:
    """What a unit measures, and its size."""
    return _units()[0][name]


def measures(atom: Quantity) -> Iterator[tuple[str, Fraction]]:
    """What a quantity may measure, and its size in the first unit of that; "" without a unit."""
    for name in atom.units:
        found = unit(name)
        yield found.quantity, atom.value * found.size
    if not atom.units:
        yield "", atom.value


def unit_after(text: str, at: int) -> tuple[frozenset[str], int]:
    """The units that the text at `at` may name, and where their name ends; none, and `at`."""
    gap = _AFTER.match(text, at)
    if gap and gap[1]:
        return frozenset({"percent"}), gap.end()
    begin = gap.end() if gap else at
    if begin < len(text) and text[begin] > "\u3000" and (cjk := _CJK.match(text, begin)):
        return _cjk_unit(cjk[0], begin, at)
    of = _OF.match(text, at)
    word = _WORD.match(text, of.end()) if of else None
    if word and is_money(found := lookup(word[0])):
        return found, word.end()
    first = _WORD.match(text, begin)
    if not first:
        return frozenset(), at
    ends = [first.end()]
    while len(ends) < 3 and text[ends[-1] : ends[-1] + 1] == " ":
        following = _WORD.match(text, ends[-1] + 1)
        if not following:
            break
        ends.append(following.end())
    for end in reversed(ends):
        spelling = text[begin:end]
        for form in (spelling, spelling.rstrip(".")):
            if found := lookup(form):
                return found, begin + len(form)
    return frozenset(), at


def _cjk_unit(word: str, begin: int, at: int) -> tuple[frozenset[str], int]:
    for length in range(len(word), 0, -1):
        if found := _units()[1].get(word[:length]):
            return found, begin + length
    return frozenset(), at


def lookup(spelling: str) -> frozenset[str]:
    """The units that have a spelling: none, one, or several such as mass and money for "pound"."""
    _, exact, folded = _units()
    return exact.get(spelling) or folded.get(spelling.lower()) or frozenset()


def unit_before(text: str, at: int) -> tuple[frozenset[str], int]:
    """The currency before a number that starts at `at`, and where it starts."""
    match = _BEFORE.search(text, max(0, at - 6), at)
    if not match:
        return frozenset(), at
    found = lookup(match[0].strip().replace("US-$", "US$"))
    return (found, match.start()) if found else (frozenset(), at)


def is_money(names: frozenset[str]) -> bool:
    """True if the units are currencies alone."""
    return bool(names) and all(name.isupper() and len(name) == 3 for name in names)
