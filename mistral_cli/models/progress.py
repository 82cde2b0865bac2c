"""How far a download is: one passing line on a terminal, plain lines in a log."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from mistral_cli.system.reporter import Reporter


def format_size(size: float) -> str:
    """Bytes for people, in the decimal units that the hub's pages show."""
    for unit in ("B", "kB", "MB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.2f} GB"


class Progress:
    """Stands in for the tqdm bar that huggingface_hub counts bytes with.

    The library makes the object itself, so the terminal is on the class. Defining
    `update_transfer` asks the Xet client for one bar per file instead of two.
    """

    reporter: ClassVar[Reporter]
    label: ClassVar[str]
    used: ClassVar[bool] = False

    def __init__(self, *, total: int | None = None, initial: int = 0, **_: object) -> None:
        type(self).used = True
        self.total, self.n = total, initial
        self._started, self._start = time.monotonic(), initial
        self._shown, self._tenths = 0.0, 10 * initial // total if total else 0
        size = format_size(total) if total else "size unknown"
        at = f"; {format_size(initial)} are here" if initial else ""
        self.reporter.note(f"downloading {self.label} ({size}{at}) ...")

    def update(self, n: float | None = 1) -> None:
        """Count `n` more bytes."""
        self.n += int(n or 0)
        if self.reporter.stderr_is_terminal:
            self._show_status(time.monotonic())
        elif self.total and (tenths := 10 * self.n // self.total) > self._tenths:
            self._tenths = tenths
            if tenths < 10:
                self.reporter.note(f"{self.label}: {10 * tenths} % of {format_size(self.total)}")

    def _show_status(self, now: float) -> None:
        if now - self._shown < 0.1:
            return
        self._shown = now
        rate = (self.n - self._start) / max(now - self._started, 1e-3)
        text = f"{self.label}: {format_size(self.n)}, {format_size(rate)}/s"
        if self.total and rate > 0:
            left = int((self.total - self.n) / rate)
            text += f", {100 * self.n // self.total} %, {left // 60}:{left % 60:02} left"
        self.reporter.status(text)

    def _ignore(self, *_: object, **__: object) -> None:
        pass

    close = refresh = set_postfix_str = set_transfer_postfix_str = update_transfer = _ignore

    def __enter__(self) -> Progress:
        return self

    __exit__ = _ignore
