"""The messages between us and the process of an engine, as pickles over a pipe."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli.engines.types import Event, Request, ScoreRequest
from mistral_cli.errors import EngineFailed, MistralCliError, first_line, limit_reached

if TYPE_CHECKING:
    from mistral_cli.engines.protocol import LoadOptions
    from mistral_cli.engines.selection import EngineSelection


@dataclass(frozen=True)
class OpenModel:
    """To the engine, as the first message: what to open."""

    selection: EngineSelection
    path: Path
    options: LoadOptions


@dataclass(frozen=True)
class Call:
    """To the engine: generate for a Request, score for a ScoreRequest, or tokenize a text.

    `announced` asks for a StreamStarted, which a time limit needs.
    """

    number: int
    argument: Request | ScoreRequest | str
    announced: bool = True


@dataclass(frozen=True)
class Cancel:
    """To the engine: stop that call, whose reader has left."""

    number: int


@dataclass(frozen=True)
class LoadWarning:
    """From the engine while it opens the model: text for the user."""

    text: str


@dataclass(frozen=True)
class ModelOpened:
    """From the engine: the model is open."""

    gpu_layers: int
    context_length: int
    load_seconds: float


@dataclass(frozen=True)
class StreamStarted:
    """From the engine, as the first reply to a Request: it has got a slot."""


@dataclass(frozen=True)
class WholeStream:
    """From the engine: all events of a Request without `stream`.

    The text is in one of them. Each message wakes a thread, which takes as long as all else about
    a short answer.
    """

    events: tuple[Event, ...]


@dataclass(frozen=True)
class StreamEnded:
    """From the engine, as the last reply to a stream, even one that was cancelled."""


@dataclass(frozen=True)
class RemoteError:
    """From the engine: an error, field by field, because a pickle of it would lose some."""

    kind: type[MistralCliError]
    message: str
    hint: str
    details: str

    @classmethod
    def of(cls, error: Exception) -> RemoteError:
        """`error` as a message. An exception that is not one of our errors is reported as a bug."""
        if isinstance(error, MistralCliError):
            return cls(type(error), error.message, error.hint, error.details)
        if limit := limit_reached(error):
            return cls.of(limit)
        message = f"the engine's process failed: {type(error).__name__}: {first_line(error)}"
        details = "".join(traceback.format_exception(error))
        return cls(EngineFailed, message, "Please report this.", details)

    def error(self) -> MistralCliError:
        """The error, to raise on this side."""
        error = self.kind(self.message, hint=self.hint)
        error.details = self.details
        return error


Reply = Event | list[int] | RemoteError | StreamStarted | WholeStream | StreamEnded
"""Part of the reply to one Call.

What has queued up is sent as one list of (number, Reply, whether it is the last one to that Call).
"""
