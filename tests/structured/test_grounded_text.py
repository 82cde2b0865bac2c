"""Free text whose numbers, codes and addresses are those of a source."""

from __future__ import annotations

import random

import pytest
from support.grammars import admitted

from mistral_cli.errors import OutputInvalid
from mistral_cli.structured.grounded_text import grounded_text_grammar

SOURCE = """The committee met on 17 May 2024 at 14:30. It bought 3 boats for 40,000 EUR
(INV-2024/17, ISO-9001) of 2.5 kg, 12.5% more. Ask john.doe@acme.com or see
https://acme.com/a?b=1. COVID-19 cost 1,234.50 in 2010-2015, the 1990s; a 7-month plan came 1st.
40 500 people, 2023\u5e74, v1.2.3, 50/month, ext. 555-1234, 3 pm, CO\u2082, x\u00b2, 06/03/2022."""

GROUNDED = """
The committee met.
Well-known and/or e.g. this... "that" (so) \u2013 ok\u2014fine; it's A/B, isn't it?
end.it now|dot-com|a https link|C. and D.|*So* it_is: **good**!|\u00e9t\u00e9 \u65e5\u672c
It met on 17 May 2024, at 14:30 (2:30 pm).|14h30|14.30 Uhr|15:00|3 p.m.|um 15 Uhr
40,000|40.000|40000|40'000|40 000|40\u00a0000|40\u202f000 boats|\u20ac40,000.|$40,000 (40,000)
1,234.50|1.234,50|1 234,50|2,5 kg|2.5kg|12,5 %|12.5 per cent|40500
17.05.2024|17.5.2024|2024-05-17|5/17/2024|17/05/2024|am 17.05. war
2024\u5e745\u670817\u65e5
INV-2024/17|inv-2024/17|ISO-9001|ISO 9001|ISO9001|Covid-19|COVID 19|v1.2.3|CO2|CO\u2082
john.doe@acme.com|John.Doe@ACME.com|https://acme.com/a?b=1|acme.com/a?b=1|ask acme.com now.
7-month|the 3rd|3-Monats-Frist|7 months|7\u6708|mid-2024|2024's|50/week|50 a month|2024:ss\u00e4
2010\u20132015|from 2010 to 2015|the 1990s|die 1990er|**3** boats|[3]|3,|1234|555
2022-03-06|2022-06-03|3/6/2022|on 3 June|am 6. M\u00e4rz 2022
"""

INVENTED = """
40|400|4000|40,00|4,0000|5|40,0000|3.5|17.6|2025|1,23|1.5|\u0663|\u00bd|x\u00b3|\u2467
18 May 2024|17.06.2024|2024-05-18|14:31|4 boats|2:31 pm|16:00
INV-2024/18|INV-2024/1|INV-20|ISO-9002|ISO 9002|COVID-20|v1.2.4|v1.2|A1|H2O|1990|1980s
jane.doe@acme.com|john.doe@acme.org|doe@acme|https://acme.com/a?b=2|https://x.y|www.acme.net|foo.com
http://acme.com/b|acme.de/x|see example.org/path
4-month|3-X|3x|x3|2nd|60. Sixtieth|Then 9. Ninth|10%|9/month|2024/17|3:17|3,17|2010-2024
3.2024|40-500|mid-2025|mid-3-4|40,000,000|12.5.5
"""


LISTS = ("1. First\n2. Second\n  10) Tenth", "- a\n- 7-month", "# 1. Title", "So:\n\n**1. It**")


def lines(texts: str) -> list[str]:
    return [text for line in texts.strip().splitlines() for text in line.split("|")]


def test_words_and_the_spellings_of_the_source_are_admitted() -> None:
    texts = [*lines(GROUNDED), *(f"So it says: {each} And so on." for each in lines(GROUNDED))]
    texts += [*LISTS, SOURCE]
    assert set(texts) - {*admitted(grounded_text_grammar(SOURCE), texts)} == set()


def test_nothing_else_with_a_digit_is_admitted() -> None:
    sentences = [f"See {text} or" for text in lines(INVENTED)]
    assert admitted(grounded_text_grammar(SOURCE), sentences) == []


def test_a_source_without_numbers_has_a_grammar() -> None:
    texts = ["1. A text\n2. of words, without a number.", "In 2024."]
    for source in ("", "Nothing here.", "Only A1 and b@c.de"):
        assert admitted(grounded_text_grammar(source), texts) == texts[:1]


def test_any_source_admits_itself() -> None:
    """Whatever a text writes, its translation may write, too."""
    choice = random.Random(7)
    marks = " ,.:;-/'()%$#*=&?+~^|<>{}[]\\\"\u2019\u2013\u00b7\u00b2\u00bd\u2460\u5e74\u00e9\u00a0"
    pieces = [*marks, "12", "7", "000", "1st", "kg", "May", "x", "COM", "A-1", "a.b", "\n", " "]
    for _ in range(40):
        source = "".join(choice.choices(pieces, k=20))
        assert admitted(grounded_text_grammar(source), [source]), source


def test_too_many_numbers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert grounded_text_grammar("https://a.de/" + "ab" * 4000)  # deep, but small
    monkeypatch.setattr("mistral_cli.structured.grounded_text._MAX_SIZE", 10_000)
    with pytest.raises(OutputInvalid, match="too many for --grounded"):
        grounded_text_grammar(" ".join(map(str, range(1000, 3000))))


def test_the_digits_of_scripts_without_spaces_are_those_of_the_text() -> None:
    grammar = grounded_text_grammar("\u0e23\u0e32\u0e04\u0e32\u0e51\u0e54\u0e1a\u0e32\u0e17")
    fourteen, nine = "\u0e23\u0e32\u0e04\u0e32\u0e51\u0e54", "\u0e23\u0e32\u0e04\u0e32\u0e59"
    assert admitted(grammar, [fourteen, nine, "\u1045 boats"]) == [fourteen]
