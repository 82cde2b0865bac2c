"""Pairs of a text and an answer with planted errors, and what the checks of facts make of them."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mistral_cli.checks.check import Finding
from mistral_cli.checks.facts.compare import check_facts

KINDS = ("numbers", "dates", "names", "units", "missing")


@dataclass(frozen=True)
class Pair:
    """A text, an answer, and the errors that were planted in it, each with its kind."""

    language: str
    source_language: str
    mode: Literal["summary", "translation"]
    source: str
    answer: str
    planted: tuple[tuple[str, str], ...] = ()


@dataclass
class Figures:
    """What the checks found in some pairs."""

    true: int = 0
    doubted: int = 0
    planted: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    strays: int = 0  # findings in answers with planted errors that are none of these
    complaints: list[str] = field(default_factory=list)


def read_pairs(folder: Path, pattern: str = "*.toml") -> Iterator[Pair]:
    """The pairs of the files of a folder."""
    for path in sorted(folder.glob(pattern)):
        for text in tomllib.loads(path.read_text(encoding="utf-8"))["text"]:
            language = text.get("language", path.stem)
            common = (language, text.get("from", language), text.get("mode", "summary"))
            source = text["source"].strip()
            for answer in text.get("true", ()):
                yield Pair(*common, source, answer.strip())
            for corrupted in text.get("corrupted", ()):
                planted = [(kind, each) for kind in KINDS for each in corrupted.get(kind, ())]
                yield Pair(*common, source, corrupted["answer"], tuple(planted))


def judge(pair: Pair, figures: Figures, *, named: bool = False) -> None:
    """Check a pair, and count what was found. With `named`, the languages are told."""
    checks = check_facts(
        pair.source,
        pair.answer,
        mode=pair.mode,
        language=pair.language if named else None,
        source_language=pair.source_language if named else None,
    )
    findings = [(check.name, each) for check in checks for each in check.findings]
    if not pair.planted:
        figures.true += 1
        figures.doubted += bool(findings)
        explained: set[int] = set()
    else:
        explained = _count_found(pair, findings, figures)
    for number, (name, each) in enumerate(findings):
        # What a wrong number replaces is missing in a translation too.
        if number not in explained and (name != "missing" or not pair.planted):
            figures.strays += bool(pair.planted)
            figures.complaints.append(
                f"{pair.language}: {name} {each.text!r} ({each.why}) in {pair.answer!r}"
            )


def _count_found(pair: Pair, findings: list[tuple[str, Finding]], figures: Figures) -> set[int]:
    """Count the planted errors that are among the findings; return the numbers of these."""
    explained = set()
    for kind, text in pair.planted:
        hits = {
            number
            for number, (name, each) in enumerate(findings)
            if _is_about(each, name, kind, text, pair.answer)
        }
        explained |= hits
        figures.planted[kind] += 1
        figures.found[kind] += bool(hits)
        if not hits:
            figures.complaints.append(f"{pair.language}: missed {kind} {text!r} in {pair.answer!r}")
    return explained


def _is_about(finding: Finding, name: str, kind: str, text: str, answer: str) -> bool:
    """True if a finding overlaps a planted error, or names what is missing."""
    if kind == "missing" or finding.start is None or finding.end is None:
        return kind == name == "missing" and (text in finding.text or finding.text in text)
    at = answer.find(text)
    return finding.start < at + len(text) and at < finding.end
