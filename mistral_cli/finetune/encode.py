"""Examples → token ids: the same ids that the model will see when it answers later."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mistral_cli.engines.loader import open_tokenizer
from mistral_cli.engines.registry import DEFAULT, backend
from mistral_cli.errors import (
    ContextExceeded,
    EngineFailed,
    MistralCliError,
    ModelUnusable,
)
from mistral_cli.finetune.data import Example, TrainingData, list_problems
from mistral_cli.models.chat.formats import chat_format, encode, encode_raw

if TYPE_CHECKING:
    from mistral_cli.engines.protocol import Backend
    from mistral_cli.models.gguf import GGUF
    from mistral_cli.models.gguf.plain_text import Tokenize


@dataclass(frozen=True)
class EncodedExample:
    """One example as token ids: the prompt, and the completion to learn with its end token.

    `line` is that of its row in the file.
    """

    line: int
    prompt: tuple[int, ...]
    completion: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.completion)


def encode_examples(data: TrainingData, model: GGUF, max_length: int) -> list[EncodedExample]:
    """Encode all examples with the engine's own tokenizer.

    Text never becomes a control token. Raises ContextExceeded that lists the rows longer than
    `max_length` tokens: no row is cut or left out. Raises ModelUnusable for a model without a
    token that ends an answer, and for conversations if the model has no chat format.
    """
    end = model.eos_id if model.eot_id is None else model.eot_id
    if end is None:
        raise ModelUnusable(
            f"{model.path.name} defines no token that ends an answer",
            hint="Use another GGUF of this model.",
        )
    with open_tokenizer(_engine(), model) as tokenizer:
        tokenize = tokenizer.tokenize
        rows = [
            EncodedExample(
                each.line, _prompt(each, model, tokenize), (*tokenize(each.completion), end)
            )
            for each in data.examples
        ]
    if long := [row for row in rows if len(row) > min(max_length, model.context_length)]:
        raise _too_long(long, data.name, max_length, model)
    return rows


def _engine() -> Backend:
    engine = backend(DEFAULT)  # which loads adapters
    if problem := engine.missing():
        raise EngineFailed(f"adapters need {DEFAULT}: {problem}", hint="Install it.")
    return engine


def _prompt(example: Example, model: GGUF, tokenize: Tokenize) -> tuple[int, ...]:
    """The prompt as `generate` would send it, with --raw for a model without a chat format."""
    if chat_format(model):
        return tuple(encode(example.messages, model, tokenize))
    if len(example.messages) > 1:
        raise ModelUnusable(
            f"{model.path.name} is a base model without a chat format",
            hint="Use prompts and completions instead of conversations.",
        )
    return tuple(encode_raw(example.messages[0].content, model, tokenize))


def _too_long(
    long: list[EncodedExample], name: str, max_length: int, model: GGUF
) -> MistralCliError:
    longest = max(map(len, long))
    rows = "1 row is" if len(long) == 1 else f"{len(long)} rows are"
    limit = min(max_length, model.context_length)
    if longest <= model.context_length:
        hint = f"Use --max-length {longest}, which takes more memory, or shorten the rows."
    else:
        hint = f"Shorten the rows: the model was trained with {model.context_length} tokens."
    error = ContextExceeded(f"{rows} longer than {limit} tokens; no row is cut", hint=hint)
    error.details = list_problems([f"{name}:{row.line} has {len(row)} tokens" for row in long])
    return error
