"""The language of an answer: names that users give, right and wrong languages, what is unsure."""

from __future__ import annotations

from pathlib import Path

import pytest

from mistral_cli.checks.language import check_language, named_language

TEXTS = dict(
    line.split(" | ", 1)
    for line in Path(__file__).with_name("languages.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
)


def test_every_text_is_in_its_language_and_in_no_other() -> None:
    for language, text in TEXTS.items():
        for asked in TEXTS:
            check = check_language(text, asked)
            assert check is not None, (language, asked)
            similar = {language, asked} in ({"Arabic"}, {"Danish", "Norwegian"})
            assert check.ok == (language == asked) or similar, (language, asked)
            if not check.ok and check.found and "script" not in str(check.found):
                assert check.found == language


@pytest.mark.parametrize(
    ("name", "code"),
    [
        *[("French", "fr"), ("fr", "fr"), ("FRA", "fr"), ("pt-BR", "pt"), ("zh_Hant", "zh")],
        *[
            ("Deutsch", "de"),
            ("fran\u00e7ais", "fr"),
            ("\u65e5\u672c\u8a9e", "ja"),
            ("italien", "it"),
        ],
        *[("plain English", "en"), ("Brazilian Portuguese", "pt"), ("Norwegian Bokm\u00e5l", "no")],
        *[
            ("nn", "no"),
            ("Latin American Spanish", "es"),
            ("Latin", "la"),
            ("Scottish Gaelic", "gd"),
        ],
        *[
            ("Simplified Chinese", "zh"),
            ("English (UK)", "en"),
            ("Farsi", "fa"),
            ("Filipino", "tl"),
        ],
        *[("Klingon", None), ("Old English", None), ("English and German", None), ("", None)],
        *[("Hindi in Latin script", None), ("the language of the text", None), ("Pig Latin", None)],
    ],
)
def test_languages_are_known_by_the_names_that_users_give(name: str, code: str | None) -> None:
    assert named_language(name) == code


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Berlin, Paris, Rome", "French"),  # too short
        ("Ja.", "German"),
        ("42", "Russian"),
        ("", "English"),
        (TEXTS["English"], "Klingon"),
        ("```\nfor item in items:\n    print(item, end='')\n```", "French"),
        ("https://example.com/the-committee-met-on-tuesday-and-decided/close", "French"),
        # A Norwegian text may look Danish.
        (TEXTS["Danish"], "Norwegian"),
    ],
)
def test_what_cannot_be_told_is_no_failure(text: str, language: str) -> None:
    check = check_language(text, language)
    assert check is None or check.ok


@pytest.mark.parametrize(
    ("text", "language"),
    [
        (f'Le titre est "{TEXTS["English"]}" dans le texte original de la commission.', "French"),
        (f"{TEXTS['Russian']} Python 3.11 with the REST API of 2026", "Russian"),
        (
            "Python 3.11 \u306e venv \u3092 pip install \u3067\u6e96\u5099\u3057\u307e\u3059\u3002",
            "Japanese",
        ),
        ("\u6771\u4eac\u90fd\u77e5\u4e8b\u9078\u6319", "Japanese"),  # a headline without kana
        (
            "Der Code:\n\n```\n" + "print the text of the item\n" * 9 + "```\n" + TEXTS["German"],
            "de",
        ),
        ("| Name | Stadt |\n|---|---|\n| Ann Smith | New York |", "German"),
    ],
)
def test_quotations_code_and_names_are_no_other_language(text: str, language: str) -> None:
    check = check_language(text, language)
    assert check is None or check.ok
