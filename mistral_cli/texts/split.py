"""Splits a text that exceeds the context into parts that fit, at the text's own structure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator

from mistral_cli.errors import UsageError

_MAX_PARTS = 32  # the splitter's time grows with the square of the number of parts
_MAX_DENSITY = 8  # characters per token; if a 32nd of the text exceeds this, counting is pointless
_FILL = 0.97  # leaves room, because a cut at another place changes the number of tokens
_MIN_FILL = 0.75  # below this share of the target size, a part is extended to a weaker boundary

Count = Callable[[str], int]
"""Returns the number of tokens of a text."""


def split(text: str, count: Count, limit: int, *, markdown: bool) -> list[str]:
    """Split `text` into parts of about equal size, each of at most `limit` tokens.

    Cuts at headings, paragraphs, sentences, words or characters, whichever is the largest unit
    that fits. Neither `text` nor any part is blank. The search for a cut estimates tokens from
    characters, so that `count` sees the whole text only two or three times. Raises UsageError if
    a single character, or the whitespace between two words, does not fit.
    """
    return _merged(_parts(text, count, limit, markdown), count, limit)


def _parts(text: str, count: Count, limit: int, markdown: bool) -> Iterator[tuple[str, int]]:
    """Yield parts that fit, each with its tokens; some may be blank."""
    max_size = len(text) // _MAX_PARTS
    if max_size < _MAX_DENSITY * limit:
        tokens = count(text)
        if tokens <= limit:
            yield text, tokens
            return
        if len(text) == 1:
            raise _too_small(limit)
        size = int(len(text) * limit * _FILL / tokens)
        max_size = min(max(size, max_size, 1), len(text) - 1)
    for part in _balanced(text, max_size, markdown):
        yield from _parts(part, count, limit, markdown)


def _balanced(text: str, max_size: int, markdown: bool) -> Iterator[str]:
    """Yield parts of up to `max_size` characters, hardly more of them than needed."""
    start, parts = 0, 0
    while left := len(text) - start:
        parts = max(parts - 1, -(-left // max_size))
        part = _first(text[start : start + 2 * max_size], -(-left // parts), max_size, markdown)
        yield part
        start += len(part)


def _first(text: str, target: int, max_size: int, markdown: bool) -> str:
    """Return the first part: about `target` characters, up to a good boundary."""
    from semantic_text_splitter import MarkdownSplitter, TextSplitter

    splitter = MarkdownSplitter if markdown else TextSplitter
    size = 0
    while size < target * _MIN_FILL:  # the splitter never joins a short section to a long one
        sizes = min(target, max_size) - size, max_size - size
        size += len(splitter(sizes, trim=False).chunks(text[size:])[0])
    return text[:size]


def _merged(parts: Iterable[tuple[str, int]], count: Count, limit: int) -> list[str]:
    """Merge small neighbours, and blank parts with a neighbour that has words."""
    result: list[str] = []
    size = limit  # tokens of the last part, or slightly more
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
    """Split `text`, beside its first or last word, into two parts that fit and are not blank."""
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
        f"the text cannot be split: one character exceeds the {tokens} of a part",
        hint="Raise -c/--context-length, or lower -n/--max-tokens.",
    )


def _too_blank(limit: int) -> UsageError:
    return UsageError(
        f"the text cannot be split: a stretch of whitespace exceeds the {limit:,} tokens of a part",
        hint="Remove the whitespace first, for example with cat -s.",
    )


_JOINER = "\u200d"  # joins the parts of an emoji
_FIRST_TRY = 2000  # characters
_MAX_WORD = 200  # characters; a text with spaces has one within this distance
_WORD_ENDS = re.compile(r"(?s)\A(.*\S)\s")
_WORD_BEGINS = re.compile(r"\s(?=\S)")


def keep_head(text: str, fits: Callable[[str], bool]) -> str:
    """Return the longest start of `text` that fits, ending with a complete word if possible.

    Empty if nothing fits; at most 0.2 % and a word shorter than the longest possible.
    """
    length = _longest(len(text), lambda length: fits(text[:length]))
    while 0 < length < len(text):
        start = max(0, length - _MAX_WORD)
        word = _WORD_ENDS.search(text[start : length + 1])
        length = start + word.end(1) if word else _between_characters(text, length, -1)
        if fits(text[:length]):
            break
        length -= 1
    head = text[: max(length, 0)]
    return head if head.strip() else ""


def keep_tail(text: str, fits: Callable[[str], bool]) -> str:
    """Return the longest end of `text` that fits, starting with a complete word if possible.

    Empty if nothing fits.
    """
    start = len(text) - _longest(len(text), lambda length: fits(text[len(text) - length :]))
    while 0 < start < len(text):
        word = _WORD_BEGINS.search(text, start - 1, start + _MAX_WORD)
        start = word.end() if word else _between_characters(text, start, 1)
        if fits(text[start:]):
            break
        start += 1
    tail = text[start:]
    return tail if tail.strip() else ""


def _longest(length: int, fits: Callable[[int], bool]) -> int:
    """Return a number up to `length` that fits, while one 0.2 % larger does not; or 0."""
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
    """Move `cut` in the direction of `step` until it divides no accented letter or emoji."""
    while 0 < cut < len(text) and (
        unicodedata.combining(text[cut]) or _JOINER in text[cut - 1 : cut + 1]
    ):
        cut += step
    return cut
