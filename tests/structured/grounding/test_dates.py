"""Written dates become ISO dates, if there is one way to read them."""

from __future__ import annotations

import json
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.grammars import admits

from mistral_cli.errors import OutputInvalid
from mistral_cli.structured.grounding.dates import written_dates
from mistral_cli.structured.spec import OutputSpec


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("on 3 May 2024.", "2024-05-03"),
        ("3rd of May, 2024", "2024-05-03"),
        ("Sept. 21, 2024", "2024-09-21"),
        ("DECEMBER 1st 1999", "1999-12-01"),
        ("24. December 2024", "2024-12-24"),
        ("from 1-3 May 2024", "2024-05-03"),
        ("13/05/2024", "2024-05-13"),
        ("05/13/2024", "2024-05-13"),
        ("05.05.2024", "2024-05-05"),
        ("31-1-2024", "2024-01-31"),
        ("2024/5/3", "2024-05-03"),
        ("2024-05-03", "2024-05-03"),
        ("29 February 2024", "2024-02-29"),
        ("03/05/2024", None),
        ("3.5.2024", None),
        ("29 February 2023", None),
        ("31/02/2024", None),
        ("13/14/2024", None),
        ("13/05/24", None),
        ("3 May", None),
        ("May 2024", None),
        ("1.13.05.2024", None),
        ("13.05.2024.1", None),
        ("x13/05/2024", None),
        ("3 Mayor 2024", None),
        ("3 May 20245", None),
    ],
)
def test_a_date_has_one_meaning_or_none(text: str, iso: str | None) -> None:
    assert [found for found, _ in written_dates(text)] == ([iso] if iso else [])


@given(st.dates(), st.sampled_from(["%d %B %Y", "%b %d, %Y", "%Y/%m/%d"]))
def test_every_date_is_read_back(day: date, form: str) -> None:
    text = day.strftime(form.replace("%Y", f"{day.year:04}"))
    assert [*written_dates(f"({text})")] == [(day.isoformat(), (1, len(text) + 1))]


def test_a_date_is_grounded_in_the_way_in_which_the_text_writes_it() -> None:
    bound = OutputSpec({"type": "string", "format": "date"}, grounded=True).bind(
        "Due on 3 May\n2024, not 03/05/2025, paid 2024-06-01."
    )
    for good in ("2024-05-03", "2024-06-01"):
        assert admits(bound.grammar, json.dumps(good))
    for bad in ("2025-05-03", "2025-03-05", "3 May 2024"):
        assert not admits(bound.grammar, json.dumps(bad))
    extraction = bound.parse('"2024-05-03"')
    (span,) = extraction.spans
    assert (extraction.data, bound.text[span.start : span.end]) == ("2024-05-03", "3 May\n2024")


def test_limits_of_the_schema_hold_for_written_dates() -> None:
    schema = {"type": "string", "format": "date", "pattern": "^2023"}
    with pytest.raises(OutputInvalid, match="no string"):
        OutputSpec(schema, grounded=True).bind("3 May 2024").check()


def test_a_string_without_the_format_is_a_span() -> None:
    bound = OutputSpec({"type": "string"}, grounded=True).bind("3 May 2024")
    assert admits(bound.grammar, '"3 May 2024"')
    assert not admits(bound.grammar, '"2024-05-03"')
