"""A text too long for the context → parts that fit, cut at its own structure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator

from mistral_cli.errors import UsageError

_AT_ONCE = 32  # the splitter's time grows with the square of the number of parts
_FAR_TOO_LONG = 8  # characters for a token: a 32nd of such a text is too long, without counting
_FULL = 0.97  # a part as dense as the whole text shall fit though it is cut at another place
_ENOUGH = 0.75  # of the size wanted: below it a part is worth a cut at a lesser place

Count = Callable[[str], int]
"""How many tokens a text is."""


def split(text: str, count: Count, limit: int, *, markdown: bool) -> list[str]:
    """Parts of about equal size that together are `text`, each of at most `limit` tokens.

    Cuts at headings, paragraphs, sentences, words or characters, whichever is the largest
    that fits. `text` is not blank, and no part is. Lengths in characters stand in for tokens
    while a cut is looked for, so `count` sees the text only two or three times over. Raises
    UsageError if a character, or the blank space between two words, does not fit.
    """
    return _gathered(_parts(text, count, limit, markdown), count, limit)


def _parts(text: str, count: Count, limit: int, markdown: bool) -> Iterator[tuple[str, int]]:
    """Parts that fit, each with its tokens; some may be blank."""
    at_most = len(text) // _AT_ONCE
    if at_most < _FAR_TOO_LONG * limit:
        tokens = count(text)
        if tokens <= limit:
            yield text, tokens
            return
        if len(text) == 1:
            raise _too_small(limit)
        size = int(len(text) * limit * _FULL / tokens)
        at_most = min(max(size, at_most, 1), len(text) - 1)
    for part in _balanced(text, at_most, markdown):
        yield from _parts(part, count, limit, markdown)


def _balanced(text: str, at_most: int, markdown: bool) -> Iterator[str]:
    """Parts of up to `at_most` characters, hardly more of them than needed."""
    start, parts = 0, 0
    while left := len(text) - start:
        parts = max(parts - 1, -(-left // at_most))
        part = _first(text[start : start + 2 * at_most], -(-left // parts), at_most, markdown)
        yield part
        start += len(part)


def _first(text: str, wanted: int, at_most: int, markdown: bool) -> str:
    """The beginning of `text`: of `wanted` characters, or as many as reach a better place."""
    from semantic_text_splitter import MarkdownSplitter, TextSplitter

    splitter = MarkdownSplitter if markdown else TextSplitter
    size = 0
    while size < wanted * _ENOUGH:  # the splitter puts no short section before a long one
        sizes = min(wanted, at_most) - size, at_most - size
        size += len(splitter(sizes, trim=False).chunks(text[size:])[0])
    return text[:size]


def _gathered(parts: Iterable[tuple[str, int]], count: Count, limit: int) -> list[str]:
    """The parts, small neighbours in one, and the blank ones joined to words beside them."""
    result: list[str] = []
    size = limit  # tokens of the last part, or a little more
    for part, tokens in parts:
        blank = bool(result) and not (part.strip() and result[-1].strip())
        joined = result[-1] + part if blank or size + tokens <= limit else ""
        if joined and count(joined) <= limit:
            result[-1], size = joined, size + tokens
        elif blank:
            result[-1:], size = _divided(joined, count, limit), limit
        else:
            result.append(part)
            size = tokens
    if not all(map(str.strip, result)):
        raise _too_blank(limit)
    return result


def _divided(text: str, count: Count, limit: int) -> list[str]:
    """`text` in two parts that fit and are not blank, cut beside its first or last word."""
    words, start, end = text.split(), len(text) - len(text.lstrip()), len(text.rstrip())
    if words:
        for cut in (end - len(words[-1]), start + len(words[0]), end - 1, start + 1):
            halves = [text[:cut], text[cut:]]
            if all(half.strip() and count(half) <= limit for half in halves):
                return halves
    raise _too_blank(limit)


def _too_small(limit: int) -> UsageError:
    tokens = "1 token" if limit == 1 else f"{limit:,} tokens"
    return UsageError(
        f"the text cannot be split: parts of {tokens} do not hold one character",
        hint="Raise -c/--context-length, or lower -n/--max-tokens.",
    )


def _too_blank(limit: int) -> UsageError:
    return UsageError(
        f"the text cannot be split: it has blank space of more than {limit:,} tokens in one place",
        hint="Take the blank space out first, for instance with cat -s.",
    )


_JOINER = "\u200d"  # between the parts of an emoji
_FIRST_TRY = 2000  # characters
_REACH = 200  # characters within which a text with spaces has one
_WORD_ENDS = re.compile(r"(?s)\A(.*\S)\s")
_WORD_BEGINS = re.compile(r"\s(?=\S)")


def keep_head(text: str, fits: Callable[[str], bool]) -> str:
    """The longest beginning of `text` that `fits`, ending with a word where there are words.

    Empty if nothing fits; short of the longest by 0.2 % at most and a word.
    """
    length = _longest(len(text), lambda length: fits(text[:length]))
    while 0 < length < len(text):
        start = max(0, length - _REACH)
        word = _WORD_ENDS.search(text[start : length + 1])
        length = start + word.end(1) if word else _between_characters(text, length, -1)
        if fits(text[:length]):
            break
        length -= 1
    head = text[: max(length, 0)]
    return head if head.strip() else ""


def keep_tail(text: str, fits: Callable[[str], bool]) -> str:
    """The longest end of `text` that `fits`, beginning with a word where there are words.

    Empty if nothing fits.
    """
    start = len(text) - _longest(len(text), lambda length: fits(text[len(text) - length :]))
    while 0 < start < len(text):
        word = _WORD_BEGINS.search(text, start - 1, start + _REACH)
        start = word.end() if word else _between_characters(text, start, 1)
        if fits(text[start:]):
            break
        start += 1
    tail = text[start:]
    return tail if tail.strip() else ""


def _longest(length: int, fits: Callable[[int], bool]) -> int:
    """A number up to `length` that fits, where one that is larger by 0.2 % does not, or 0."""
    low, high = 0, min(_FIRST_TRY, length)
    while fits(high):
        if high == length:
            return length
        low, high = high, min(2 * high, length)
    while high - low > 1 + low // 500:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _between_characters(text: str, cut: int, step: int) -> int:
    """`cut`, or the next place in the direction of `step` that divides no accented letter."""
    while 0 < cut < len(text) and (
        unicodedata.combining(text[cut]) or _JOINER in text[cut - 1 : cut + 1]
    ):
        cut += step
    return cut
