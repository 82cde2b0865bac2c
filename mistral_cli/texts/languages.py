"""The languages that the counting of sentences knows; `languages.toml` has their words.

`sentencex` has longer lists of abbreviations, but does not tell those that stand before a word
from those that may end a sentence.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

_SIMILAR = {
    **{"no": "nb", "nn": "nb", "fo": "is", "lb": "de", "sr": "hr", "bs": "hr", "sl": "hr"},
    **{"be": "uk", "mk": "bg", "lv": "et", "gl": "pt", "ca": "es", "ms": "id", "mr": "hi"},
}
"""Languages that use the words of another here."""

# They end an enumeration, and mostly the sentence too if a capital letter follows.
_ENUMERATION_ENDS = """
etc usw usf ecc enz osv itd itp atd atď apod jne yms ym stb vb m.m m.fl m.v o.s.v o.s.frv utt
т.д т.п др κ.λπ o.ä u.ä o.dgl u.dgl a.pod
""".split()  # noqa: SIM905


@dataclass(frozen=True)
class Language:
    """A language as the counting of sentences sees it; the fields are those of the file."""

    names: frozenset[str] = frozenset()
    openers: frozenset[str] = frozenset()
    before: frozenset[str] = frozenset()
    final: frozenset[str] = frozenset()
    months: frozenset[str] = frozenset()
    ordinals: bool = False

    def stands_before(self, word: str) -> bool:
        """True for an abbreviation that does not end a sentence."""
        return word in self.before or word.lower() in self.before

    def may_end(self, word: str) -> bool:
        """True for an abbreviation that may end a sentence."""
        return word in self.final or word.lower() in self.final


def ends_enumeration(word: str) -> bool:
    """True for the abbreviations of "and so on"."""
    return word.lower() in _ENUMERATION_ENDS


def is_abbreviation(word: str) -> bool:
    """True if some language has `word` as an abbreviation that stands before a word or number."""
    return any(language.stands_before(word) for language in _languages().values())


def may_be_abbreviation(word: str) -> bool:
    """True if some language has `word` as an abbreviation."""
    return is_abbreviation(word) or any(each.may_end(word) for each in _languages().values())


def language_code(name: str) -> str | None:
    """The code of a language that a user named: "de", "pt-BR", "Deutsch", "Brazilian Portuguese".

    None if it is not in the file.
    """
    words = re.findall(r"[^\W\d_]+", unicodedata.normalize("NFC", name).lower())
    codes = [_SIMILAR.get(word, word) for word in words[:1]]
    languages = _languages()
    named = (code for code in languages if not languages[code].names.isdisjoint(words))
    return next((code for code in (*codes, *named) if code in languages), None)


def recognize(text: str) -> str | None:
    """The code of the language that has the most of a text's words among its openers.

    None if no language has at least two of them, or another has as many.
    """
    words = re.findall(r"[^\W\d_]+", text.lower())
    hits = {code: sum(w in each.openers for w in words) for code, each in _languages().items()}
    first, second = sorted(hits, key=hits.__getitem__, reverse=True)[:2]
    return first if hits[first] >= max(2, hits[second] + 1) else None


@cache
def language_rules(code: str | None) -> Language:
    """The knowledge of the language with that code; of all languages at once for None."""
    languages = _languages()
    latin = languages["latin"]
    if code and code in languages:
        language = languages[code]
        return replace(
            language,
            before=(language.before | latin.before) - language.final,
            final=language.final | (latin.final - language.before),
        )
    known = languages.values()
    return Language(
        openers=_union(each.openers for each in known),
        before=latin.before,
        final=_union(each.before | each.final for each in known) - latin.before,
        months=_union(each.months for each in known),
        ordinals=True,
    )


@cache
def _languages() -> Mapping[str, Language]:
    tables = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    return {code: _language(table) for code, table in tables.items()}


def _language(table: Mapping[str, Any]) -> Language:
    words = {key: frozenset(str(value).split()) for key, value in table.items()}
    words.pop("ordinals", None)
    return Language(**words, ordinals=table.get("ordinals", False))


def _union(sets: Iterable[frozenset[str]]) -> frozenset[str]:
    return frozenset(chain.from_iterable(sets))
