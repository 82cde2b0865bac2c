"""The rows of a batch as work: their prompts, with the values of each row."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mistral_cli.errors import MistralCliError, UsageError
from mistral_cli.generation.prompt import Prompt, PromptBuilder
from mistral_cli.structured.schema import load_schema
from mistral_cli.structured.spec import BoundSpec, OutputSpec
from mistral_cli.texts.inputs import Text

if TYPE_CHECKING:
    from mistral_cli.batch.input.rows import Row
    from mistral_cli.generation.task import Task

_PLACEHOLDER = re.compile(r"\{(\w+)\}")


@dataclass(slots=True)
class WorkItem:
    """A row, its key, and its number among the rows of the batch, from 0.

    Its prompt, or the error that prevents one, is known if the key needed them; `RowPrompts.of`
    builds it otherwise. `lines` are for the sink: the line of an earlier result that the row has
    taken, and the newest one of its id, or -1.
    """

    row: Row
    key: str
    number: int = 0
    prompt: Prompt | None = None
    error: MistralCliError | None = None
    lines: tuple[int, int] = (-1, -1)

    @property
    def size(self) -> int:
        """How long the row is, in characters; 0 if it fails at once."""
        if self.error or self.row.error:
            return 0
        return 1 + len(self.row.text) + sum(len(each.content) for each in self.row.conversation)


@dataclass(frozen=True)
class RowPrompts:
    """Builds the prompts of a batch; `instruction` may have {placeholders} for a row's fields."""

    task: Task
    builder: PromptBuilder
    instruction: str | None

    def check(self, rows: Sequence[Row]) -> None:
        """Raise UsageError for options that none of the first rows could satisfy."""
        self.check_requests(rows)
        known = {"text"}.union(*(row.fields for row in rows))
        unknown = [
            name for name in _PLACEHOLDER.findall(self.instruction or "") if name not in known
        ]
        if unknown:
            raise UsageError(
                f"no row has a value for {{{unknown[0]}}} in --prompt",
                hint=f"The rows have {_placeholders(known)}. Write other words without braces.",
            )

    def check_requests(self, rows: Iterable[Row]) -> None:
        """Raise UsageError for options that a row, an OpenAI request, would ignore."""
        request = next((row for row in rows if row.conversation), None)
        if request and self._has_own_instruction:
            raise UsageError(
                f"{request.source} is an OpenAI request, which contains its own instruction",
                hint="Use `batch generate` without --prompt, --system, --template, -p or --raw.",
            )

    @property
    def fills_text(self) -> bool:
        """Whether the text of a prompt is the instruction with the row's values."""
        return self.instruction is not None and "{text}" in self.instruction

    @property
    def inserts_text(self) -> bool:
        """Whether the prompts of rows with a text differ only where that is inserted unchanged."""
        if self.task is None or self.task.gap:
            return False
        if self.instruction and not self.fills_text and _PLACEHOLDER.search(self.instruction):
            return False
        return self.builder.options.raw or self.builder.template.inserts_text

    @property
    def constant_builder(self) -> PromptBuilder:
        """The builder of such prompts."""
        if self.instruction is None or self.fills_text:
            return self.builder
        return replace(self.builder, instruction=self.instruction)

    def builder_of(self, row: Row) -> PromptBuilder:
        """Return the builder with the instruction for `row`, if that stands beside the text."""
        if self.instruction is None or "{text}" in self.instruction or row.error:
            return self.builder
        return replace(self.builder, instruction=_fill(self.instruction, row))

    def text_of(self, row: Row) -> Text:
        """Return the text of the prompt about `row`. Raises UsageError."""
        if self.instruction is not None and self.fills_text:
            return Text(_fill(self.instruction, row), row.source)
        whole_file = row.path is not None
        return Text(row.text, row.source, row.original, had_newline=whole_file)

    def of(self, item: WorkItem) -> Prompt:
        """Return the prompt of an item. Raises the error of a row that has none."""
        if item.error:
            raise item.error
        return item.prompt or self.prompt(item.row)

    def prompt(self, row: Row) -> Prompt:
        """Return the prompt about `row`. Raises the error of a row that has none."""
        if row.error:
            raise row.error
        if row.conversation:
            return _request_prompt(row)
        prompt = self.builder_of(row).build(self.text_of(row))
        is_continued = self.task.gap is not None and isinstance(row.expected, str)
        return replace(prompt, known=row.expected) if is_continued else prompt

    @property
    def _has_own_instruction(self) -> bool:
        task, options = self.task, self.builder.options
        values = (
            self.instruction,
            options.template,
            options.param,
            options.raw or None,
            options.system,
        )
        return task.name != "generate" or any(value is not None for value in values)


def _request_prompt(row: Row) -> Prompt:
    """Return the prompt of an OpenAI request, which has its own messages and settings."""
    overrides = dict(row.overrides)
    schema = overrides.pop("schema", None)
    spec = None
    if schema is not None:
        output = OutputSpec(load_schema(json.dumps(schema)))
        output.check()
        spec = BoundSpec(output, "")
    return Prompt(Text("", row.source), list(row.conversation), spec, overrides)


def _fill(instruction: str, row: Row) -> str:
    """Replace the placeholders by the row's values; other braces stay as they are."""
    values = {**row.fields, "text": row.text}

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise UsageError(
                f"{row.source} has no {match[1]!r}", hint=f"It has {_placeholders(values)}."
            )
        return values[match[1]]

    return _PLACEHOLDER.sub(value, instruction)


def _placeholders(names: Iterable[str]) -> str:
    """List the placeholders for `names`, without names that cannot be one."""
    return ", ".join(filter(_PLACEHOLDER.fullmatch, (f"{{{name}}}" for name in sorted(names))))
