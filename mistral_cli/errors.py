"""Exit codes, and the errors that carry them. Every error names the user's next step."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import ClassVar, Self


class ExitCode(IntEnum):
    """The exit status of the process; documented in the reference and in `--help`."""

    SUCCESS = 0
    FAILURE = 1
    USAGE = 2
    MODEL_NOT_AVAILABLE = 3
    MODEL_UNUSABLE = 4
    CONTEXT_EXCEEDED = 5
    OUTPUT_CUT = 6
    OUTPUT_INVALID = 7
    GPU_REQUIRED = 8
    ENGINE_FAILED = 9
    ROWS_FAILED = 10
    GATE_FAILED = 11
    HUNG_UP = 129
    INTERRUPTED = 130
    TERMINATED = 143

    @property
    def meaning(self) -> str:
        """One line for people."""
        return _MEANINGS[self]


_MEANINGS = {
    ExitCode.SUCCESS: "success",
    ExitCode.FAILURE: "any other failure, such as output that cannot be written",
    ExitCode.USAGE: "wrong usage: option, input text, template or schema",
    ExitCode.MODEL_NOT_AVAILABLE: "model not available (hub, network, disk)",
    ExitCode.MODEL_UNUSABLE: "model unusable (damaged or unsupported file)",
    ExitCode.CONTEXT_EXCEEDED: "the prompt does not fit the context",
    ExitCode.OUTPUT_CUT: "a token limit cut JSON or a thought, which must be complete",
    ExitCode.OUTPUT_INVALID: "the output breaks the schema, or a constraint (--strict)",
    ExitCode.GPU_REQUIRED: "a GPU is required but not available",
    ExitCode.ENGINE_FAILED: "the engine failed",
    ExitCode.ROWS_FAILED: "some rows of a batch failed, now or in an earlier run",
    ExitCode.GATE_FAILED: "a --gate of an evaluation does not hold",
    ExitCode.HUNG_UP: "stopped because the terminal was closed (SIGHUP)",
    ExitCode.INTERRUPTED: "interrupted (Ctrl-C)",
    ExitCode.TERMINATED: "terminated (SIGTERM)",
}


_LIMITS = "Close other programs, free disk space, or raise the limits (ulimit -a)."
_LIMIT_ERRORS = {errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM}


class MistralCliError(Exception):
    """An expected failure: `message` says what happened, `hint` what to do next.

    `details` holds more for people to read, such as the text that was rejected.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.FAILURE

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = ""

    def with_message(self, message: str) -> Self:
        """Return an error of the same type with another message, to raise in place of this one."""
        return self._copy(message, self.hint)

    def with_hint(self, hint: str) -> Self:
        """Return an error of the same type with another hint, to raise in place of this one."""
        return self._copy(self.message, hint)

    def _copy(self, message: str, hint: str) -> Self:
        error = type(self)(message, hint=hint)
        error.details, error.__cause__ = self.details, self.__cause__
        return error


class UsageError(MistralCliError):
    """The call itself is wrong: an option, the input text, a template or a schema."""

    exit_code = ExitCode.USAGE


class ModelNotAvailable(MistralCliError):
    """The model file is unavailable: unknown name, hub, network or disk."""

    exit_code = ExitCode.MODEL_NOT_AVAILABLE


class ModelUnusable(MistralCliError):
    """The model file exists, but it is damaged or no engine can run it."""

    exit_code = ExitCode.MODEL_UNUSABLE


class ContextExceeded(MistralCliError):
    """The prompt does not fit the context, or the context does not fit in memory."""

    exit_code = ExitCode.CONTEXT_EXCEEDED


class OutputCut(MistralCliError):
    """A token limit cut JSON, or a thought before its answer, which must be complete."""

    exit_code = ExitCode.OUTPUT_CUT


class OutputInvalid(MistralCliError):
    """The answer does not match the schema, or breaks a constraint that must hold."""

    exit_code = ExitCode.OUTPUT_INVALID


class GpuRequired(MistralCliError):
    """`--require-gpu` was given and no engine can use a GPU here."""

    exit_code = ExitCode.GPU_REQUIRED


class EngineFailed(MistralCliError):
    """The inference library failed while loading or running."""

    exit_code = ExitCode.ENGINE_FAILED


class EngineDied(EngineFailed):
    """The engine's process ended. The next request starts another one."""


class AnswerInterrupted(EngineFailed):
    """A server ended in the middle of an answer, of which a part was passed on already."""


class ServersGone(EngineFailed):
    """No server answers any more: what is left must wait for another run."""


class TimedOut(MistralCliError):
    """The answer was not complete when its time limit was reached."""

    exit_code = ExitCode.ENGINE_FAILED


class LimitReached(EngineFailed):
    """The system, not the engine, refused memory, threads, open files or disk space."""

    exit_code = ExitCode.FAILURE


class OutOfGpuMemory(EngineFailed):
    """The layers meant for the GPU do not fit in its memory."""


class RowsFailed(MistralCliError):
    """Some rows of a batch failed; the results contain their errors."""

    exit_code = ExitCode.ROWS_FAILED


class GateFailed(MistralCliError):
    """A figure of an evaluation does not keep the bound that a gate sets."""

    exit_code = ExitCode.GATE_FAILED


class Stopped(MistralCliError):
    """A stop signal ended a batch between two rows, or training after a step."""


class HungUp(Stopped):
    """SIGHUP did: the terminal was closed."""

    exit_code = ExitCode.HUNG_UP


class Interrupted(Stopped):
    """Ctrl-C did."""

    exit_code = ExitCode.INTERRUPTED


class Terminated(Stopped):
    """SIGTERM did."""

    exit_code = ExitCode.TERMINATED


def limit_reached(error: BaseException) -> LimitReached | None:
    """Return our error for one that Python raises where the system refuses memory or threads."""
    if isinstance(error, MemoryError):
        return LimitReached("there is not enough memory", hint=_LIMITS)
    if isinstance(error, RuntimeError) and "start new thread" in str(error):
        return LimitReached("the system refuses another thread", hint=_LIMITS)
    if isinstance(error, OSError) and error.errno in _LIMIT_ERRORS:
        return LimitReached(error.strerror or str(error), hint=_LIMITS)
    return None


def first_line(error: Exception) -> str:
    """Return the message of a library's or the system's exception, as one line."""
    if isinstance(error, OSError) and error.strerror and isinstance(error.filename, str):
        return f"{error.strerror}: {error.filename}"
    return reason(error)


def reason(error: Exception) -> str:
    """Return the same without the path, for a message that names it."""
    if isinstance(error, OSError) and error.strerror:  # without the number and Python's quotes
        return error.strerror
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextmanager
def about(subject: str) -> Iterator[None]:
    """Put `subject: ` before the message of each of our errors, unless it is empty."""
    try:
        yield
    except MistralCliError as error:
        if not subject:
            raise
        raise error.with_message(f"{subject}: {error.message}") from error.__cause__
