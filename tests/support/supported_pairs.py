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
LATER = ("notices.toml", "real_texts.toml")
INVENTED = CHECKS / "support" / "invented.toml"


class Case(NamedTuple):
    """An answer and a text that may support it."""

    text: str
    answer: str


def summaries(*, later: bool = False) -> list[Pair]:
    """The true summaries among the pairs of texts and answers.

    `later` are those that came when the score was made and its constants were chosen.
    """
    new = [pair for name in LATER for pair in read_pairs(PAIRS, name)]
    old = [pair for folder in (PAIRS, PAIRS / "held_back") for pair in read_pairs(folder)]
    return [
        pair
        for pair in (new if later else old)
        if pair.mode == "summary"
        and not pair.planted
        and pair.language == pair.source_language
        and (later or pair not in new)
    ]


def true_cases(*, later: bool = False) -> Iterator[Case]:
    """The true summaries with their texts."""
    for pair in summaries(later=later):
        yield Case(pair.source, pair.answer)


def other_cases(*, later: bool = False) -> Iterator[Case]:
    """Each summary with all other texts in its language."""
    texts: dict[str, list[str]] = defaultdict(list)
    for pair in summaries(later=later):
        if pair.source not in texts[pair.language]:
            texts[pair.language].append(pair.source)
    for pair in summaries(later=later):
        if others := [text for text in texts[pair.language] if text != pair.source]:
            yield Case("\n\n".join(others), pair.answer)


def invented_cases() -> Iterator[Case]:
    """Sentences about the subjects of the texts that these do not say."""
    sources = {pair.source for pair in summaries()}
    for table in tomllib.loads(INVENTED.read_text(encoding="utf-8"))["text"]:
        (text,) = (source for source in sources if source.startswith(table["begins"]))
        for sentence in table["sentences"]:
            yield Case(text, sentence)
