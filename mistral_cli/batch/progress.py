"""How far a batch is: one passing line on a terminal, plain lines in a log, failures at the end."""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size

from mistral_cli.batch.failures import Record, alike, message_of
from mistral_cli.system.wrap import without_controls

if TYPE_CHECKING:
    from mistral_cli.system.reporter import Reporter

_RECENT = 50  # rows, or answers
_REFRESH_SECONDS = 0.1
_LISTED = 10
_ID_WIDTH, _MESSAGE_WIDTH = 32, 100
_DIRECTIONS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class Progress:
    """Counts the finished rows of a batch and tells a person how long the rest may take.

    Rates are those of the last rows: the first ones may have waited for the model. `sizes`
    are those of the rows in any unit, as a long one takes longer; `every` is in seconds, and
    with 0 nothing goes to a log. With `parts` there are more answers than rows.
    """

    def __init__(
        self,
        reporter: Reporter,
        sizes: Sequence[int],
        every: float,
        clock: Callable[[], float] = time.monotonic,
        *,
        parts: bool = False,
    ) -> None:
        self._reporter, self._every, self._clock, self._parts = reporter, every, clock, parts
        self._total, self._all = len(sizes), sum(sizes)
        self._rows = self._failed = self._answers = self._tokens = self._size = 0
        self._noted = clock()
        self._refreshed = float("-inf")
        # When an answer or a row was finished, and all tokens or the size of all rows until then.
        self._heard = deque([(self._noted, 0)], maxlen=_RECENT + 1)
        self._recent = deque([(self._noted, 0)], maxlen=_RECENT + 1)
        self._lock = threading.Lock()

    def answered(self, tokens: int) -> None:
        """One more answer is there, of prompt and answer `tokens`. Safe for use by threads."""
        with self._lock:
            self._answers += 1
            self._tokens += tokens
            self._heard.append((self._clock(), self._tokens))

    def count(self, size: int, *, failed: bool) -> None:
        """A row of that size is finished."""
        self._rows += 1
        self._failed += failed
        self._size += size
        self._recent.append((self._clock(), self._size))

    def show(self) -> None:
        """Bring what is shown up to date, if it is time to."""
        now = self._clock()
        if self._reporter.stderr_is_terminal:
            if now - self._refreshed >= _REFRESH_SECONDS:
                self._refreshed = now
                self._reporter.status(self._line(now))
        elif self._every and now - self._noted >= self._every:
            self._noted = now
            self._reporter.note(self._line(now))

    def end(self) -> None:
        """Take the status line away."""
        self._reporter.clear_status()

    def _line(self, now: float) -> str:
        parts = [f"{self._rows:,} of {self._total:,} rows"]
        if self._failed:
            parts.append(f"{self._failed:,} failed")
        if self._parts and self._answers:
            parts.append(f"{self._answers:,} part{'' if self._answers == 1 else 's'}")
        (first, before), (last, _) = self._heard[0], self._heard[-1]
        if last > first:
            rate = (self._tokens - before) / (now - first)
            parts.append(f"{rate:,.0f} tokens/s" if rate >= 10 else f"{rate:.1f} tokens/s")
        if (left := self._seconds_left(now)) is not None:
            parts.append(f"{duration(left)} left")
        return ", ".join(parts)

    def _seconds_left(self, now: float) -> float | None:
        """At the pace of the last rows; None while none says anything about it, or none is left."""
        (first, before), (last, size) = self._recent[0], self._recent[-1]
        rows = self._total - self._rows
        if not rows or last <= first or size <= before:
            return None
        left = (self._all - self._size) * (last - first) / (size - before)
        # The row in progress counts down, but a late one takes nothing off the others.
        return left - min(now - last, left / rows)


def duration(seconds: float) -> str:
    """Seconds as a clock shows them: 3:20, or 1:03:20 from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02}"
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def failures_table(records: Iterable[Record]) -> list[str]:
    """Lines that name what failed and why, at most ten kinds of failure; none if none did."""
    groups = alike(records)
    listed = groups[:_LISTED]
    ids = [_one_line(str(group[0].get("id", ""))) for group in listed]
    width = min(max(map(cell_len, ids), default=0), _ID_WIDTH)
    lines: list[str] = []
    for name, group in zip(ids, listed, strict=True):
        message = _shortened(_one_line(message_of(group[0])), _MESSAGE_WIDTH)
        lines.append(f"{set_cell_size(_end_of(name, width), width)}  {message}")
        if len(group) > 1:
            lines.append(f"{'':{width}}  … and {len(group) - 1:,} more: the same")
    if rest := sum(map(len, groups[_LISTED:])):
        lines.append(f"… and {rest:,} more failed rows, for other reasons")
    return lines


def _one_line(text: str) -> str:
    return " ".join(_DIRECTIONS.sub("", without_controls(text)).split())


def _end_of(text: str, width: int) -> str:
    """The end of a name that is too long: of paths it tells them apart."""
    start = 0
    while cell_len(text[start:]) > width - bool(start):
        start += 1
    return f"…{text[start:]}" if start else text


def _shortened(text: str, width: int) -> str:
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, width - 1).rstrip() + "…"
