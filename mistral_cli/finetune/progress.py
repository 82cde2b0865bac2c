"""How far a training is: one passing line on a terminal, plain lines in a log."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mistral_cli.system.terminal import Terminal

_LINE_SECONDS = 30.0


class Progress:
    """Tells a person the step, the loss and the time left; `steps` is the number of all."""

    def __init__(
        self, terminal: Terminal, steps: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._terminal, self._steps, self._clock = terminal, steps, clock
        self._loss = float("nan")
        self._first: tuple[int, float] | None = None
        self._noted = clock()

    def begin(self, step: int) -> None:
        """Training begins after `step`."""
        self._first = (step, self._clock())

    def step(self, step: int) -> None:
        """`step` is done."""
        self._terminal.status(self._line(step))

    def loss(self, step: int, loss: float) -> None:
        """The loss of `step` is known."""
        self._loss = loss
        self._terminal.status(self._line(step))
        on_a_terminal = self._terminal.stderr_is_terminal
        if not on_a_terminal and self._clock() - self._noted >= _LINE_SECONDS:
            self._noted = self._clock()
            self._terminal.note(self._line(step))

    def held_out(self, epoch: float, loss: float) -> None:
        """An epoch is done; 0 is the start."""
        when = f"after epoch {epoch:.0f}" if epoch else "before training"
        self._terminal.note(f"{when}: held-out loss {loss:.3f}")

    def status(self, text: str) -> None:
        """Something else passes by."""
        self._terminal.status(text)

    def note(self, text: str) -> None:
        """Something to be read."""
        self._terminal.note(text)

    def _line(self, step: int) -> str:
        line = f"step {step} of {self._steps}, loss {self._loss:.3f}"
        if self._first and step > self._first[0]:
            done, elapsed = step - self._first[0], self._clock() - self._first[1]
            left = int(elapsed / done * (self._steps - step))
            line += f", {left // 3600}:{left // 60 % 60:02}:{left % 60:02} left"
        return line
