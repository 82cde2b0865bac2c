"""Progress of a batch: a status line on a terminal, or lines in a log at intervals."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from mistral_cli.system.reporter import Reporter

_RECENT = 50  # rows, or answers
_REFRESH_SECONDS = 0.1


class Totals(Protocol):
    """The work of a batch, as far as it has been read."""

    @property
    def to_do(self) -> int:
        """The number of rows to process that have been read."""

    @property
    def size(self) -> int:
        """Their sizes together."""

    @property
    def ended(self) -> bool:
        """Whether there are no others."""

    @property
    def fraction(self) -> float | None:
        """How much of the inputs has been read, from 0 to 1, or None."""


class BatchProgress:
    """Counts the finished rows of a batch, and shows how many there are and the time left.

    Rates are those of the last rows only, since the first rows may have waited for the model to
    load. The rows' sizes are in any unit: a long row takes longer. `every` is the number of
    seconds between two lines in a log; 0 writes none. If some rows are answered in chunks
    (`count_chunks`), the number of answered chunks is shown too.
    """

    def __init__(
        self,
        reporter: Reporter,
        totals: Totals,
        every: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reporter, self._every, self._clock = reporter, every, clock
        self._totals = totals
        self.actors: Callable[[], int] | None = None  # those of a cluster that are ready
        self._in_chunks = False
        self._rows = self._failed = self._answers = self._tokens = self._size = 0
        self._logged_at = clock()
        self._refreshed_at = float("-inf")
        # Times at which an answer or a row was finished, each with the total tokens or size so far.
        self._recent_answers = deque([(self._logged_at, 0)], maxlen=_RECENT + 1)
        self._recent_rows = deque([(self._logged_at, 0)], maxlen=_RECENT + 1)
        self._lock = threading.Lock()

    def count_chunks(self) -> None:
        """Note that a row is answered in chunks. Thread-safe."""
        self._in_chunks = True

    def count_answer(self, tokens: int) -> None:
        """Count one answer; `tokens` are those of prompt and answer. Thread-safe."""
        with self._lock:
            self._answers += 1
            self._tokens += tokens
            self._recent_answers.append((self._clock(), self._tokens))

    def count_row(self, size: int, *, failed: bool) -> None:
        """Count one finished row."""
        self._rows += 1
        self._failed += failed
        self._size += size
        self._recent_rows.append((self._clock(), self._size))

    def show(self) -> None:
        """Refresh the status line, or write a line to the log, if one is due."""
        now = self._clock()
        if self._reporter.stderr_is_terminal:
            if now - self._refreshed_at >= _REFRESH_SECONDS:
                self._refreshed_at = now
                self._reporter.status(self._line(now))
        elif self._every and now - self._logged_at >= self._every:
            self._logged_at = now
            self._reporter.note(self._line(now))

    def end(self) -> None:
        """Clear the status line."""
        self._reporter.clear_status()

    def _line(self, now: float) -> str:
        parts = [self._rows_done()]
        if self._failed:
            parts.append(f"{self._failed:,} failed")
        if self.actors:
            count = self.actors()
            parts.append(f"{count} {'actor' if count == 1 else 'actors'}")
        if self._in_chunks and self._answers:
            parts.append(f"{self._answers:,} chunk{'' if self._answers == 1 else 's'}")
        (first, before), (last, _) = self._recent_answers[0], self._recent_answers[-1]
        if last > first:
            rate = (self._tokens - before) / (now - first)
            parts.append(f"{rate:,.0f} tokens/s" if rate >= 10 else f"{rate:.1f} tokens/s")
        if (left := self._seconds_left(now)) is not None:
            parts.append(f"{duration(left)} left")
        return ", ".join(parts)

    def _rows_done(self) -> str:
        if self._totals.ended:
            return f"{self._rows:,} of {self._totals.to_do:,} rows"
        fraction = self._totals.fraction
        read = "" if fraction is None else f", {fraction:.0%} of the inputs read"
        return f"{self._rows:,} rows{read}"

    def _seconds_left(self, now: float) -> float | None:
        """Estimate from the pace of the last rows; None before the first or after the last row."""
        (first, before), (last, size) = self._recent_rows[0], self._recent_rows[-1]
        totals, fraction = self._totals, self._totals.fraction
        if totals.ended:
            rows, total = totals.to_do - self._rows, float(totals.size)
        elif fraction:  # what is to come is like what has come
            rows, total = round(totals.to_do / fraction) - self._rows, totals.size / fraction
        else:
            return None
        if rows <= 0 or last <= first or size <= before:
            return None
        left = (total - self._size) * (last - first) / (size - before)
        # The row in progress counts down, but a late row does not shorten the others' time.
        return left - min(now - last, left / rows)


def duration(seconds: float) -> str:
    """Format seconds as a clock does: 3:20, or 1:03:20 from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02}"
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
