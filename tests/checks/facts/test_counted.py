"""A number that the text has for another thing: "eleven lamps" for eleven planks and two lamps."""

from __future__ import annotations

import pytest

from mistral_cli.checks.check import Check
from mistral_cli.checks.facts.compare import check_facts

CONFUSED = [
    ("en", "It broke eleven planks and two lamps.", "They repair eleven lamps.", "eleven lamps"),
    ("en", "It broke eleven planks and two lamps.", "Two planks are broken.", "Two planks"),
    ("en", "It broke 11 planks and one lamp.", "They repair 11 broken lamps.", "11 broken lamps"),
    ("de", "Der Sturm zerbrach elf Bretter und zwei Lampen.", "Elf Lampen fehlen.", "Elf Lampen"),
    ("fr", "La tempête a cassé onze planches et deux lampes.", "Onze lampes.", "Onze lampes"),
    ("es", "Se rompieron once tablas y dos lámparas.", "Son once lámparas.", "once lámparas"),
    ("it", "Ha rotto undici assi e due lampade.", "Sono undici lampade.", "undici lampade"),
    ("pt", "Partiu onze tábuas e duas lâmpadas.", "São onze lâmpadas.", "onze lâmpadas"),
    ("nl", "Hij brak elf planken en twee lampen.", "Elf lampen zijn stuk.", "Elf lampen"),
    ("pl", "Zniszczyła jedenaście desek i dwie lampy.", "Jedenaście lamp.", "Jedenaście lamp"),
    ("ru", "Сломало одиннадцать досок и две лампы.", "Одиннадцать ламп.", "Одиннадцать ламп"),
    ("zh", "损坏了十一块木板和两盏灯。", "需要修理十一盏灯。", "十一盏灯"),
    ("ja", "十一枚の板と二個のランプが壊れた。", "十一個のランプを直す。", "十一個のランプ"),
]

RIGHT = [
    # the same thing, also in other words
    ("en", "It broke eleven planks and two lamps.", "Repairing 2 lamps and 11 broken planks."),
    ("de", "Elf alte Bretter und zwei Lampen sind kaputt.", "Elf Bretter und zwei alte Lampen."),
    ("en", "Two people died and 12 residents were hurt.", "12 people were hurt."),
    ("en", "It broke eleven planks. Lamps: 11. The two lamps at the end hold.", "Eleven lamps."),
    # a part of the things
    ("en", "Of the 40 applicants, 12 passed.", "12 applicants passed."),
    ("en", "Of 40 applicants, 12 women were admitted.", "12 applicants were admitted."),
    ("en", "45 seats are reserved, 20 of them for children.", "20 seats are for children."),
    # a sum
    ("en", "Two lamps and nine lamps broke, and eleven planks.", "Eleven lamps broke."),
]


def check(language: str, source: str, answer: str) -> tuple[Check, ...]:
    """The checks of a summary in the language of its text."""
    return check_facts(source, answer, mode="summary", language=language, source_language=language)


@pytest.mark.parametrize(("language", "source", "answer", "text"), CONFUSED)
def test_the_number_of_another_thing_is_found(
    language: str, source: str, answer: str, text: str
) -> None:
    checks = check_facts(
        source, answer, mode="summary", language=language, source_language=language
    )
    [finding] = [each for one in checks for each in one.findings]
    assert finding.text == text
    assert finding.start is not None
    assert answer[finding.start : finding.end] == text
    assert finding.why.startswith("the text has ")
    assert [each.name for each in checks if not each.ok] == ["numbers"]


@pytest.mark.parametrize(("language", "source", "answer"), RIGHT)
def test_a_number_may_belong_to_the_thing(language: str, source: str, answer: str) -> None:
    checks = check_facts(
        source, answer, mode="summary", language=language, source_language=language
    )
    assert not [each for one in checks for each in one.findings]


def test_the_reason_is_what_the_text_counts() -> None:
    source = "It broke eleven planks and two old lamps."
    [finding] = check("en", source, "Eleven lamps.")[0].findings
    assert finding.why == "the text has two old lamps"
