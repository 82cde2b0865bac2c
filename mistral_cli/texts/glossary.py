"""Terms whose translation the user prescribes, and a check that an answer uses them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli.errors import UsageError
from mistral_cli.system.encodings import AUTO, read_supplement
from mistral_cli.texts.tabular import read_records

if TYPE_CHECKING:
    from mistral_cli.system.reporter import Reporter

_HEADERS = {("term", "translation"), ("source", "target")}
_FORM = 'Write one "term,translation" per line.'

_WITHOUT_SPACES = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uf900-\uff9f]")
_LONG = 5  # letters; a longer word may end in an inflection
_ENDING = 2


@dataclass(frozen=True)
class Glossary:
    """Terms and their translations, as the user wrote them."""

    terms: Mapping[str, str]

    def terms_in(self, text: str) -> dict[str, str]:
        """Return the terms that occur in `text`, with their translations, the longest first.

        A term must occur as a whole word, in upper or lower case, and not only inside a longer
        term.
        """
        occurring = {_folded(match.group()) for match in self._pattern.finditer(text)}
        return {
            term: self.terms[term] for term in self._longest_first if _folded(term) in occurring
        }

    def missing(self, original: str, translation: str) -> list[str]:
        """List the terms of `original` that `translation` does not translate as prescribed."""
        answer = _folded(translation)
        return [
            term
            for term, prescribed in self.terms_in(original).items()
            if not all(_stem(word) in answer for word in _folded(prescribed).split())
        ]

    @cached_property
    def _longest_first(self) -> list[str]:
        return sorted(self.terms, key=len, reverse=True)

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        pattern = "|".join(map(_whole_word, self._longest_first))
        return re.compile(pattern or r"(?!)", re.IGNORECASE)


def read_glossary(path: Path, reporter: Reporter, encoding: str = AUTO) -> Glossary:
    """Read a CSV or TSV file with a term and its translation on each line.

    Blank lines, `#` comments and a header are skipped. Raises UsageError, with the line number,
    for a line of any other form or a second translation of a term.
    """
    terms: dict[str, str] = {}
    known: dict[str, tuple[str, int]] = {}
    for number, row in _rows(path, reporter, encoding):
        if len(row) != 2 or not all(row):
            raise UsageError(f"{path}, line {number}: not a term and its translation", hint=_FORM)
        term, translation = row
        if _folded(term) not in known:
            known[_folded(term)] = translation, number
            terms[term] = translation
        elif known[_folded(term)][0] != translation:
            line = known[_folded(term)][1]
            raise UsageError(
                f"{path}, line {number}: {term!r} has another translation on line {line}",
                hint="Keep one of the two.",
            )
    if not terms:
        raise UsageError(f"{path} has no terms", hint=_FORM)
    return Glossary(terms)


def _rows(path: Path, reporter: Reporter, encoding: str) -> list[tuple[int, list[str]]]:
    """Return the lines with terms, and their numbers."""
    try:
        text = read_supplement(path, reporter, encoding)
    except OSError as error:
        raise UsageError(
            f"the glossary {path} cannot be read: {error.strerror or error}",
            hint="Check its name and permissions.",
        ) from error
    delimiter = "\t" if path.suffix.lower() in {".tsv", ".tab"} else None
    rows: list[tuple[int, list[str]]] = []
    for number, cells in read_records([text], str(path), delimiter, width=2, comments=True):
        if isinstance(cells, UsageError):
            raise cells
        stripped = [cell.strip() for cell in cells]
        rows.append((number, stripped[:2] if not any(stripped[2:]) else stripped))
    if rows and tuple(cell.casefold() for cell in rows[0][1]) in _HEADERS:
        del rows[0]
    return rows


def _whole_word(term: str) -> str:
    """Return a pattern for `term` as a whole word, or anywhere in a script without spaces.

    Any whitespace matches that of the term.
    """
    pattern = r"\s+".join(map(re.escape, term.split()))
    if _WITHOUT_SPACES.search(term):
        return pattern
    return rf"(?<!\w){pattern}(?!\w)"


def _folded(text: str) -> str:
    """Return `text` in lower case, with single spaces."""
    return " ".join(text.casefold().split())


def _stem(word: str) -> str:
    return word[:-_ENDING] if len(word) > _LONG else word
