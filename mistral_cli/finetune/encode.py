"""Examples → the token ids that training sees, which are those of a later answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mistral_cli.engines.loader import open_tokenizer
from mistral_cli.engines.registry import engine_class
from mistral_cli.errors import (
    ContextExceeded,
    EngineFailed,
    MistralCliError,
    ModelUnusable,
)
from mistral_cli.finetune.data import Data, Example, listed
from mistral_cli.models.chat.formats import Tokenize, chat_format, encode, encode_raw

if TYPE_CHECKING:
    from mistral_cli.engines.protocol import Engine
    from mistral_cli.models.gguf import GGUF

_ENGINE = "llama.cpp"  # the one that takes adapters


@dataclass(frozen=True)
class Row:
    """One example as token ids: the prompt, then what is learned, with the token that ends it."""

    line: int
    prompt: tuple[int, ...]
    completion: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.completion)


def encode_examples(data: Data, model: GGUF, max_length: int) -> list[Row]:
    """All examples as token ids, by the engine's own tokenizer.

    Text never becomes a control token. Raises ContextExceeded, which lists the rows longer
    than `max_length` tokens: none is cut or left out. Raises ModelUnusable for a model
    without a token that ends an answer, and for a conversation with one that has no format.
    """
    end = model.eos_id if model.eot_id is None else model.eot_id
    if end is None:
        raise ModelUnusable(
            f"{model.path.name} names no token that ends an answer",
            hint="Use another GGUF of this model.",
        )
    with open_tokenizer(_engine(), model) as tokenizer:
        tokenize = tokenizer.tokenize
        rows = [
            Row(each.line, _prompt(each, model, tokenize), (*tokenize(each.completion), end))
            for each in data.examples
        ]
    if long := [row for row in rows if len(row) > min(max_length, model.context_length)]:
        raise _too_long(long, data.name, max_length, model)
    return rows


def _engine() -> type[Engine]:
    engine = engine_class(_ENGINE)
    if problem := engine.missing():
        raise EngineFailed(f"adapters need {_ENGINE}: {problem}", hint="Install it.")
    return engine


def _prompt(example: Example, model: GGUF, tokenize: Tokenize) -> tuple[int, ...]:
    """What `generate` would send, with --raw for a model that has no chat format."""
    if chat_format(model):
        return tuple(encode(example.messages, model, tokenize))
    if len(example.messages) > 1:
        raise ModelUnusable(
            f"{model.path.name} is a base model without a chat format",
            hint="Give it prompts and completions instead of conversations.",
        )
    return tuple(encode_raw(example.messages[0].content, model, tokenize))


def _too_long(long: list[Row], name: str, max_length: int, model: GGUF) -> MistralCliError:
    longest = max(map(len, long))
    rows = "1 row is" if len(long) == 1 else f"{len(long)} rows are"
    most = min(max_length, model.context_length)
    if longest <= model.context_length:
        hint = f"Use --max-length {longest}, which takes more memory, or shorten the rows."
    else:
        hint = f"Shorten them: the model was trained on {model.context_length} tokens."
    error = ContextExceeded(f"{rows} longer than {most} tokens; nothing is cut", hint=hint)
    error.details = listed([f"{name}:{row.line} has {len(row)} tokens" for row in long])
    return error
