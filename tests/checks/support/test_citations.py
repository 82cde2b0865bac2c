"""Which sentences of a text support those of an answer."""

from __future__ import annotations

import pytest
from support.supported_pairs import invented_cases, other_cases, true_cases

from mistral_cli.checks.support.citations import (
    LEAST_SUPPORT,
    Citation,
    check_support,
    find_citations,
    units_of,
)

TEXT = """# Minutes of 3 March

Present: Tom Reyes, Amara Singh. The marketing budget was cut from $120,000 to $95,000. Amara
will present the revised plan by 20 March. Tom objected that the trade fair in Lyon is expensive.

| town | visitors |
|---|---|
| Lyon | 4,100 |
| Turin | 2,350 |

- The next meeting is on March 24.
- Nobody took the minutes.
"""


def only(text: str, sentence: str) -> Citation:
    (citation,) = find_citations(text, sentence)
    return citation


def cited(text: str, sentence: str) -> list[str]:
    return [source.text for source in only(text, sentence).sources]


def test_a_sentence_names_the_sentence_with_its_words_and_its_place() -> None:
    citation = only(TEXT, "Amara is going to present a plan that is revised.")
    (source,) = citation.sources
    assert source.text == "Amara\nwill present the revised plan by 20 March."
    assert TEXT[source.start : source.end] == source.text
    assert (source.number, citation.supported) == (1, True)
    assert LEAST_SUPPORT <= citation.score < 1


@pytest.mark.parametrize(
    "sentence",
    ["They meet again on the 24th of March.", "Their next meeting: 24/3.", "Meeting: March 24th."],
)
def test_a_date_counts_in_every_spelling(sentence: str) -> None:
    assert cited(TEXT, sentence) == ["The next meeting is on March 24."]


def test_a_number_counts_by_its_value_and_another_one_does_not() -> None:
    right = only(TEXT, "The budget for marketing is 95 thousand dollars.")
    wrong = only(TEXT, "The budget for marketing is 96 thousand dollars.")
    assert [each.text for each in right.sources] == [
        "The marketing budget was cut from $120,000 to $95,000."
    ]
    assert right.score > wrong.score + 0.2


def test_a_sentence_may_need_two_sources_which_keep_their_numbers() -> None:
    answer = "Amara presents the revised plan. Tom finds the fair in Lyon expensive, and Amara \
presents a revised plan by 20 March."
    first, second = find_citations(TEXT, answer)
    assert [each.number for each in first.sources] == [1]
    assert sorted(each.number for each in second.sources) == [1, 2]
    assert answer[second.start : second.end].startswith("Tom finds")


def test_a_row_of_a_table_is_a_source() -> None:
    assert cited(TEXT, "2,350 visitors came to Turin.")[0].startswith("Turin | 2,350")


@pytest.mark.parametrize(
    "sentence", ["Elephants live in Africa.", "Sales rose by a third.", "It was 1999."]
)
def test_what_the_text_does_not_say_has_no_source(sentence: str) -> None:
    citation = only(TEXT, sentence)
    assert (citation.supported, citation.sources) == (False, ())
    check = check_support(sentence, (citation,))
    assert check is not None
    assert (check.name, check.ok, check.found) == ("support", False, 1)
    assert [each.text for each in check.findings] == [sentence]


@pytest.mark.parametrize(
    ("text", "sentence", "source"),
    [
        (
            "本小区将于6月8日停水。工程费用为三万五千元。如有疑问请致电陈经理。",
            "费用是35000元。",
            "工程费用为三万五千元。",
        ),
        (
            "エレベーターの点検を行います。費用は管理組合が負担します。駐車場は使えます。",
            "管理組合が費用を払います。",
            "費用は管理組合が負担します。",
        ),
        (
            "위원회는 월요일에 만났다. 그들은 새 배를 샀다. 회의는 짧았다.",
            "위원회는 새 배를 샀습니다.",
            "그들은 새 배를 샀다.",
        ),
        (
            "Комитет собрался в понедельник. Он купил новую лодку. Погода была хорошей.",
            "Комитетом куплена новая лодка.",
            "Он купил новую лодку.",
        ),
        (
            "Die Gemeinde kauft ein Boot. Die Kosten trägt der Verein. Es regnete.",
            "Der Verein trug alle Kosten.",
            "Die Kosten trägt der Verein.",
        ),
    ],
)
def test_every_script_and_inflection(text: str, sentence: str, source: str) -> None:
    assert source in cited(text, sentence)


