"""Citations: for each sentence of an answer, the sentences of its text that support it.

The score of a sentence is the share of its content that the cited sentences have: words weighted by
how rare they are in the text (inverse document frequency, as in information retrieval), numbers and
dates by value. No call depends on a model, the network or the time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from mistral_cli.checks.check import Check, Finding
from mistral_cli.checks.facts.compare import is_small_number
from mistral_cli.checks.facts.facts import Fact
from mistral_cli.checks.facts.lexicon import code_of, lexicon
from mistral_cli.checks.facts.reader import FactText, read_facts
from mistral_cli.checks.support.index import Passage, PassageIndex
from mistral_cli.checks.support.terms import Term, is_small, terms_of
from mistral_cli.texts.languages import recognize
from mistral_cli.texts.sentence_spans import sentence_spans
from mistral_cli.texts.spans import Span, stripped

CHECK = "support"
NO_SUPPORT = "no similar sentence in the text"
# Of 561 sentences of true summaries 86 % reach it, of 549 of other texts' summaries 5 %, of 52
# invented ones 4 % (scripts/bench_support). The weights below are those that tell them best.
LEAST_SUPPORT = 0.4
_FACT_WEIGHT = 2.0  # of a number or date, as a multiple of the rarest word
_SMALL_FACT_WEIGHT = 0.7  # of numbers up to 12 without a unit, which many sentences have
_MOST_SOURCES = 3
_LEAST_GAIN = 0.16  # what another source must add to the score
_FURTHER_SOURCE = 0.4  # what its gain counts: three sentences of any text have many words
_LEAST_SHARED = 2  # names and numbers that make a source of another language worth showing
_PRECISION = 0.1  # how much a source that says little else is preferred
_ITEM = re.compile(r"[ \t]*(?:[-*+\u2022\u2013]|\d{1,3}[.)])[ \t]+(?=\S)")


@dataclass(frozen=True)
class Source:
    """A sentence of the text that is cited.

    `number` counts the sources of an answer in the order in which they are first cited. `start`
    and `end` count characters of the text.
    """

    number: int
    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Citation:
    """What supports one sentence or bullet point of an answer.

    `start` and `end` count characters of the answer. `score` is from 0 to 1. `supported` is None if
    that cannot be told, because the answer is in another language than the text. Only what is
    supported, or what may be, has `sources`; the first one says the most.
    """

    start: int
    end: int
    score: float
    supported: bool | None
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True)
class _Content:
    """What a unit of an answer says, in parts: terms and facts, each with its weight.

    The facts are among those of `written`, the whole answer.
    """

    terms: Mapping[str, float]
    facts: Mapping[Fact, float]
    written: FactText

    @cached_property
    def total(self) -> float:
        """The weight of all parts."""
        return sum(self.terms.values()) + sum(self.facts.values())

    def covered_by(self, passage: Passage) -> frozenset[str | Fact]:
        """The parts that a passage has."""
        facts = (
            fact
            for fact in self.facts
            if passage.facts.problem(fact, self.written, derive=False) is None
        )
        return frozenset((*(self.terms.keys() & passage.terms), *facts))

    def share(self, parts: Iterable[str | Fact]) -> float:
        """The weight of some parts, from 0 to 1."""
        weights = (self.terms[p] if isinstance(p, str) else self.facts[p] for p in parts)
        return min(sum(weights) / self.total, 1.0) if self.total else 0.0


@dataclass(frozen=True)
class _Support:
    """The best passages for a unit of an answer, and their score."""

    unit: Span
    score: float
    passages: tuple[Passage, ...]
    supported: bool | None


@lru_cache(maxsize=2)  # all answers to a request have the same text
def _index(text: str) -> PassageIndex:
    return PassageIndex(text)


@lru_cache(maxsize=4)  # the check of an answer and its result need the same citations
def find_citations(text: str, answer: str) -> tuple[Citation, ...]:
    """The citations of the sentences and bullet points of an answer about a text."""
    index = _index(text)
    written = read_facts(answer, lexicon(code_of(answer) or index.code))
    found = [_support(unit, written, index) for unit in units_of(answer, index.code)]
    if not all(each.supported for each in found) and _is_foreign(answer, index):
        found = [
            each if each.supported else _support(each.unit, written, index, shared_only=True)
            for each in found
        ]
    return tuple(_numbered(found))


def check_support(answer: str, citations: Sequence[Citation]) -> Check | None:
    """Check that each sentence of an answer has support; None if that cannot be told."""
    if any(each.supported is None for each in citations):
        return None
    findings = tuple(
        Finding(answer[each.start : each.end], NO_SUPPORT, each.start, each.end)
        for each in citations
        if not each.supported
    )
    return Check(CHECK, not findings, found=len(findings) or None, findings=findings)


def units_of(answer: str, code: str | None = None) -> list[Span]:
    """The bullet points of an answer, and the sentences outside them.

    Headings, and lines that only announce what follows ("Main points:"), are left out.
    """
    units, prose = list[Span](), 0
    for start, end in _items(answer):
        units += _sentences(answer, prose, start, code)
        marker = _ITEM.match(answer, start)
        units.append(stripped(answer, marker.end() if marker else start, end))
        prose = end
    units += _sentences(answer, prose, len(answer), code)
    return [unit for unit in units if _states(answer[unit.start : unit.end])]


def _states(unit: str) -> bool:
    """False for what only announces the next lines, and for a row of marks."""
    return any(map(str.isalnum, unit)) and not unit.rstrip("*_").endswith((":", "\uff1a"))


def _items(answer: str) -> Iterator[tuple[int, int]]:
    """The places of list items, with the lines that continue them."""
    start = None
    at = 0
    for line in answer.splitlines(keepends=True):
        begins = _ITEM.match(line)
        if start is not None and (begins or not line.strip()):
            yield start, at
            start = None
        if begins:
            start = at
        at += len(line)
    if start is not None:
        yield start, at


def _sentences(answer: str, start: int, end: int, code: str | None) -> Iterator[Span]:
    for span in sentence_spans(answer[start:end], code):
        placed = Span(start + span.start, start + span.end)
        line = answer[answer.rfind("\n", 0, placed.start) + 1 : placed.start]
        if not line.lstrip().startswith("#"):
            yield placed


def _support(
    unit: Span, written: FactText, index: PassageIndex, *, shared_only: bool = False
) -> _Support:
    """The passages that cover the most of a unit; with `shared_only` of its names and numbers."""
    content, lookup = _content(unit, written, index, shared_only=shared_only)
    passages = index.candidates(lookup)
    covered = {passage: content.covered_by(passage) for passage in passages}
    chosen, have, score = list[Passage](), frozenset[str | Fact](), 0.0
    while len(chosen) < _MOST_SOURCES and len(chosen) < len(passages):
        ranks = {
            passage: passage.discount * (content.share(have | parts) - content.share(have))
            + _PRECISION * len(parts) / len(passage.terms)
            for passage, parts in covered.items()
            if parts and passage not in chosen
        }
        if not ranks:
            break
        best = max(ranks, key=ranks.__getitem__)  # of equals the first in the text
        gain = content.share(have | covered[best]) - content.share(have)
        gain *= best.discount
        if chosen and gain < _LEAST_GAIN:
            break
        score += gain * _FURTHER_SOURCE if chosen else gain
        chosen.append(best)
        have |= covered[best]
    score = round(score, 2)
    if shared_only:
        passages = chosen if len(have) >= _LEAST_SHARED else []
        return _Support(unit, score, tuple(passages), None)
    supported = score >= LEAST_SUPPORT
    return _Support(unit, score, tuple(chosen) if supported else (), supported)


def _content(
    unit: Span, written: FactText, index: PassageIndex, *, shared_only: bool
) -> tuple[_Content, dict[str, float]]:
    """The parts of a unit, and the terms to look its passages up by."""
    facts = {
        fact: index.highest_weight * (_SMALL_FACT_WEIGHT if is_small_number(fact) else _FACT_WEIGHT)
        for fact in written.facts
        if fact.checked and unit.start <= fact.start < unit.end
    }
    terms, lookup = dict[str, float](), dict[str, float]()
    words = written.text[unit.start : unit.end]
    for each in terms_of(words):
        if not isinstance(each, Term):
            continue
        place, weight = unit.start + each.start, index.weight(each.key)
        if not is_small(each.key, index.code):
            lookup[each.key] = weight
        is_name = words[each.start].isupper() or words[each.start].isdigit()
        if shared_only and not (is_name and index.has(each.key)):
            continue
        if not any(fact.start <= place < fact.end for fact in facts):
            terms[each.key] = weight
    return _Content(terms, facts, written), lookup


def _is_foreign(answer: str, index: PassageIndex) -> bool:
    """True if an answer is nearly sure to be in another language than its text."""
    from mistral_cli.checks.language import check_language

    if recognize(answer) == index.code:
        return False  # without the model of languages, which takes 0.8 s to load
    check = check_language(answer, index.code) if index.code else None
    return check is not None and not check.ok


def _numbered(found: Iterable[_Support]) -> Iterator[Citation]:
    """The citations, with a number for each passage that is cited."""
    numbers: dict[int, int] = {}
    for each in found:
        sources = []
        for passage in each.passages:
            start, end, _ = passage.span
            number = numbers.setdefault(start, len(numbers) + 1)
            sources.append(Source(number, start, end, passage.text))
        start, end, _ = each.unit
        yield Citation(start, end, each.score, each.supported, tuple(sources))
