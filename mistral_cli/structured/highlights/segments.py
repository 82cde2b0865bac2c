"""A text cut into segments, so that spans which overlap can be shown without repeating it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice, pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from mistral_cli.structured.grounding.text_index import CharSpan, TextIndex
    from mistral_cli.structured.highlights.values import PlacedValue

_BLOCK = 4000  # characters; a browser lays out only the blocks that are on the screen
_LISTED_NAMES = 5
_SHORTEST_REPEAT, _MOST_REPEATS = 2, 100  # characters of a value, and its repeats in the text
_MOST_SEARCHED = 10**9  # characters; 2 s of searching for repeats


@dataclass(frozen=True)
class MarkedText:
    """A segment of the text; with `value`, the number of the innermost value that covers it.

    `outer` is the number of the outermost one, and `label` names all of them. A segment that is
    not `strong` only repeats the value.
    """

    text: str
    value: int | None = None
    outer: int | None = None
    label: str = ""
    strong: bool = False


class _Cover(NamedTuple):
    """A span, and the numbers of the values that have it."""

    start: int
    end: int
    values: tuple[int, ...]
    strong: bool


def cut(text: str, values: Sequence[PlacedValue], index: TextIndex) -> list[list[MarkedText]]:
    """Return the segments of `text` in blocks; joined, they are the text."""
    return list(_blocks(_segments(text, _covers(values, index), values)))


def first_segments(
    blocks: Sequence[Sequence[MarkedText]], values: Sequence[PlacedValue]
) -> list[int]:
    """Return for each value the number of the segment with its first character; -1 without one."""
    starts, at, number = dict[int, int](), 0, 0
    for block in blocks:
        for segment in block:
            starts[at] = number
            at, number = at + len(segment.text), number + 1
    return [starts[value.span[0]] if value.span else -1 for value in values]


def _covers(values: Sequence[PlacedValue], index: TextIndex) -> list[_Cover]:
    """Return the spans of the values, then the places that repeat their words."""
    spans: dict[CharSpan, list[int]] = {}
    for number, value in enumerate(values):
        if value.span:
            spans.setdefault(value.span, []).append(number)
    covers = [_Cover(*span, tuple(numbers), True) for span, numbers in spans.items()]
    words: dict[str, tuple[int, ...]] = {}
    for cover in covers:
        words.setdefault(index.text[cover.start : cover.end], cover.values)
    if len(words) * len(index.text) > _MOST_SEARCHED:
        return covers
    for word, numbers in words.items():
        if len(word) >= _SHORTEST_REPEAT:
            for span in islice(index.occurrences(word), _MOST_REPEATS):
                if span not in spans:
                    covers.append(_Cover(*span, numbers, False))
    return covers


def _segments(
    text: str, covers: Sequence[_Cover], values: Sequence[PlacedValue]
) -> Iterator[MarkedText]:
    starts = {at: list(group) for at, group in _grouped(covers)}
    edges = sorted({0, len(text)}.union(*((each.start, each.end) for each in covers)))
    active: list[_Cover] = []
    for start, end in pairwise(edges):
        active = [each for each in active if each.end > start] + starts.get(start, [])
        part = text[start:end]
        if not active:
            yield MarkedText(part)
            continue
        strong = [each for each in active if each.strong]
        shown = sorted(strong or active, key=lambda each: each.end - each.start)
        names = [values[number].name for each in shown for number in each.values]
        label = ", ".join(names[:_LISTED_NAMES])
        if len(names) > _LISTED_NAMES:
            label += f" and {len(names) - _LISTED_NAMES} more"
        label = label if strong else f"{label} (again)"
        yield MarkedText(part, shown[0].values[0], shown[-1].values[0], label, bool(strong))


def _grouped(covers: Sequence[_Cover]) -> Iterator[tuple[int, Iterator[_Cover]]]:
    return groupby(sorted(covers, key=lambda each: each.start), key=lambda each: each.start)


def _blocks(segments: Iterator[MarkedText]) -> Iterator[list[MarkedText]]:
    """Group the segments; a block ends after a line, outside a value, so nobody sees its end."""
    block, size = list[MarkedText](), 0
    for segment in segments:
        rest = segment.text
        while segment.value is None and size + len(rest) > _BLOCK:
            line_end = rest.find("\n", max(_BLOCK - size, 0)) + 1
            if not line_end:
                break
            yield [*block, MarkedText(rest[:line_end])]
            block, size, rest = [], 0, rest[line_end:]
        if rest:
            block.append(segment if rest is segment.text else MarkedText(rest))
            size += len(rest)
    if block:
        yield block
