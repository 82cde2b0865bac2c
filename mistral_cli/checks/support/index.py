"""An index of a text's words, which finds the few sentences that may support another sentence.

A text of a million characters is read once, by one regular expression. Its sentences are found
exactly only around the candidates, because that takes a second for the whole text.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cached_property
from math import log

from mistral_cli.checks.facts.lexicon import Lexicon, code_of, lexicon
from mistral_cli.checks.facts.matching import FactIndex
from mistral_cli.checks.facts.reader import read_facts
from mistral_cli.checks.support.terms import Break, Term, is_small, is_unspaced, terms_of
from mistral_cli.texts.sentence_spans import sentence_spans
from mistral_cli.texts.spans import Span

_CANDIDATES = 16  # units of a text that are looked at for each sentence of an answer
_LONGEST_SENTENCE = 1_000  # characters; what is longer is mostly a list or a log
_LONGEST_PARAGRAPH = 4_000  # characters; a longer one is read in parts
_LONG_PASSAGE, _LONG_EXPONENT = 40, 0.3  # terms
_SMALL_WEIGHT, _PAIR_WEIGHT = 0.1, 0.5  # of articles and the like; of a pair of characters
_CELL_BORDER = "| \t\r"


class Passage:
    """A sentence of a text, with its terms and its facts."""

    def __init__(self, text: str, span: Span, words: Lexicon) -> None:
        self.span, self._words = span, words
        self.text = text[span.start : span.end]

    @cached_property
    def terms(self) -> frozenset[str]:
        """The keys of its terms."""
        return frozenset(each.key for each in terms_of(self.text) if isinstance(each, Term))

    @cached_property
    def discount(self) -> float:
        """What a share of a passage counts: less in one that is so long that it has many words."""
        return float(min(1.0, (_LONG_PASSAGE / max(len(self.terms), 1)) ** _LONG_EXPONENT))

    @cached_property
    def facts(self) -> FactIndex:
        """The values of its numbers, dates and times."""
        return FactIndex(read_facts(self.text, self._words))


class PassageIndex:
    """The terms of a text, by its units: what stands between two marks that may end a sentence."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.code = code_of(text)
        self.lexicon = lexicon(self.code)
        self._starts = [0]  # of the units
        self._paragraphs = [0]  # the starts of paragraphs
        self._postings: dict[str, list[int]] = defaultdict(list)
        self._passages: dict[int, list[Passage]] = {}
        unit = 0
        for each in terms_of(text):
            if isinstance(each, Break):
                unit += 1
                self._begin(each.end, paragraph=each.paragraph)
                continue
            if each.start - self._starts[-1] > _LONGEST_SENTENCE:  # no full stop: a list, numbers
                unit += 1
                self._begin(each.start)
            units = self._postings[each.key]
            if not units or units[-1] != unit:
                units.append(unit)

    def _begin(self, start: int, *, paragraph: bool = False) -> None:
        """Begin a unit, and a paragraph if the last one is long enough."""
        self._starts.append(start)
        if paragraph or start - self._paragraphs[-1] > _LONGEST_PARAGRAPH:
            self._paragraphs.append(start)

    def has(self, key: str) -> bool:
        """True if the text has the term."""
        return key in self._postings

    def weight(self, key: str) -> float:
        """The weight of a term: the rarer it is in the text, the more it says."""
        if is_small(key, self.code):
            return _SMALL_WEIGHT * self.highest_weight
        found = len(self._postings.get(key, ()))
        weight = log(1 + len(self._starts) / (max(found, 1) + 0.5))
        return weight * _PAIR_WEIGHT if is_unspaced(key) else weight

    @cached_property
    def highest_weight(self) -> float:
        """The weight of a word that is in one unit."""
        return log(1 + len(self._starts) / 1.5)

    def candidates(self, weights: Mapping[str, float]) -> list[Passage]:
        """The sentences of the text around the units with the most of these terms."""
        scores: dict[int, float] = defaultdict(float)
        for key, weight in weights.items():
            for unit in self._postings.get(key, ()):
                scores[unit] += weight
        best = sorted(scores, key=lambda unit: (-scores[unit], unit))[:_CANDIDATES]
        if len(self._starts) <= _CANDIDATES:
            best = [*range(len(self._starts))]  # one may have the same numbers in other words
        passages = {p.span.start: p for unit in best for p in self._around(unit)}
        return [passages[start] for start in sorted(passages)]

    def _around(self, unit: int) -> Iterable[Passage]:
        """The sentences that a unit is part of."""
        start = self._starts[unit]
        end = self._starts[unit + 1] if unit + 1 < len(self._starts) else len(self.text)
        for each in self._sentences(bisect_right(self._paragraphs, start) - 1):
            if each.span.start < end and each.span.end > start:
                yield each

    def _sentences(self, paragraph: int) -> list[Passage]:
        """The sentences of a paragraph."""
        if paragraph not in self._passages:
            start, *following = self._paragraphs[paragraph : paragraph + 2]
            end = following[0] if following else len(self.text)
            spans = sentence_spans(self.text[start:end], self.code)
            self._passages[paragraph] = [
                Passage(self.text, placed, self.lexicon)
                for span in spans
                for placed in _lines(self.text, span.start + start, span.end + start)
            ]
        return self._passages[paragraph]


def _lines(text: str, start: int, end: int) -> list[Span]:
    """The lines of a table, of code or of a log, which is one sentence; else the span itself."""
    lines = text[start:end].split("\n")
    is_code = any(line.lstrip().startswith(("```", "~~~")) for line in lines)
    is_table = len(lines) > 1 and all("|" in line for line in lines)
    if not (is_code or is_table or end - start > _LONGEST_SENTENCE):
        return [Span(start, end)]
    spans = []
    for line in lines:
        for at in range(0, len(line), _LONGEST_SENTENCE):
            piece = line[at : at + _LONGEST_SENTENCE]
            if any(map(str.isalnum, piece)):
                cells = piece.strip(_CELL_BORDER)
                first = start + at + piece.index(cells)
                spans.append(Span(first, first + len(cells)))
        start += len(line) + 1
    return spans
