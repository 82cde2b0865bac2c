"""The part of a task that its prompts need. Task files import it, so it imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mistral_cli.generation.checking.options import CheckOptions

if TYPE_CHECKING:
    from mistral_cli.generation.completions.gap import GapFinder
    from mistral_cli.structured.schema import Schema


@dataclass(frozen=True)
class TaskPrompt:
    """A task's contribution to its prompts; `Task` adds the strategy that answers them.

    `values` go to the template; the grammar enforces those named in `enforced`, so `--raw` may
    leave them out of the prompt. The answer must match `schema`, else the template's schema,
    else `fallback_schema`; `many` and `grounded` have the meaning that they have in `OutputSpec`.
    With `choosing` the strategy gives each prompt a grammar of its own. With `gap` the text is
    sent as it is, and continued there.
    `checks` says how an answer that is text is checked.
    """

    name: str
    values: Mapping[str, Any] = field(default_factory=dict)
    enforced: frozenset[str] = frozenset()
    schema: Schema | None = None
    fallback_schema: Schema | None = None
    many: bool = False
    grounded: bool = False
    choosing: bool = False
    gap: GapFinder | None = None
    checks: CheckOptions = field(default_factory=CheckOptions)

    @property
    def chunk_template(self) -> str | None:
        """The template for prompts about a chunk, where it is not the task's own."""
        return None

    def template_values(self, text: str) -> Mapping[str, Any]:  # noqa: ARG002
        """Values for the template that depend on the text of one chunk."""
        return {}
