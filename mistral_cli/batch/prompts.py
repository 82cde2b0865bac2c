"""A row → what is asked about it, and the digest by which its result is known again."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from mistral_cli.errors import MistralCliError, UsageError
from mistral_cli.generation.prompt import Prompt, PromptBuilder
from mistral_cli.structured.schema import load_schema
from mistral_cli.structured.spec import BoundSpec, OutputSpec
from mistral_cli.texts.inputs import Text

if TYPE_CHECKING:
    from mistral_cli.batch.input.rows import Row
    from mistral_cli.generation.config import RunConfig

_PLACE = re.compile(r"\{(\w+)\}")
_KEY_LENGTH = 32  # hex digits; half a SHA-256 tells all rows of this world apart


@dataclass(frozen=True)
class Item:
    """A row of a batch and its identity."""

    row: Row
    key: str


@dataclass(frozen=True)
class RowPrompts:
    """What a batch asks about its rows; `prompt` is the instruction with {places} in it."""

    drafter: PromptBuilder
    prompt: str | None

    def check(self, rows: Sequence[Row]) -> None:
        """Refuse what would go wrong with every row, or be passed over. Raises UsageError."""
        request = next((row for row in rows if row.conversation), None)
        if request and self._says_more_than_a_request:
            raise UsageError(
                f"{request.source} is an OpenAI request, which says itself what is asked",
                hint="Use `batch generate` without --prompt, --system, --template, -p or --raw.",
            )
        known = {"text"}.union(*(row.fields for row in rows))
        unknown = [name for name in _PLACE.findall(self.prompt or "") if name not in known]
        if unknown:
            raise UsageError(
                f"no row has what {{{unknown[0]}}} in --prompt stands for",
                hint=f"They have {_places(known)}. Other words stand without braces.",
            )

    def draft(self, row: Row) -> Prompt:
        """What is asked about `row`. Raises the row's own error, and UsageError."""
        if row.error:
            raise row.error
        if row.conversation:
            return self._request(row)
        drafter = self.drafter_of(row)
        in_place = self.prompt is not None and "{text}" in self.prompt
        text = _fill(self.prompt or "", row) if in_place else row.text
        return drafter.draft(Text(text, row.source))

    def drafter_of(self, row: Row) -> PromptBuilder:
        """The drafter with the instruction for `row`, where that stands beside its text."""
        if self.prompt is None or "{text}" in self.prompt or row.error:
            return self.drafter
        return replace(self.drafter, instruction=_fill(self.prompt, row))

    def item(self, row: Row, setup: RunConfig, model_digest: str) -> Item:
        """`row` with its identity: all that its result depends on, and nothing else."""
        try:
            told = _told(self.draft(row), self.drafter, setup)
        except MistralCliError as error:
            told = {"row": [row.id, row.source, row.text], "error": error.message}
        text = json.dumps([told, model_digest], sort_keys=True, ensure_ascii=False, default=str)
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        return Item(row, digest[:_KEY_LENGTH])

    @property
    def _says_more_than_a_request(self) -> bool:
        task, options = self.drafter.task, self.drafter.options
        more = (self.prompt, options.template, options.param, options.raw or None)
        said = any(each is not None for each in (*more, options.system))
        return task.name != "generate" or said

    def _request(self, row: Row) -> Prompt:
        """An OpenAI request, which brings its own messages and settings."""
        settings = dict(row.overrides)
        schema = settings.pop("schema", None)
        expected = None
        if schema is not None:
            shape = OutputSpec(load_schema(json.dumps(schema)))
            shape.check()
            expected = BoundSpec(shape, "")
        return Prompt(Text("", row.source), list(row.conversation), expected, settings)


def _fill(prompt: str, row: Row) -> str:
    """`prompt` with the row's values in its places; other braces stay as they are."""
    values = {**row.fields, "text": row.text}

    def value(place: re.Match[str]) -> str:
        if place[1] not in values:
            raise UsageError(f"{row.source} has no {place[1]!r}", hint=f"It has {_places(values)}.")
        return values[place[1]]

    return _PLACE.sub(value, prompt)


def _places(names: Iterable[str]) -> str:
    """The `names` that can stand in a prompt, as they would."""
    return ", ".join(filter(_PLACE.fullmatch, (f"{{{name}}}" for name in sorted(names))))


def _told(draft: Prompt, drafter: PromptBuilder, setup: RunConfig) -> dict[str, Any]:
    options, shape = setup.options, draft.expected and draft.expected.spec
    settings = {**setup.settings, **draft.settings}
    if options.seed is None and "seed" not in draft.settings:
        del settings["seed"]
    prompt = draft.prompt
    told = prompt if isinstance(prompt, str) else [(m.role, m.content) for m in prompt]
    adapters = [each.identity for each in setup.adapters]
    return {
        "version": 1,
        "task": drafter.task.name,
        "values": dict(drafter.task.values),
        "prompt": told,
        "part": drafter.part.source if drafter.task.way == "summary" else None,
        "glossary": drafter.task.glossary and asdict(drafter.task.glossary),
        "settings": settings,
        "stop": setup.stop,
        "shape": shape and [shape.schema, shape.many, shape.grounded],
        "overflow": setup.overflow,
        "context_length": options.context_length,
        "engine": setup.selection.backend.name,
        **({"adapters": adapters} if adapters else {}),
    }
