"""Sentences that their text supports, and sentences that it does not, for the score of support."""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from support.checked_pairs import Pair, read_pairs

CHECKS = Path(__file__).parents[1] / "checks"
PAIRS = CHECKS / "facts" / "pairs"
INVENTED = CHECKS / "support" / "invented.toml"


class Case(NamedTuple):
    """An answer and a text that may support it."""

    text: str
    answer: str


def summaries() -> list[Pair]:
    """The true summaries among the pairs of texts and answers."""
    pairs = (pair for folder in (PAIRS, PAIRS / "held_back") for pair in read_pairs(folder))
    return [
        pair
        for pair in pairs
        if pair.mode == "summary" and not pair.planted and pair.language == pair.source_language
    ]


def true_cases() -> Iterator[Case]:
    """The true summaries with their texts."""
    for pair in summaries():
        yield Case(pair.source, pair.answer)


def other_cases() -> Iterator[Case]:
    """Each summary with all other texts in its language."""
    texts: dict[str, list[str]] = defaultdict(list)
    for pair in summaries():
        if pair.source not in texts[pair.language]:
            texts[pair.language].append(pair.source)
    for pair in summaries():
        if others := [text for text in texts[pair.language] if text != pair.source]:
            yield Case("\n\n".join(others), pair.answer)


def invented_cases() -> Iterator[Case]:
    """Sentences about the subjects of the texts that these do not say."""
    sources = {pair.source for pair in summaries()}
    for table in tomllib.loads(INVENTED.read_text(encoding="utf-8"))["text"]:
        (text,) = (source for source in sources if source.startswith(table["begins"]))
        for sentence in table["sentences"]:
            yield Case(text, sentence)
