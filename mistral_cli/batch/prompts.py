"""A row → what is asked about it, and the digest by which its result is known again."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mistral_cli.errors import MistralCliError, UsageError
from mistral_cli.generation.prompt import Prompt, PromptBuilder
from mistral_cli.structured.schema import load_schema
from mistral_cli.structured.spec import BoundSpec, OutputSpec
from mistral_cli.texts.inputs import Text

if TYPE_CHECKING:
    from mistral_cli.batch.input.rows import Row
    from mistral_cli.generation.config import RunConfig

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_KEY_LENGTH = 32  # hex digits; half a SHA-256 tells all rows of this world apart


@dataclass
class Item:
    """A row of a batch, its identity, and the prompt about it or the error that prevents one.

    The prompt is built once, and dropped as soon as the row is answered.
    """

    row: Row
    key: str
    prompt: Prompt | None = None
    error: MistralCliError | None = None

    def built(self) -> Prompt:
        """The prompt. Raises the error of a row that cannot be asked about."""
        if self.error:
            raise self.error
        assert self.prompt is not None
        return self.prompt


@dataclass(frozen=True)
class RowPrompts:
    """The prompts of a batch; `instruction` may have {placeholders} for the fields of a row."""

    builder: PromptBuilder
    instruction: str | None

    def check(self, rows: Sequence[Row]) -> None:
        """Refuse what would go wrong with every row, or be passed over. Raises UsageError."""
        request = next((row for row in rows if row.conversation), None)
        if request and self._says_more_than_a_request:
            raise UsageError(
                f"{request.source} is an OpenAI request, which says itself what is asked",
                hint="Use `batch generate` without --prompt, --system, --template, -p or --raw.",
            )
        known = {"text"}.union(*(row.fields for row in rows))
        unknown = [
            name for name in _PLACEHOLDER.findall(self.instruction or "") if name not in known
        ]
        if unknown:
            raise UsageError(
                f"no row has what {{{unknown[0]}}} in --prompt stands for",
                hint=f"They have {_places(known)}. Other words stand without braces.",
            )

    def builder_of(self, row: Row) -> PromptBuilder:
        """The builder with the instruction for `row`, where that stands beside its text."""
        if self.instruction is None or "{text}" in self.instruction or row.error:
            return self.builder
        return replace(self.builder, instruction=_fill(self.instruction, row))

    def item(self, row: Row, config: RunConfig, model_digest: str) -> Item:
        """`row` with its prompt, and a digest of all that its result depends on."""
        prompt, error = None, None
        try:
            prompt = self._prompt(row)
            content = _identity(prompt, self.builder, config)
        except MistralCliError as raised:
            error = raised
            content = {"row": [row.id, row.source, row.text], "error": raised.message}
        text = json.dumps([content, model_digest], sort_keys=True, ensure_ascii=False, default=str)
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        return Item(row, digest[:_KEY_LENGTH], prompt, error)

    def _prompt(self, row: Row) -> Prompt:
        """The prompt about `row`. Raises the row's own error, and UsageError."""
        if row.error:
            raise row.error
        if row.conversation:
            return self._request(row)
        in_place = self.instruction is not None and "{text}" in self.instruction
        text = _fill(self.instruction or "", row) if in_place else row.text
        return self.builder_of(row).build(Text(text, row.source))

    @property
    def _says_more_than_a_request(self) -> bool:
        task, options = self.builder.task, self.builder.options
        more = (self.instruction, options.template, options.param, options.raw or None)
        said = any(each is not None for each in (*more, options.system))
        return task.name != "generate" or said

    def _request(self, row: Row) -> Prompt:
        """An OpenAI request, which brings its own messages and settings."""
        overrides = dict(row.overrides)
        schema = overrides.pop("schema", None)
        spec = None
        if schema is not None:
            output = OutputSpec(load_schema(json.dumps(schema)))
            output.check()
            spec = BoundSpec(output, "")
        return Prompt(Text("", row.source), list(row.conversation), spec, overrides)


def _fill(prompt: str, row: Row) -> str:
    """`prompt` with the row's values in its places; other braces stay as they are."""
    values = {**row.fields, "text": row.text}

    def value(place: re.Match[str]) -> str:
        if place[1] not in values:
            raise UsageError(f"{row.source} has no {place[1]!r}", hint=f"It has {_places(values)}.")
        return values[place[1]]

    return _PLACEHOLDER.sub(value, prompt)


def _places(names: Iterable[str]) -> str:
    """The `names` that can stand in a prompt, as they would."""
    return ", ".join(filter(_PLACEHOLDER.fullmatch, (f"{{{name}}}" for name in sorted(names))))


def _identity(prompt: Prompt, builder: PromptBuilder, config: RunConfig) -> dict[str, Any]:
    """All that the result of a prompt depends on, but for the model's file."""
    spec = prompt.spec and prompt.spec.spec
    content = prompt.content
    messages = content if isinstance(content, str) else [(m.role, m.content) for m in content]
    adapters = [each.identity for each in config.adapters]
    return {
        "version": 1,
        "task": builder.task.name,
        "values": dict(builder.task.values),
        "prompt": messages,
        **builder.task.strategy.identity(builder),
        "settings": _settings(prompt, config),
        "stop": config.generation.stop,
        "shape": spec and [spec.schema, spec.many, spec.grounded],
        "overflow": config.overflow,
        "context_length": config.context_length,
        "engine": config.selection.backend.name,
        **({"adapters": adapters} if adapters else {}),
    }


def _settings(prompt: Prompt, config: RunConfig) -> dict[str, Any]:
    """The sampler's settings; a seed that nobody chose changes from run to run."""
    generation = config.generation.override(prompt.overrides)
    settings: dict[str, Any] = {
        "max_tokens": generation.max_tokens,
        "temperature": generation.temperature,
        "top_k": generation.top_k,
        "top_p": generation.top_p,
        "repetition_penalty": generation.repetition_penalty,
    }
    if "seed" in generation.set_by_user or "seed" in prompt.overrides:
        settings["seed"] = generation.seed
    if "stop" in prompt.overrides:
        settings["stop"] = list(generation.stop)
    return settings
