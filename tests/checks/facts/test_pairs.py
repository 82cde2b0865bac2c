"""The checks of facts on texts with true and with corrupted answers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.checked_pairs import Figures, judge, read_pairs

from mistral_cli.checks.facts.compare import check_facts

PAIRS = Path(__file__).with_name("pairs")
MOST_DOUBTED = 0.02
LEAST_FOUND = 0.95


@pytest.mark.parametrize("named", [True, False], ids=["named languages", "recognized languages"])
def test_planted_errors_are_found_and_true_answers_are_not_doubted(named: bool) -> None:
    figures = Figures()
    for pair in [*read_pairs(PAIRS), *read_pairs(PAIRS / "held_back")]:
        judge(pair, figures, named=named)
    complaints = "\n".join(figures.complaints)
    assert figures.doubted <= MOST_DOUBTED * figures.true, complaints
    assert figures.found.total() >= LEAST_FOUND * figures.planted.total(), complaints
    assert figures.strays <= MOST_DOUBTED * figures.true, complaints


def test_a_sentence_of_the_text_is_not_doubted() -> None:
    pairs = [*read_pairs(PAIRS), *read_pairs(PAIRS / "held_back")]
    for source, language in sorted({(pair.source, pair.source_language) for pair in pairs}):
        for sentence in re.split(r"(?<=[.!?\u3002])\s+", source):
            checks = check_facts(source, sentence, mode="summary", source_language=language)
            assert not [each for check in checks for each in check.findings], sentence


def test_every_pair_is_what_its_file_says() -> None:
    pairs = [*read_pairs(PAIRS), *read_pairs(PAIRS / "held_back")]
    assert len(pairs) >= 450
    assert sum(pair.language != "en" for pair in pairs) >= 180
    for pair in pairs:
        for kind, text in pair.planted:
            assert text in (pair.source if kind == "missing" else pair.answer), text
