"""Write results: wrapped on a terminal, plain to a pipe, as one JSON object with `--json`.

`choose_writer` selects the writer once for a run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from mistral_cli.errors import MistralCliError
from mistral_cli.generation.answer import answer_fields, request_fields
from mistral_cli.models.remote import RemoteModel
from mistral_cli.system.controls import without_controls
from mistral_cli.system.stdout import write, write_envelope, write_json
from mistral_cli.system.wrap import Wrapper

if TYPE_CHECKING:
    from mistral_cli.engines.types import Sampling
    from mistral_cli.generation.answer import Result
    from mistral_cli.generation.checking.rules import PlannedCheck
    from mistral_cli.generation.config import Source
    from mistral_cli.generation.planner import Job, PreparedRequest, RequestPlanner
    from mistral_cli.models.remote import PromptedAs
    from mistral_cli.structured.highlights.page import HighlightsPage
    from mistral_cli.system.terminal import Terminal


class ResultWriter:
    """Receives results one by one: first the text as it streams. This class discards them."""

    streams: ClassVar[bool] = False
    """True if the text is printed while it streams: what is printed cannot be taken back."""

    def begin(self, job: Job) -> None:
        """Begin the result for `job`."""

    def delta(self, text: str) -> None:
        """Receive the next delta of an answer's text."""

    def frame(self, start: str, end: str) -> None:
        """Receive what stands before and after the next text in its document."""

    def item(self, value: Any) -> None:
        """Receive one complete item of a JSON list."""

    def finish(self, result: Result) -> None:
        """End a result."""

    def abort(self) -> None:
        """Leave the terminal clean when a result is interrupted."""

    def close(self) -> None:
        """End the run, which has all its results."""


NULL_WRITER = ResultWriter()


def choose_writer(
    terminal: Terminal,
    *,
    as_json: bool,
    structured: bool,
    as_items: bool,
    width: int | None,
    raw: bool,
    exact: bool,
) -> ResultWriter:
    """The writer for this run: stdout and the flags decide."""
    if as_json:
        return JsonWriter(terminal, exact=raw)
    if structured:
        return ItemsWriter(terminal) if as_items else DataWriter(terminal)
    if exact:
        return ExactWriter(terminal)
    columns = (terminal.width if width is None else width) if terminal.stdout_is_terminal else 0
    wrapper = Wrapper(columns) if columns else None
    return TextWriter(terminal, wrapper, keep_leading_space=raw)


class TextWriter(ResultWriter):
    """Writes the text as it streams, without leading space, and one newline at the end.

    A text that has a frame gets that instead, except on a terminal.
    """

    streams = True

    def __init__(
        self, terminal: Terminal, wrapper: Wrapper | None, *, keep_leading_space: bool
    ) -> None:
        self._terminal = terminal
        self._wrapper = wrapper
        self._keep_leading_space = keep_leading_space
        self._results = 0
        self._ends_line = True
        self._reset()

    def _reset(self) -> None:
        self._started = self._keep_leading_space
        self._held_space = ""
        self._printed = False
        self._start, self._end = "", "\n"

    def frame(self, start: str, end: str) -> None:
        """Keep the frame for the text that follows."""
        if not self._terminal.stdout_is_terminal:
            self._start, self._end = start, end

    def delta(self, text: str) -> None:
        """Write the delta, but hold back trailing space, which may be the end of the text."""
        text = self._held_space + text
        if not self._started:
            text = text.lstrip()
            self._started = bool(text)
        ready = text.rstrip()
        self._held_space = text[len(ready) :]
        if ready and self._wrapper:
            ready = self._wrapper.feed(ready)
        if ready:
            self._write(ready)

    def finish(self, result: Result) -> None:  # noqa: ARG002
        """End the line."""
        self._end_line()

    def abort(self) -> None:
        """End an unfinished line."""
        if self._printed:
            self._end = "\n"
            self._end_line()

    def _end_line(self) -> None:
        rest = self._wrapper.finish() if self._wrapper else ""
        self._write(rest + self._end)
        self._results += 1
        self._ends_line = self._end.endswith(("\n", "\r"))
        self._reset()

    def _write(self, text: str) -> None:
        if self._terminal.stdout_is_terminal:
            text = without_controls(text)
            if self._results and not self._printed:
                text = "\n" + text  # a blank line separates several answers for a person
            self._terminal.line_begun = not text.endswith("\n")
        elif not self._printed:
            text = ("" if self._ends_line else "\n") + self._start + text
        self._printed = True  # before the write, which Ctrl-C can interrupt
        write(self._terminal, text)


