"""What is asked about each text: the task, the template and the user's words made one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mistral_cli.errors import UsageError, about
from mistral_cli.inputs.texts import Inputs, Text
from mistral_cli.instruct.messages import Message
from mistral_cli.options import TaskOptions
from mistral_cli.structured.schema import Schema
from mistral_cli.structured.shape import Expected, Shape
from mistral_cli.templates import Template

# Of a task's values, those that the grammar holds to though the prompt does not tell them.
_HELD = {"fields", "many", "grounded", "nullable"}


@dataclass(frozen=True)
class Task:
    """What a command asks for. `values` are for the template; `schema` is the answer's.

    The schema of the template comes next, and `fallback_schema` last; `many` and `grounded`
    are those of `Shape`, and with `jsonl` the items of a list are printed as they come.
    """

    name: str
    values: Mapping[str, Any] = field(default_factory=dict)
    schema: Schema | None = None
    fallback_schema: Schema | None = None
    many: bool = False
    grounded: bool = False
    jsonl: bool = False

    def shape(self, template: Template) -> Shape | None:
        """What the answer must be; None for a text."""
        schema = self.schema or template.schema or self.fallback_schema
        return None if schema is None else Shape(schema, self.many, self.grounded)


@dataclass(frozen=True)
class Draft:
    """What is asked about one `text`, in no model's format yet.

    `subject` names the text among several, else it is empty. `prompt` is a bare text with
    `--raw`. `expected` reads a JSON answer.
    """

    text: Text
    subject: str
    prompt: list[Message] | str
    expected: Expected | None


def make_drafts(
    task: Task, template: Template, inputs: Inputs, options: TaskOptions
) -> list[Draft]:
    """One draft for each text of `inputs`. Raises UsageError, OutputInvalid."""
    shape, drafts = task.shape(template), []
    for text, subject in zip(inputs.texts, _subjects(inputs), strict=True):
        prompt = _prompt(template, task, inputs.instruction, text.text, options)
        expected = Expected(shape, text.text) if shape else None
        with about(subject):
            _ = expected and expected.grammar  # a text can lack what the answer must have
        drafts.append(Draft(text, subject, prompt, expected))
    return drafts


def _subjects(inputs: Inputs) -> list[str]:
    """What to call each text in an error, where there are several."""
    count = len(inputs.texts)
    if count == 1:
        return [""]
    return [f"{t.source} (text {i} of {count})" for i, t in enumerate(inputs.texts, start=1)]


def _prompt(
    template: Template, task: Task, instruction: str | None, text: str, options: TaskOptions
) -> list[Message] | str:
    """The messages, or with `--raw` the bare text."""
    if options.raw:
        asked = set(task.values) - _HELD
        if options.system is not None or options.template or options.param or asked:
            raise UsageError(
                "--raw sends the text as it is, so nothing else can be said about it",
                hint="Drop --raw, or write what the other options say into the text.",
            )
        return f"{instruction}\n\n{text}" if instruction else text
    params = _parse_params(options.param or ())
    messages = template.fill(text, instruction, params=params, task_values=task.values)
    if options.system is None:
        return messages
    own = [Message("system", options.system)] if options.system else []
    return own + [message for message in messages if message.role != "system"]


def _parse_params(params: Sequence[str]) -> dict[str, str]:
    pairs = [param.partition("=") for param in params]
    for name, equals, _ in pairs:
        if not name or not equals:
            raise UsageError(f"-p {name!r} has no value", hint="Write -p NAME=VALUE.")
    return {name: value for name, _, value in pairs}
