"""Where answers go: wrapped on a terminal, plain in a pipe, one JSON object with `--json`.

Which form it is is decided once, in `choose_output`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from mistral_cli.generation.result import head, what_was_said
from mistral_cli.system.stdout import write, write_envelope, write_json
from mistral_cli.system.wrap import Wrapper, without_controls

if TYPE_CHECKING:
    from mistral_cli.generation.result import Result
    from mistral_cli.system.terminal import Terminal


class Output(Protocol):
    """One answer at a time: pieces as they come, then the whole."""

    def piece(self, text: str) -> None:
        """Take the next piece of an answer."""

    def result(self, result: Result) -> None:
        """End an answer."""

    def abort(self) -> None:
        """Leave the terminal clean in the middle of an answer."""


def choose_output(
    terminal: Terminal,
    *,
    as_json: bool,
    structured: bool,
    as_items: bool,
    width: int | None,
    raw: bool,
) -> Output:
    """The form for this run, from the kind of stdout and the flags."""
    if as_json:
        return JsonOutput(terminal, exact=raw)
    if structured:
        return ItemsOutput(terminal) if as_items else DataOutput(terminal)
    columns = (terminal.width if width is None else width) if terminal.stdout_is_terminal else 0
    wrapper = Wrapper(columns) if columns else None
    return TextOutput(terminal, wrapper, keep_leading_space=raw)


class TextOutput:
    """The text itself, as it comes, between no leading space and one newline."""

    def __init__(
        self, terminal: Terminal, wrapper: Wrapper | None, *, keep_leading_space: bool
    ) -> None:
        self._terminal = terminal
        self._columns_wrapper = wrapper
        self._keep_leading_space = keep_leading_space
        self._answers = 0
        self._reset()

    def _reset(self) -> None:
        self._started = self._keep_leading_space
        self._held_space = ""
        self._printed = False

    def piece(self, text: str) -> None:
        """See Output."""
        text = self._held_space + text
        if not self._started:
            text = text.lstrip()
            self._started = bool(text)
        kept = text.rstrip()
        self._held_space = text[len(kept) :]
        self._print(kept)

    def result(self, result: Result) -> None:  # noqa: ARG002
        """See Output."""
        self._end_line()

    def abort(self) -> None:
        """See Output."""
        if self._printed:
            self._end_line()

    def _end_line(self) -> None:
        rest = self._columns_wrapper.finish() if self._columns_wrapper else ""
        self._write(rest + "\n")
        self._answers += 1
        self._reset()

    def _print(self, text: str) -> None:
        if text and self._columns_wrapper:
            text = self._columns_wrapper.feed(text)
        if text:
            self._write(text)

    def _write(self, text: str) -> None:
        self._terminal.clear_status()
        if self._terminal.stdout_is_terminal:
            text = without_controls(text)
            if self._answers and not self._printed:
                text = "\n" + text  # a person cannot tell several answers apart otherwise
            self._terminal.line_begun = not text.endswith("\n")
        self._printed = True  # before the write, which Ctrl-C can end half-way
        write(self._terminal, text)


class DataOutput:
    """One JSON value: indented for a person, on one line for a pipe."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._pieces = 0

    def piece(self, text: str) -> None:  # noqa: ARG002
        """See Output: nothing is printed before the whole is known to be valid."""
        self._pieces += 1
        self._terminal.status(f"writing: {self._pieces} tokens …")

    def result(self, result: Result) -> None:
        """See Output."""
        self._pieces = 0
        if result.extraction:
            write_json(self._terminal, result.extraction.data)

    def abort(self) -> None:
        """See Output."""


class ItemsOutput(DataOutput):
    """The items of a list, each on a line of its own as soon as it is complete."""

    def item(self, value: Any) -> None:
        """Print one item."""
        self._terminal.clear_status()
        write_json(self._terminal, value, on_one_line=True)


class JsonOutput(DataOutput):
    """The envelope of `--json`: one line with the answer and how it came about."""

    def __init__(self, terminal: Terminal, *, exact: bool) -> None:
        super().__init__(terminal)
        self._exact = exact

    def result(self, result: Result) -> None:
        """See Output."""
        plan = result.plan
        envelope = {
            **head(plan),
            **what_was_said(result, exact=self._exact),
            "context_length": plan.load.context_length,
            "gpu_layers": plan.load.gpu_layers,
            "gpu_reason": plan.selection.gpu_reason,
            "seed": plan.request.sampling.seed,
            "warnings": [*self._terminal.warnings, *result.warnings],
        }
        write_envelope(self._terminal, envelope)


class Silent:
    """Prints nothing: the result is wanted, not its coming."""

    def piece(self, text: str) -> None:
        """See Output."""

    def result(self, result: Result) -> None:
        """See Output."""

    def abort(self) -> None:
        """See Output."""


SILENT = Silent()
