"""Counting sentences."""

from __future__ import annotations

import pytest

from mistral_cli.texts.sentences import count_sentences


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("", 0),
        (" \n ...\n---\n", 0),
        ("No stop at the end", 1),
        ('Hello world. It costs 3.5 euros. "Why?" he asked. Yes!', 4),
        ("He lives in the U.S. It is nice there.", 2),
        ("The U.S. Government moved. Dr. No and Mr. And came.", 2),
        ("Read e.g. Fig. 3 of example.com. Then stop.", 2),
        ("He told me. Ann is ok. You may. Go!", 4),
        ("(He left.) She stayed.", 2),
        ('He said "Go. Now." Then he left.', 2),
        ("Wait... what? He left\u2026 She stayed.", 3),
        ("**Bold.** Then plain. _The end._", 3),
        ("- one\n- two goes\n  on\n- three. And four.", 4),
        ("1. First.\n2. Second", 2),
        ("# A title\nA text that\nis wrapped. Its end.\n\n\nA paragraph", 4),
        ("\u3053\u308c\u306f\u6587\u3067\u3059\u3002\u6b21\u306e\u6587\u3067\u3059\u3002", 2),
        ("\u4f60\u597d\u3002\u6211\u4eec\u8d70\u3002\u597d\u5417\uff1f\u662f\uff01", 4),
    ],
)
def test_counting(text: str, sentences: int) -> None:
    assert count_sentences(text) == sentences


def test_each_language_has_its_own_abbreviations() -> None:
    assert count_sentences("Das ist z. B. so. Und das auch.", "de") == 2
