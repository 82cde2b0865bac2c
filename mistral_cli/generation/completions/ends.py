"""Where a completion ends before the model ends it: after lines, before a pattern, with a block.

An end sees the completion as it grows. Each time it says how much of it is certain to stay, so that
this can be printed, and whether the completion ends there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from mistral_cli.errors import UsageError, first_line
from mistral_cli.generation.answer import AnswerEnded

if TYPE_CHECKING:
    import regex


class Cut(NamedTuple):
    """The first `certain` characters of a completion stay; it may end there."""

    certain: int
    ended: bool = False


class CompletionEnd(Protocol):
    """A rule for where a completion ends."""

    def cut(self, text: str, *, final: bool) -> Cut:
        """What is known about the completion `text`, to which more comes unless it is `final`."""


@dataclass(frozen=True)
class LinesEnd:
    """Ends before the newline after the N-th line that is not blank."""

    number: int

    def cut(self, text: str, *, final: bool) -> Cut:
        """As in CompletionEnd."""
        start = count = 0
        while (end := text.find("\n", start)) >= 0:
            count += bool(text[start:end].strip())
            if count == self.number:
                return Cut(end - text[:end].endswith("\r"), ended=True)
            start = end + 1
        # A carriage return may belong to the newline that ends the completion.
        return Cut(len(text) - (text.endswith("\r") and not final))


def compile_pattern(pattern: str) -> regex.Pattern[str]:
    """Compile the pattern of a PatternEnd. Raises UsageError."""
    import regex

    try:
        compiled = regex.compile(pattern, regex.MULTILINE)
    except regex.error as error:
        raise UsageError(
            f"--until is not a regular expression: {first_line(error)}",
            hint="Put a backslash before characters such as ( [ and * to mean them.",
        ) from error
    if compiled.fullmatch(""):
        raise UsageError(
            f"--until {pattern!r} matches an empty text, so the completion would have no text",
            hint="Write a pattern of at least one character.",
        )
    return compiled


@dataclass(frozen=True)
class PatternEnd:
    """Ends before the first match of a pattern; `^` and `$` match at the ends of lines.

    `before` is what stands before the completion in its line.
    """

    pattern: regex.Pattern[str]
    before: str = ""

    def cut(self, text: str, *, final: bool) -> Cut:
        """As in CompletionEnd."""
        start = len(self.before)
        # A partial match is one that the text to come may complete: why this is not Python's `re`.
        found = self.pattern.search(self.before + text, start, partial=not final)
        if found is None:
            return Cut(len(text))
        return Cut(found.start() - start, ended=not found.partial)


@dataclass
class GrowingCompletion:
    """Passes a completion on to `emit` as far as it is certain; `ends` may end it."""

    ends: Sequence[CompletionEnd]
    emit: Callable[[str], None]
    text: str = ""
    written: int = 0
    ended: bool = field(default=False, init=False)

    def feed(self, delta: str) -> None:
        """Receive a delta. Raises AnswerEnded where the completion ends."""
        self.text += delta
        if self._pass_on(final=False):
            raise AnswerEnded

    def finish(self) -> str:
        """Pass on the rest of a completion that is not `ended`; return all of it."""
        if not self.ended:
            self._pass_on(final=True)
        return self.text[: self.written]

    def _pass_on(self, *, final: bool) -> bool:
        cuts = [end.cut(self.text, final=final) for end in self.ends]
        certain, still_open = min(
            ((cut.certain, not cut.ended) for cut in cuts), default=(len(self.text), True)
        )
        if certain > self.written:
            self.emit(self.text[self.written : certain])
            self.written = certain
        self.ended = not still_open
        return self.ended
