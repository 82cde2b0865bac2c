"""What we and the process of an engine tell each other, as pickles over a pipe."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli.engines.types import Event, Request
from mistral_cli.errors import EngineFailed, MistralCliError, first_line

if TYPE_CHECKING:
    from mistral_cli.engines.protocol import LoadOptions
    from mistral_cli.engines.selection import EngineSelection


@dataclass(frozen=True)
class Open:
    """To the engine, first of all: what to open."""

    selection: EngineSelection
    path: Path
    options: LoadOptions


@dataclass(frozen=True)
class Ask:
    """To the engine: generate for a Request, or tokenize a text."""

    number: int
    question: Request | str


@dataclass(frozen=True)
class Cancel:
    """To the engine: nobody waits for that answer any more."""

    number: int


@dataclass(frozen=True)
class Warned:
    """From the engine while it opens: text for the user."""

    text: str


@dataclass(frozen=True)
class Opened:
    """From the engine: it is open."""

    gpu_layers: int
    context_length: int
    load_seconds: float


@dataclass(frozen=True)
class Begun:
    """From the engine: the first of an answer: it had waited for a slot until now."""


@dataclass(frozen=True)
class Ended:
    """From the engine: the last of an answer, also of one that failed or was cancelled."""


@dataclass(frozen=True)
class Failure:
    """From the engine: an error, which a pickle would not carry whole."""

    kind: type[MistralCliError]
    message: str
    hint: str
    details: str

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """`error` as a message; what is none of our errors is a bug, told as such."""
        if isinstance(error, MistralCliError):
            return cls(type(error), error.message, error.hint, error.details)
        message = f"the engine's process failed: {type(error).__name__}: {first_line(error)}"
        details = "".join(traceback.format_exception(error))
        return cls(EngineFailed, message, "Please report this.", details)

    def error(self) -> MistralCliError:
        """The error again."""
        error = self.kind(self.message, hint=self.hint)
        error.details = self.details
        return error


Answer = Event | list[int] | Failure | Begun | Ended
"""Part of the answer to one Ask; what queues up is sent as one list of (number, Answer)."""
