"""Numbers of a batch → bars: where each one stands, in percent of the drawing.

Percentages keep the drawing as wide as the page makes it and its labels at their size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mistral_cli.batch.progress import duration

_SPANS = 60  # of a throughput plot, at most
_CLASSES = 24  # of a histogram
_CLOCK_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600)


@dataclass(frozen=True)
class Work:
    """The tokens of one row and when they were computed, in seconds since the batch began."""

    finished: float
    prompt_seconds: float
    answer_seconds: float
    prompt_tokens: int
    answer_tokens: int


@dataclass(frozen=True)
class Bar:
    """One bar: its parts from the bottom up as `(top, height)`, all in percent."""

    x: float
    width: float
    parts: tuple[tuple[float, float], ...]
    title: str


@dataclass(frozen=True)
class Chart:
    """Bars and the labels of both axes, each with its place in percent."""

    name: str
    summary: str
    bars: tuple[Bar, ...]
    x_labels: tuple[tuple[float, str], ...]
    y_labels: tuple[tuple[float, str], ...]
    legend: tuple[str, ...] = ()


def throughput(work: Sequence[Work]) -> Chart | None:
    """Tokens a second against time; None if no row says when it was finished.

    A row's tokens are spread over the time that they took, not counted at its end.
    """
    end = max((each.finished for each in work), default=0.0)
    if end <= 0:
        return None
    span = _clock_step(end / _SPANS)
    spans = math.ceil(end / span)
    widths = [min(span, end - number * span) for number in range(spans)]
    prompt, answer = [0.0] * spans, [0.0] * spans
    for each in work:
        _spread(answer, span, each.finished, each.answer_seconds, each.answer_tokens)
        begun = each.finished - each.answer_seconds
        _spread(prompt, span, begun, each.prompt_seconds, each.prompt_tokens)
    rates = [(a / w, p / w) for a, p, w in zip(answer, prompt, widths, strict=True)]
    top, y_labels = _y_axis(max(map(sum, rates)))
    bars = []
    for number, (rate, width) in enumerate(zip(rates, widths, strict=True)):
        start = number * span
        title = (
            f"{_clock(start, span)} to {_clock(start + width, span)}: "
            f"{rate[0]:,.1f} answer and {rate[1]:,.1f} prompt tokens/s"
        )
        x, share = 100 * start / end, 100 * width / end
        bars.append(Bar(x, share, _stacked(rate, top), title))
    return Chart(
        "Tokens a second over time",
        f"{sum(answer) / end:,.1f} answer and {sum(prompt) / end:,.1f} prompt tokens/s on average",
        tuple(bars),
        _time_labels(end),
        y_labels,
        ("answer", "prompt"),
    )


def histogram(name: str, lengths: Iterable[int]) -> Chart | None:
    """How many rows have how many tokens; None without rows.

    A few very long rows do not squeeze the others: they share the last bar.
    """
    ordered = sorted(lengths)
    if not ordered:
        return None
    longest, typical = ordered[-1], ordered[(len(ordered) - 1) * 98 // 100]
    step = max(1, round(_nice(max(typical, 1) / _CLASSES)))
    classes = longest // step + 1
    if classes > 2 * _CLASSES:
        classes = typical // step + 2
    counts = [0] * classes
    for length in ordered:
        counts[min(length // step, classes - 1)] += 1
    beyond = longest // step >= classes
    top, y_labels = _y_axis(max(counts), whole=True)
    width = 100 / classes
    median = ordered[(len(ordered) - 1) // 2]
    bars = tuple(
        Bar(
            number * width + 0.06 * width,
            0.88 * width,
            _stacked((count,), top),
            _class_title(number * step, step, count, last=beyond and number == classes - 1),
        )
        for number, count in enumerate(counts)
    )
    return Chart(
        name,
        f"Rows by number of tokens; median {median:,}, longest {longest:,}",
        bars,
        _class_labels(classes, step, beyond=beyond),
        y_labels,
    )


def _spread(into: list[float], span: float, end: float, seconds: float, tokens: int) -> None:
    """Add `tokens` to the spans of time that the `seconds` before `end` fall into."""
    end = max(end, 0.0)
    start = max(end - seconds, 0.0)
    last = min(int(end / span), len(into) - 1)
    first = min(int(start / span), last)
    if first == last:
        into[last] += tokens
        return
    for number in range(first, last + 1):
        overlap = min(end, (number + 1) * span) - max(start, number * span)
        into[number] += tokens * max(overlap, 0.0) / (end - start)


def _stacked(values: Sequence[float], top: float) -> tuple[tuple[float, float], ...]:
    parts, reached = [], 0.0
    for value in values:
        reached += value
        parts.append((100 - 100 * reached / top, 100 * value / top))
    return tuple(parts)


def _y_axis(highest: float, *, whole: bool = False) -> tuple[float, tuple[tuple[float, str], ...]]:
    """The value at the top of the drawing, and labels from 0 to it."""
    step = _nice(max(highest, 1e-9) / 4)
    step = max(step, 1) if whole else step
    lines = math.ceil(highest / step) or 1
    top = lines * step
    return top, tuple((100 - 100 * n / lines, f"{n * step:,.12g}") for n in range(lines + 1))


def _time_labels(end: float) -> tuple[tuple[float, str], ...]:
    step = _clock_step(end / 5)
    labels = range(math.floor(end / step) + 1)
    return tuple((100 * n * step / end, _clock(n * step, step)) for n in labels)


def _class_labels(classes: int, step: int, *, beyond: bool) -> tuple[tuple[float, str], ...]:
    every = max(1, round(_nice(classes / 6)))
    last = f"{(classes - 1) * step:,}+"
    labels = [(100 * n / classes, f"{n * step:,}") for n in range(0, classes, every)]
    if not beyond:
        return tuple(labels)
    near = 100 - 80 / 6
    return (*(label for label in labels if label[0] < near), (100 - 100 / classes, last))


def _class_title(start: int, step: int, count: int, *, last: bool) -> str:
    rows = f"{count:,} row" if count == 1 else f"{count:,} rows"
    if last:
        return f"{start:,} tokens and more: {rows}"
    end = f" to {start + step - 1:,}" if step > 1 else ""
    return f"{start:,}{end} tokens: {rows}"


def _clock(seconds: float, step: float) -> str:
    return f"{seconds:.3g} s" if step < 1 else duration(seconds)


def _clock_step(least: float) -> float:
    """The first step that a clock's reader counts in, at least as long as `least` seconds."""
    if least <= 0.5:
        return _nice(least)
    return next((step for step in _CLOCK_STEPS if step >= least), 86400 * math.ceil(least / 86400))


def _nice(least: float) -> float:
    """The first of 1, 2, 5, 10, 20, ... (or 0.5, 0.2, ...) that is at least `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * 0.999999)
