"""ROUGE (Lin 2004, https://aclanthology.org/W04-1013): the words that a summary and another share.

The F1 of rouge_score without its stemmer, which is for English. Words are found in every script;
a script without spaces has its characters compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import regex

from mistral_cli.evaluation.metrics.metric import f1

_NO_SPACES = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_WORD = regex.compile(rf"[{_NO_SPACES}]|[[\p{{L}}\p{{M}}\p{{N}}]--[{_NO_SPACES}]]+", regex.V1)


def words_of(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return _WORD.findall(text.lower())


def rouge_n(expected: Sequence[str], words: Sequence[str], n: int) -> float:
    """The F1 of the n-grams that two texts share, each as often as in both."""
    known, found = _ngrams(expected, n), _ngrams(words, n)
    hits = (known & found).total()
    return f1(hits, found.total() - hits, known.total() - hits)


def rouge_l(expected: Sequence[str], words: Sequence[str]) -> float:
    """The F1 of the longest common subsequence of the words."""
    hits = _common(expected, words)
    return f1(hits, len(words) - hits, len(expected) - hits)


def _ngrams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(words[start:] for start in range(n)), strict=False))


def _common(first: Sequence[str], second: Sequence[str]) -> int:
    """The length of the longest common subsequence."""
    row = [0] * (len(second) + 1)
    for word in first:
        before = 0  # the cell above and to the left
        for column, other in enumerate(second, start=1):
            above = row[column]
            row[column] = before + 1 if word == other else max(above, row[column - 1])
            before = above
    return row[-1]
