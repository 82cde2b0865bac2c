"""What an answer is compared with, and where its findings stand."""

from __future__ import annotations

import pytest

from mistral_cli.checks.check import Check, Finding, check_fields
from mistral_cli.generation.answer import Answer, Timings
from mistral_cli.generation.checking.content import Subject, facts_rule
from mistral_cli.generation.checking.options import FactsMode


@pytest.mark.parametrize(
    ("answer", "invented"),
    [("Windows 2025 ist da.", []), ("20 Leute.", ["20"]), ("Windows 2025 und 25 Leute.", ["25"])],
)
def test_a_term_of_the_glossary_excuses_only_itself(answer: str, invented: list[str]) -> None:
    subject = Subject("It is here.", language="German", known=("Windows 2025",))
    rule = facts_rule(subject, FactsMode.REPORT, translation=True)
    written = Answer(answer, "stop", 7, Timings(0, 1, 1))
    numbers = next(check for check in rule.run(written) if check.name == "numbers")
    assert [finding.text for finding in numbers.findings] == invented
    assert (numbers.ok, numbers.found) == (not invented, len(invented) or None)


def test_places_are_those_in_the_text_that_is_shown() -> None:
    answer = "\n\n  The two boats"
    place = answer.index("two")
    check = Check("numbers", ok=False, findings=(Finding("two", "", place, place + 3),))
    stripped = len(answer) - len(answer.lstrip())
    (finding,) = check_fields(check, stripped)["findings"]
    assert answer.strip()[finding["start"] : finding["end"]] == "two"
