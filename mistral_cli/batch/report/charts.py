"""The charts of a batch report: bars and labels, positioned in percent of the drawing.

With percentages the drawing takes the page's width while its labels keep their size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mistral_cli.batch.progress import duration

_MAX_INTERVALS = 60  # of a throughput chart
_BINS = 24  # of a histogram
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
    """One bar; `parts` from the bottom up are `(top, height)`. All in percent."""

    x: float
    width: float
    parts: tuple[tuple[float, float], ...]
    title: str


@dataclass(frozen=True)
class Chart:
    """Bars and the labels of both axes, each with its position in percent."""

    name: str
    summary: str
    bars: tuple[Bar, ...]
    x_labels: tuple[tuple[float, str], ...]
    y_labels: tuple[tuple[float, str], ...]
    legend: tuple[str, ...] = ()


def throughput(work: Sequence[Work]) -> Chart | None:
    """Return a chart of tokens per second over time; None if no row has a finishing time.

    A row's tokens are spread over the time in which they were computed.
    """
    end = max((each.finished for each in work), default=0.0)
    if end <= 0:
        return None
    interval = _clock_step(end / _MAX_INTERVALS)
    intervals = math.ceil(round(end / interval, 6))  # 0.14 / 0.005 is a little more than 28
    widths = [min(interval, end - number * interval) for number in range(intervals)]
    prompt, answer = [0.0] * intervals, [0.0] * intervals
    for each in work:
        _spread(answer, interval, each.finished, each.answer_seconds, each.answer_tokens)
        answer_start = each.finished - each.answer_seconds
        _spread(prompt, interval, answer_start, each.prompt_seconds, each.prompt_tokens)
    rates = [(a / w, p / w) for a, p, w in zip(answer, prompt, widths, strict=True)]
    top, y_labels = _y_axis(max(map(sum, rates)))
    bars = []
    for number, (rate, width) in enumerate(zip(rates, widths, strict=True)):
        start = number * interval
        title = (
            f"{_clock(start, interval)} to {_clock(start + width, interval)}: "
            f"{rate[0]:,.1f} answer and {rate[1]:,.1f} prompt tokens/s"
        )
        x, share = 100 * start / end, 100 * width / end
        bars.append(Bar(x, share, _stacked(rate, top), title))
    return Chart(
        "Tokens per second over time",
        f"{sum(answer) / end:,.1f} answer and {sum(prompt) / end:,.1f} prompt tokens/s on average",
        tuple(bars),
        _time_labels(end),
        y_labels,
        ("answer", "prompt"),
    )


def histogram(name: str, lengths: Iterable[int]) -> Chart | None:
    """Return a histogram of token counts; None without rows.

    Outliers share the last bar, so that a few very long rows do not squeeze the others.
    """
    ordered = sorted(lengths)
    if not ordered:
        return None
    longest, typical = ordered[-1], ordered[(len(ordered) - 1) * 98 // 100]
    step = max(1, round(_nice(max(typical, 1) / _BINS)))
    bins = longest // step + 1
    if bins > 2 * _BINS:
        bins = typical // step + 2
    counts = [0] * bins
    for length in ordered:
        counts[min(length // step, bins - 1)] += 1
    has_outliers = longest // step >= bins
    top, y_labels = _y_axis(max(counts), whole=True)
    width = 100 / bins
    median = ordered[(len(ordered) - 1) // 2]
    bars = tuple(
        Bar(
            number * width + 0.06 * width,
            0.88 * width,
            _stacked((count,), top),
            _bin_title(number * step, step, count, last=has_outliers and number == bins - 1),
        )
        for number, count in enumerate(counts)
    )
    return Chart(
        name,
        f"Rows by number of tokens; median {median:,}, longest {longest:,}",
        bars,
        _bin_labels(bins, step, has_outliers=has_outliers),
        y_labels,
    )


def _spread(into: list[float], interval: float, end: float, seconds: float, tokens: int) -> None:
    """Distribute `tokens` over the intervals that the `seconds` before `end` fall into."""
    end = max(end, 0.0)
    start = max(end - seconds, 0.0)
    last = min(int(end / interval), len(into) - 1)
    first = min(int(start / interval), last)
    if first == last:
        into[last] += tokens
        return
    for number in range(first, last + 1):
        overlap = min(end, (number + 1) * interval) - max(start, number * interval)
        into[number] += tokens * max(overlap, 0.0) / (end - start)


def _stacked(values: Sequence[float], top: float) -> tuple[tuple[float, float], ...]:
    parts, reached = [], 0.0
    for value in values:
        reached += value
        parts.append((100 - 100 * reached / top, 100 * value / top))
    return tuple(parts)


def _y_axis(highest: float, *, whole: bool = False) -> tuple[float, tuple[tuple[float, str], ...]]:
    """Return the value at the top of the drawing, and labels from 0 to it."""
    step = _nice(max(highest, 1e-9) / 4)
    step = max(step, 1) if whole else step
    lines = math.ceil(highest / step) or 1
    top = lines * step
    return top, tuple((100 - 100 * n / lines, f"{n * step:,.12g}") for n in range(lines + 1))


def _time_labels(end: float) -> tuple[tuple[float, str], ...]:
    step = _clock_step(end / 5)
    labels = range(math.floor(end / step) + 1)
    return tuple((100 * n * step / end, _clock(n * step, step)) for n in labels)


def _bin_labels(bins: int, step: int, *, has_outliers: bool) -> tuple[tuple[float, str], ...]:
    every = max(1, round(_nice(bins / 6)))
    last = f"{(bins - 1) * step:,}+"
    labels = [(100 * n / bins, f"{n * step:,}") for n in range(0, bins, every)]
    if not has_outliers:
        return tuple(labels)
    near = 100 - 80 / 6
    return (*(label for label in labels if label[0] < near), (100 - 100 / bins, last))


def _bin_title(start: int, step: int, count: int, *, last: bool) -> str:
    rows = f"{count:,} row" if count == 1 else f"{count:,} rows"
    if last:
        return f"{start:,} tokens or more: {rows}"
    end = f" to {start + step - 1:,}" if step > 1 else ""
    return f"{start:,}{end} tokens: {rows}"


def _clock(seconds: float, step: float) -> str:
    return f"{seconds:.3g} s" if step < 1 else duration(seconds)


def _clock_step(least: float) -> float:
    """Return the first round step of time that has at least `least` seconds."""
    if least <= 0.5:
        return _nice(least)
    return next((step for step in _CLOCK_STEPS if step >= least), 86400 * math.ceil(least / 86400))


def _nice(least: float) -> float:
    """Return the first of 1, 2, 5, 10, 20, ... (or 0.5, 0.2, ...) that is at least `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * 0.999999)