def test_a_thai_text_without_full_stops_is_found() -> None:
    text = "คณะกรรมการประชุมวันจันทร์\n\nเทศบาลจะซ่อมถนนในเดือนหน้า\n\nอากาศดีมาก"
    assert cited(text, "เทศบาลซ่อมถนนเดือนหน้า") == ["เทศบาลจะซ่อมถนนในเดือนหน้า"]


def test_bullet_points_are_units_and_headings_are_none() -> None:
    answer = """## Summary

Main points:

- **Boats:**
- ---
- One came. It left.
  It is gone.
2. Two.

The end is near."""
    units = [answer[each.start : each.end] for each in units_of(answer)]
    assert units == ["One came. It left.\n  It is gone.", "Two.", "The end is near."]


def test_another_language_is_supported_by_names_and_numbers_only() -> None:
    answer = (
        "Das Budget für Werbung wurde von 120.000 auf 95.000 Dollar gekürzt, und zwar sofort. "
        "Die Stimmung in der Sitzung war gut, und alle gingen zufrieden nach Hause."
    )
    first, second = find_citations(TEXT, answer)
    assert (first.supported, second.supported) == (True, None)
    assert "$120,000 to $95,000" in first.sources[0].text
    assert second.sources == ()
    assert check_support(answer, (first, second)) is None


def test_the_place_is_right_in_a_long_text() -> None:
    filler = "\n\n".join(
        f"On day {day} they talked about boats and about houses. Nothing was decided."
        for day in range(2_000)
    )
    text = f"{filler}\n\nThen the harbour master resigned, e.g. for Mr. Hore. All wept.\n\n{filler}"
    (source,) = only(text, "The master of the harbour resigned for Hore.").sources
    assert source.text == "Then the harbour master resigned, e.g. for Mr. Hore."
    assert source.start == text.index(source.text)


@pytest.mark.parametrize("text", ["", "!!!", "\U0001f600", "a"])
def test_odd_texts_and_answers_are_no_error(text: str) -> None:
    for answer in ("", "!!!", "A cat.", "\U0001f600", "- \n-", "1."):
        for citation in find_citations(text, answer):
            assert 0 <= citation.score <= 1


def test_the_threshold_tells_summaries_from_inventions() -> None:
    """As measured by scripts/bench_support, with a margin."""
    true, other, invented = (
        [each.supported for case in cases for each in find_citations(case.text, case.answer)]
        for cases in (true_cases(), other_cases(), invented_cases())
    )
    assert len(true) > 350
    assert len(invented) > 50
    assert true.count(True) / len(true) > 0.84
    assert other.count(True) / len(other) < 0.08
    assert invented.count(True) / len(invented) < 0.08


def test_a_line_of_code_or_of_a_log_is_a_source() -> None:
    code = "Install it first.\n\n```console\n$ pip install boats\n$ boats list --all\n```\n"
    assert cited(code, "Use boats list to list all boats.")[0] == "$ boats list --all"
    log = "\n".join(f"2026-11-02T08:{n:02} INFO request {n} took {n} ms" for n in range(60))
    assert cited(log, "Request 41 took 41 ms at 08:41.") == [
        "2026-11-02T08:41 INFO request 41 took 41 ms"
    ]


def test_a_text_without_full_stops_is_cited_in_pieces() -> None:
    words = " ".join(f"w{number}ord" for number in range(3_000))
    citation = only(words, "It has w2000ord, w2001ord, w2002ord, w2003ord.")
    (source, *_) = citation.sources
    assert "w2001ord" in source.text
    assert len(source.text) <= 1_000
    assert words[source.start : source.end] == source.text