class ExactWriter(ResultWriter):
    """Writes the text as it streams, with all its whitespace and no newline of its own.

    Only on a terminal, and between two texts, each text ends its line.
    """

    streams = True

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._last = "\n"
        self._between = False

    def begin(self, job: Job) -> None:  # noqa: ARG002
        """End the line of the text before."""
        if self._between:
            self._end_line()
        self._between = True

    def delta(self, text: str) -> None:
        """Write the delta."""
        if text:
            self._last = text[-1]
            if self._terminal.stdout_is_terminal:
                text = without_controls(text)
                self._terminal.line_begun = self._last != "\n"
            write(self._terminal, text)

    def finish(self, result: Result) -> None:  # noqa: ARG002
        """End the line of a person who reads it."""
        if self._terminal.stdout_is_terminal:
            self._end_line()

    def abort(self) -> None:
        """End an unfinished line."""
        if self._terminal.stdout_is_terminal:
            self._end_line()

    def _end_line(self) -> None:
        if self._last != "\n":
            self.delta("\n")


class DataWriter(ResultWriter):
    """Writes one JSON value: indented on a terminal, on one line in a pipe."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._deltas = 0

    def delta(self, text: str) -> None:  # noqa: ARG002
        """Count the delta. The value is written only once it is complete and valid."""
        self._deltas += 1
        self._terminal.status(f"writing: {self._deltas} tokens …")

    def finish(self, result: Result) -> None:
        """Write the value."""
        self._deltas = 0
        if result.extraction:
            write_json(self._terminal, result.extraction.data)


class ItemsWriter(DataWriter):
    """Writes the items of a list, each on its own line as soon as it is complete."""

    def item(self, value: Any) -> None:
        """Write the item."""
        write_json(self._terminal, value, on_one_line=True)


class JsonWriter(DataWriter):
    """Writes the object of `--json`: one line with the answer, the request and their cost."""

    def __init__(self, terminal: Terminal, *, exact: bool) -> None:
        super().__init__(terminal)
        self._exact = exact

    def finish(self, result: Result) -> None:
        """Write the object."""
        planner = result.planner
        fields = {
            **request_fields(planner, result.prepared),
            **answer_fields(result, exact=self._exact),
            "context_length": planner.load.context_length,
            "gpu_layers": planner.load.gpu_layers,
            "gpu_reason": planner.config.selection.gpu_reason,
            "seed": result.prepared.request.sampling.seed,
            "warnings": [*self._terminal.warnings, *result.warnings],
        }
        write_envelope(self._terminal, fields)


class PageWriter(ResultWriter):
    """Passes everything on, and shows the extracted values in an HTML page about all `count` texts.

    A run that fails or is interrupted leaves a page about the texts that were answered, if any.
    """

    def __init__(
        self,
        writer: ResultWriter,
        page: HighlightsPage,
        terminal: Terminal,
        facts: Mapping[str, str],
        count: int,
    ) -> None:
        self._writer, self._page, self._terminal = writer, page, terminal
        self._facts, self._count = facts, count
        self._name, self._text = "", ""
        self._items: list[Any] = []

    def begin(self, job: Job) -> None:
        """Keep the text: the result may be about a part of it."""
        text = job.prompt.text
        self._name, self._text, self._items = job.subject or text.source, text.text, []
        self._writer.begin(job)

    def delta(self, text: str) -> None:
        """Pass the delta on."""
        self._writer.delta(text)

    def frame(self, start: str, end: str) -> None:
        """Pass the frame on."""
        self._writer.frame(start, end)

    def item(self, value: Any) -> None:
        """Keep the item, which the result will not contain."""
        self._items.append(value)
        self._writer.item(value)

    def finish(self, result: Result) -> None:
        """Add the values to the page."""
        from mistral_cli.structured.highlights.page import Section
        from mistral_cli.structured.spec import Extraction

        self._writer.finish(result)
        spec = result.prepared.prompt.spec
        assert spec
        extraction = result.extraction or Extraction(self._items)
        section = Section.of(self._name, self._text, extraction, spec.spec.schema, result.warnings)
        self._page.sections.append(section)

    def abort(self) -> None:
        """Write the page about the texts that were answered; a failure is only a warning."""
        self._writer.abort()
        if answered := len(self._page.sections):
            ended = f"The run ended early: this page has {answered} of {self._count} texts."
            try:
                self._page.write(self._facts, [ended])
            except MistralCliError as error:
                self._terminal.warn(error.message)

    def close(self) -> None:
        """Write the page. Raises MistralCliError."""
        self._writer.close()
        self._page.write(self._facts)


def write_dry_run(
    planner: RequestPlanner,
    prepared: PreparedRequest,
    checks: Sequence[PlannedCheck],
    terminal: Terminal,
    *,
    as_json: bool,
) -> None:
    """Print the request that a run would send to the engine, and the checks of its answer."""
    request, load, selection = prepared.request, planner.load, planner.config.selection
    spec = prepared.prompt.spec.spec if prepared.prompt.spec else None
    from mistral_cli.generation.checking.rules import planned_fields

    prompt, sources = planner.prompt_text(prepared), dict(prepared.sources)
    if not spec:
        sources.pop("on_limit")
    if as_json:
        fields = {
            **request_fields(planner, prepared),
            "prompt": prompt,
            "prompt_token_ids": request.prompt_token_ids,
            "prompt_tokens": prepared.prompt_tokens,
            "context_length": load.context_length,
            "tokens_left": load.context_length - prepared.prompt_tokens,
            "gpu_layers": load.gpu_layers,
            "gpu_reason": selection.gpu_reason,
            "threads": load.threads,
            "max_tokens": request.max_tokens,
            **_sampling_fields(request.sampling),
            "sampling_sources": sources,
            "stop": prepared.stop,
            "on_limit": prepared.on_limit if spec else None,
            "schema": spec and spec.schema,
            "many": bool(spec and spec.many),
            "grounded": spec.grounded if spec else prepared.prompt.grounding is not None,
            "checks": [planned_fields(check) for check in checks],
            "warnings": terminal.warnings,
        }
        write_envelope(terminal, fields)
        return
    write(terminal, prompt + "\n")
    terminal.note(
        f"dry run: {prepared.prompt_tokens} prompt tokens of {load.context_length}, at most "
        f"{request.max_tokens} new ones, {selection.backend.name}, "
        f"{_computed_where(planner, prepared)}"
    )
    terminal.note(f"sampling: {_sampling_by_source(prepared)}")
    if spec:
        origin = _ORIGINS[prepared.sources["on_limit"]]
        terminal.note(f"on the limit: {prepared.on_limit} {origin}")
    if checks:
        terminal.note(f"checks: {', '.join(map(str, checks))}")


_SENT_AS: Mapping[PromptedAs, str] = {
    "tokens": "which gets the prompt's token ids",
    "text": "which gets the text",
    "chat": "which gets the messages and applies its own template",
}


def _computed_where(planner: RequestPlanner, prepared: PreparedRequest) -> str:
    """The layers on the GPU, or what a server gets."""
    model, load, selection = planner.config.model, planner.load, planner.config.selection
    if isinstance(model, RemoteModel):
        return _SENT_AS[model.prompted_as(prepared.request.prompt_token_ids)]
    return f"{load.gpu_layers} layers on the GPU ({selection.gpu_reason})"


def _sampling_fields(sampling: Sampling) -> dict[str, Any]:
    return {
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "repetition_penalty": sampling.repetition_penalty,
        "repeat_last_n": sampling.repeat_last_n,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "dry_multiplier": sampling.dry_multiplier,
        "dry_base": sampling.dry_base,
        "dry_allowed_length": sampling.dry_allowed_length,
        "dry_penalty_last_n": sampling.dry_penalty_last_n,
        "seed": sampling.seed,
    }


_ORIGINS: Mapping[Source, str] = {
    "option": "from options",
    "request": "from the request",
    "template": "from the template",
    "config": "from the configuration",
    "model": "from the model's file",
    "default": "by default",
    "random": "",
}


def _sampling_by_source(prepared: PreparedRequest) -> str:
    """The settings as one text, those of each source together; without those of DRY if it is off.

    A random seed has no number: the next run has another one.
    """
    by_origin: dict[str, list[str]] = {origin: [] for origin in _ORIGINS.values()}
    sampling = prepared.request.sampling
    for name, value in _sampling_fields(sampling).items():
        source = prepared.sources[name]
        if not name.startswith("dry_") or sampling.dry_multiplier:
            shown = "random" if source == "random" else f"{value:g}"
            by_origin[_ORIGINS[source]].append(f"{name} {shown}")
    groups = (f"{', '.join(each)} {origin}" for origin, each in by_origin.items() if each)
    return "; ".join(groups).rstrip()
