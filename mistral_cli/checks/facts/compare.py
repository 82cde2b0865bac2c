"""Checks that the facts of a summary or translation stand in its text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal as OneOf

from mistral_cli.checks.check import Check, Finding
from mistral_cli.checks.facts.facts import Fact, Quantity
from mistral_cli.checks.facts.lexicon import code_of, lexicon
from mistral_cli.checks.facts.literals import Literal, LiteralIndex
from mistral_cli.checks.facts.matching import NOT_IN_TEXT, FactIndex
from mistral_cli.checks.facts.names import NameIndex, find_names
from mistral_cli.checks.facts.reader import FactText, read_facts

NOT_IN_TRANSLATION = "not in the translation"
_COUNTED = ("placeholder", "tag")
_SMALL_COUNT = 12


@dataclass(frozen=True)
class _Source:
    """The facts of a text, and the indexes to find those of an answer among them."""

    facts: FactText

    @cached_property
    def index(self) -> FactIndex:
        return FactIndex(self.facts)

    @cached_property
    def literals(self) -> LiteralIndex:
        return LiteralIndex(self.facts.prepared, self.facts.literals)

    @cached_property
    def names(self) -> NameIndex:
        return NameIndex(self.facts)


@lru_cache(maxsize=2)  # all answers to a request, and what is left of them, have the same text
def _source(text: str, code: str | None) -> _Source:
    return _Source(read_facts(text, lexicon(code)))


def check_facts(
    source: str,
    answer: str,
    *,
    mode: OneOf["summary", "translation"],
    language: str | None = None,
    source_language: str | None = None,
) -> tuple[Check, ...]:
    """Check the numbers, dates, names and units of an answer against the text it was made from.

    `language` is that of the answer; without it, the languages are recognized. A translation is
    also checked for what is missing from it. No call depends on a model, the network or the time.
    """
    code, answer_code = code_of(source, source_language), code_of(answer, language)
    if mode == "summary" and code and not language:
        answer_code = code  # an answer may be too short to tell its language
    text = _source(source, code or answer_code)
    written = read_facts(answer, lexicon(answer_code))
    translated = mode == "translation"
    findings: dict[str, list[Finding]] = {"numbers": [], "dates": [], "names": [], "units": []}
    for fact in written.facts:
        if fact.checked and _comparable(fact, text.facts):
            problem = text.index.problem(fact, written, derive=not translated)
            if problem:
                place = (fact.start, problem.end)
                findings[problem.check].append(_finding(answer, *place, problem.why))
    for literal in _absent(written.literals, text.facts.literals, text.literals):
        findings["names"].append(_finding(answer, literal.start, literal.end, NOT_IN_TEXT))
    if not translated and text.facts.lexicon.code == written.lexicon.code:
        for start, end in find_names(written, text.names):
            findings["names"].append(_finding(answer, start, end, NOT_IN_TEXT))
    checks = [_check(name, found) for name, found in findings.items()]
    if translated:
        checks.append(_check("missing", _missing(text.facts, written)))
    return tuple(checks)


def _comparable(fact: Fact, other: FactText) -> bool:
    """False for small numbers in words if the other language's words for them are not known."""
    if not fact.word and not is_small_number(fact):
        return True
    return other.lexicon.has_number_words or other.lexicon.code in ("zh", "ja")


def is_small_number(fact: Fact) -> bool:
    """True for a number up to 12 without a unit."""
    return all(
        isinstance(atom, Quantity) and not atom.units and atom.value <= _SMALL_COUNT
        for reading in fact.readings
        for atom in reading
    )


def _absent(
    literals: Iterable[Literal], others: Iterable[Literal], index: LiteralIndex
) -> Iterator[Literal]:
    """The literals that are not in the other text or, of those that count, not as often."""
    counts = Counter(each.key for each in others if each.kind in _COUNTED)
    for literal in literals:
        if literal.kind in _COUNTED:
            counts[literal.key] -= 1
            if counts[literal.key] < 0:
                yield literal
        elif not index.has(literal):
            yield literal


def _missing(text: FactText, written: FactText) -> list[Finding]:
    """What is missing from a translation of its text."""
    index = FactIndex(written)
    found = []
    for fact in text.facts:
        if fact.checked and _comparable(fact, written) and index.problem(fact, text, derive=False):
            found.append((fact.start, text.text[fact.start : fact.end]))
    literals = LiteralIndex(written.prepared, written.literals)
    for literal in _absent(text.literals, written.literals, literals):
        found.append((literal.start, literal.text))
    return [Finding(" ".join(piece.split()), NOT_IN_TRANSLATION) for _, piece in sorted(found)]


def _finding(answer: str, start: int, end: int, why: str) -> Finding:
    return Finding(answer[start:end].strip(), why, start, end)


def _check(name: str, findings: list[Finding]) -> Check:
    ordered = tuple(sorted(findings, key=lambda each: each.start or 0))
    return Check(name, not ordered, found=len(ordered) or None, findings=ordered)
