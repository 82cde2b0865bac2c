"""The prompt of each row, and the digest by which a later run recognizes the row's result."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from mistral_cli.errors import MistralCliError, UsageError
from mistral_cli.generation.prompt import Prompt, PromptBuilder
from mistral_cli.structured.schema import load_schema
from mistral_cli.structured.spec import BoundSpec, OutputSpec
from mistral_cli.texts.inputs import Text

if TYPE_CHECKING:
    from mistral_cli.batch.input.rows import Row
    from mistral_cli.generation.config import RunConfig
    from mistral_cli.generation.task import Task

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_KEY_LENGTH = 32  # hex digits; half a SHA-256 is enough to tell any two rows apart


@dataclass
class WorkItem:
    """A row, its key, and its prompt or the error that prevents one.

    The prompt is built once, and dropped as soon as the row is answered.
    """

    row: Row
    key: str
    prompt: Prompt | None = None
    error: MistralCliError | None = None

    def built_prompt(self) -> Prompt:
        """Return the prompt. Raises the error of a row that has none."""
        if self.error:
            raise self.error
        assert self.prompt is not None
        return self.prompt


@dataclass(frozen=True)
class RowPrompts:
    """Builds the prompts of a batch; `instruction` may have {placeholders} for a row's fields."""

    task: Task
    builder: PromptBuilder
    instruction: str | None

    def check(self, rows: Sequence[Row]) -> None:
        """Raise UsageError for options that no row could satisfy, or that would be ignored."""
        request = next((row for row in rows if row.conversation), None)
        if request and self._has_own_instruction:
            raise UsageError(
                f"{request.source} is an OpenAI request, which contains its own instruction",
                hint="Use `batch generate` without --prompt, --system, --template, -p or --raw.",
            )
        known = {"text"}.union(*(row.fields for row in rows))
        unknown = [
            name for name in _PLACEHOLDER.findall(self.instruction or "") if name not in known
        ]
        if unknown:
            raise UsageError(
                f"no row has a value for {{{unknown[0]}}} in --prompt",
                hint=f"The rows have {_placeholders(known)}. Write other words without braces.",
            )

    def builder_of(self, row: Row) -> PromptBuilder:
        """Return the builder with the instruction for `row`, if that stands beside the text."""
        if self.instruction is None or "{text}" in self.instruction or row.error:
            return self.builder
        return replace(self.builder, instruction=_fill(self.instruction, row))

    def text_of(self, row: Row) -> Text:
        """Return the text of the prompt about `row`. Raises UsageError."""
        if self.instruction is not None and "{text}" in self.instruction:
            return Text(_fill(self.instruction, row), row.source)
        whole_file = row.path is not None
        return Text(row.text, row.source, row.original, had_newline=whole_file)

    def item(self, row: Row, config: RunConfig, model_digest: str) -> WorkItem:
        """Build the prompt of `row`, and its key: a digest of all that its result depends on."""
        prompt, error = None, None
        try:
            prompt = self._prompt(row)
            identity = _identity(prompt, self.task, self.builder, config)
        except MistralCliError as raised:
            error = raised
            # Not its message, whose wording may change from version to version.
            identity = {"row": [row.id, row.source, row.text], "error": raised.exit_code}
        text = json.dumps([identity, model_digest], sort_keys=True, ensure_ascii=False, default=str)
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        return WorkItem(row, digest[:_KEY_LENGTH], prompt, error)

    def _prompt(self, row: Row) -> Prompt:
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


def _identity(
    prompt: Prompt, task: Task, builder: PromptBuilder, config: RunConfig
) -> dict[str, Any]:
    """Return all that the result of a prompt depends on, except the model's file.

    If a key here changes, the results of earlier versions are no longer recognized.
    """
    spec = prompt.spec and prompt.spec.spec
    content = prompt.content
    messages = content if isinstance(content, str) else [(m.role, m.content) for m in content]
    adapters = [adapter.identity for adapter in config.adapters]
    text = prompt.text
    original = text.original if task.strategy.rewrites and text.original != text.text else ""
    return {
        "version": 1,
        "task": task.name,
        "values": dict(task.values),
        "prompt": messages,
        **task.strategy.identity(builder),
        **({"original": original} if original else {}),
        # A text that is continued may have blanks that its prompt lacks.
        **({"text": text.text} if task.gap and text.text != content else {}),
        **({"after": prompt.after} if prompt.after is not None else {}),
        **({"known": prompt.known} if prompt.known is not None else {}),
        "settings": _settings(prompt, config),
        "stop": config.generation.stop,
        "shape": spec and [spec.schema, spec.many, spec.grounded],
        **({"grounded": True} if prompt.grounding is not None else {}),
        "overflow": config.overflow,
        "context_length": config.context_length,
        "engine": config.selection.backend.name,
        **({"adapters": adapters} if adapters else {}),
        **({"reasoning": _reasoning(config)} if config.reasoning else {}),
    }


def _reasoning(config: RunConfig) -> list[Any]:
    """Return how the model thinks before it answers."""
    reasoning = config.reasoning
    assert reasoning is not None
    prompts = reasoning.prompts
    return [prompts.end, dict(prompts.variables), prompts.suffix, reasoning.budget]


def _settings(prompt: Prompt, config: RunConfig) -> dict[str, Any]:
    """Return the sampler's settings; without the seed if it is a new one in each run."""
    generation = config.generation.override(prompt.overrides)
    sampling = generation.sampling
    settings: dict[str, Any] = {
        "max_tokens": generation.max_tokens,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "repetition_penalty": sampling.repetition_penalty,
    }
    # What is off is not named, so that results of earlier versions are recognized.
    for each in fields(sampling):
        value = getattr(sampling, each.name)
        if each.default is not MISSING and value != each.default:
            settings[each.name] = value
    if generation.sources["seed"] != "random":
        settings["seed"] = sampling.seed
    if "stop" in prompt.overrides:
        settings["stop"] = list(generation.stop)
    return settings
