"""The key of a row: a digest of all that its result depends on.

A later run recognizes the row's result by it, so a row has the same key in every version.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable
from dataclasses import MISSING, fields
from json.encoder import encode_basestring  # what json.dumps calls
from typing import TYPE_CHECKING, Any, NamedTuple

from mistral_cli.errors import MistralCliError
from mistral_cli.texts.inputs import Text

if TYPE_CHECKING:
    from mistral_cli.batch.input.rows import Row
    from mistral_cli.batch.prompts import RowPrompts
    from mistral_cli.generation.config import RunConfig
    from mistral_cli.generation.prompt import Prompt, PromptBuilder
    from mistral_cli.generation.task import Task

_KEY_LENGTH = 32  # hex digits; half a SHA-256 is enough to tell any two rows apart
_BLANKS = "".join(filter(str.isspace, map(chr, range(0x3001))))
_ODD_TEXT = 'a "b"\\\n\tc\u2028é\U0001f600 z'


class RowKey(NamedTuple):
    """The key of a row, and its prompt or the error that prevents one, if they were needed."""

    key: str
    prompt: Prompt | None = None
    error: MistralCliError | None = None


class RowKeys:
    """Computes the keys of a batch's rows.

    The prompts of most rows differ only in their texts, so what is around the text is digested
    once: a key takes 2 µs instead of 60 for a prompt of 300 bytes.
    """

    def __init__(self, prompts: RowPrompts, config: RunConfig, model_digest: str) -> None:
        self._prompts, self._config, self._model_digest = prompts, config, model_digest
        self._strategy_rewrites = bool(prompts.task and prompts.task.strategy.rewrites)
        # What `Template.fill` drops around a prompt, and so around a text at its edge.
        in_system = prompts.inserts_text and "text" in prompts.builder.template.system
        self._dropped = _BLANKS if in_system else "\n"
        self._framed = self._framed_key()

    def of(self, row: Row) -> RowKey:
        """Return the key of `row`."""
        if self._framed and (text := self._plain_text(row)) is not None:
            return RowKey(self._framed(text))
        return self.slow(row)

    def slow(self, row: Row) -> RowKey:
        """Return the key of any row, from its whole prompt."""
        prompt, error = None, None
        try:
            prompt = self._prompts.prompt(row)
            identity = self._identity(prompt)
        except MistralCliError as raised:
            error = raised
            # Not its message, whose wording may change from version to version.
            identity = {"row": [row.id, row.source, row.text], "error": raised.exit_code}
        return RowKey(_digest(self._json(identity)), prompt, error)

    def _plain_text(self, row: Row) -> str | None:
        """Return the text that the prompt contains as it is; None for a special prompt."""
        if row.error or row.conversation:
            return None
        if self._strategy_rewrites and row.original and row.original != row.text:
            return None
        text = row.text
        if self._prompts.fills_text:
            try:
                text = self._prompts.text_of(row).text
            except MistralCliError:
                return None
        if not text or text[0] in self._dropped or text[-1] in self._dropped:
            return None
        return text

    def _framed_key(self) -> Callable[[str], str] | None:
        """Return a function from a text to its key; None if texts are not just inserted."""
        prompts = self._prompts
        if not prompts.inserts_text:
            return None
        marker = secrets.token_hex(16)
        try:
            first, *rest = self._whole(marker).split(marker)
        except MistralCliError:  # of every row
            return None
        start = hashlib.sha256(_bytes(first))
        parts = [_bytes(part) for part in rest]

        def framed(text: str) -> str:
            digest, escaped = start.copy(), _bytes(encode_basestring(text)[1:-1])
            for part in parts:
                digest.update(escaped)
                digest.update(part)
            return digest.hexdigest()[:_KEY_LENGTH]

        return framed if parts and framed(_ODD_TEXT) == _digest(self._whole(_ODD_TEXT)) else None

    def _whole(self, text: str) -> str:
        """Return what the key of a row with this text in its prompt is a digest of."""
        builder = self._prompts.constant_builder
        return self._json(self._identity(builder.build(Text(text, ""))))

    def _json(self, identity: dict[str, Any]) -> str:
        value = [identity, self._model_digest]
        return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)

    def _identity(self, prompt: Prompt) -> dict[str, Any]:
        return _identity(prompt, self._prompts.task, self._prompts.builder, self._config)


def _digest(text: str) -> str:
    return hashlib.sha256(_bytes(text)).hexdigest()[:_KEY_LENGTH]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


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
