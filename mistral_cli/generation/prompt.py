"""What is asked about a text: the task, the template and the user's words made one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mistral_cli.errors import UsageError
from mistral_cli.models.chat import Message
from mistral_cli.texts.inputs import Text

if TYPE_CHECKING:
    from mistral_cli.generation.options import TaskOptions
    from mistral_cli.generation.task import Task
    from mistral_cli.generation.templates import Template
    from mistral_cli.structured.spec import BoundSpec, OutputSpec

# Of a task's values, those that the grammar holds to though the prompt does not tell them.
_HELD = {"fields", "many", "grounded", "nullable"}

# What summarizes a part of a text: of the user's wishes only the language counts there.
PART_TEMPLATE = "summarize-part"


@dataclass(frozen=True)
class Prompt:
    """What is asked about one `text`, in no model's format yet.

    `prompt` is a bare text with `--raw`. `expected` reads a JSON answer. `settings` are
    sampling options that hold for this text alone.
    """

    text: Text
    prompt: list[Message] | str
    expected: BoundSpec | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PromptBuilder:
    """Texts → drafts: what the task, its template and the user's options say of each.

    `part` is the template for the parts of a text that is summarized in parts.
    """

    task: Task
    template: Template
    part: Template
    options: TaskOptions
    instruction: str | None = None

    @property
    def shape(self) -> OutputSpec | None:
        """What every answer must be; None for a text."""
        task = self.task
        schema = task.schema or self.template.schema or task.fallback_schema
        if schema is None:
            return None
        from mistral_cli.structured.spec import OutputSpec

        return OutputSpec(schema, task.many, task.grounded)

    def draft(self, text: Text, values: Mapping[str, Any] | None = None) -> Prompt:
        """What is asked about `text`; `values` are for the template, beside the task's.

        Raises UsageError.
        """
        expected = self.shape.bind(text.text) if self.shape else None
        return Prompt(text, self._prompt(text.text, values or {}), expected)

    def again(self, draft: Prompt, text: str) -> Prompt:
        """What `draft` asks, about another text of the same source."""
        values = {}
        if self.task.glossary and (terms := self.task.glossary.terms_in(text)):
            values["terms"] = "; ".join(f"{term} = {told}" for term, told in terms.items())
        return replace(self.draft(Text(text, draft.text.source), values), settings=draft.settings)

    def part_of(self, draft: Prompt, text: str) -> Prompt:
        """What is asked about a part of a text that is summarized in parts."""
        kept = {n: v for n, v in self.task.values.items() if n == "language"}
        task, options = replace(self.task, values=kept), replace(self.options, param=None)
        part = replace(self, task=task, template=self.part, options=options).again(draft, text)
        # Its own limit: it is what makes the summaries shorter than the parts.
        limit = {n: v for n, v in self.part.options.items() if n == "max_tokens"}
        return replace(part, settings={**part.settings, **limit})

    def _prompt(self, text: str, values: Mapping[str, Any]) -> list[Message] | str:
        """The messages, or with `--raw` the bare text."""
        options, instruction = self.options, self.instruction
        values = {**self.task.values, **values}
        if options.raw:
            if options.system is not None or options.template or options.param or _told(values):
                raise UsageError(
                    "--raw sends the text as it is, so nothing else can be said about it",
                    hint="Drop --raw, or write what the other options say into the text.",
                )
            return f"{instruction}\n\n{text}" if instruction else text
        params = _parse_params(options.param or ())
        messages = self.template.fill(text, instruction, params=params, task_values=values)
        if options.system is None:
            return messages
        own = [Message("system", options.system)] if options.system else []
        return own + [message for message in messages if message.role != "system"]


def _told(values: Mapping[str, Any]) -> set[str]:
    return set(values) - _HELD


def _parse_params(params: Sequence[str]) -> dict[str, str]:
    pairs = [param.partition("=") for param in params]
    for name, equals, _ in pairs:
        if not name or not equals:
            raise UsageError(f"-p {name!r} has no value", hint="Write -p NAME=VALUE.")
    return {name: value for name, _, value in pairs}
