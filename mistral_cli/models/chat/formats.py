"""Messages → segments → token ids, in the model's own chat format.

The Mistral formats follow the `mistral-common` package, Mistral's reference; the vocabulary of a
model determines which one it uses. Every other instruct model has a chat template.

The user's text is tokenized as plain text (`gguf/plain_text.py`), so control tokens in it (`</s>`,
`[/INST]`, `<|im_end|>`) remain ordinary text. Only in v1 is `[/INST]` itself ordinary text, by
design.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from mistral_cli.errors import ModelUnusable
from mistral_cli.models.chat import Message, merge_turns
from mistral_cli.models.gguf.plain_text import tokenize_continued
from mistral_cli.models.remote import RemoteModel

if TYPE_CHECKING:
    from mistral_cli.models.chat.reasoning import Reasoning
    from mistral_cli.models.gguf import GGUF
    from mistral_cli.models.gguf.plain_text import Tokenize

Segments = tuple[int | str, ...]
"""A prompt in a model's format: ids of control tokens, and the plain text between them."""


class ContinuedText(str):
    """A text in a prompt that continues another: SentencePiece puts no space before it."""

    __slots__ = ()


ChatFormat = Literal["mistral-v1", "mistral-v3", "mistral-v7", "chat-template"]

# Their tokens are at least a byte long, and stand for at most as many bytes of text as their own.
# Other tokenizers, such as gemma4, rewrite the text before they split it.
BYTE_BOUNDED_TOKENIZERS = ("gpt2", "llama")

# The ids of "▁[", "INST" and "]" in Mistral's first vocabulary; in Llama's they differ.
_V1_INST = {733: "▁[".encode(), 16289: b"INST", 28793: b"]"}


def is_v1_vocabulary(tokenize: Tokenize) -> bool:
    """Return true if `tokenize`, of a vocabulary that is not shown, is Mistral's first one."""
    return tokenize("[INST]") == [*_V1_INST]


def chat_format(model: GGUF) -> ChatFormat | None:
    """Return the chat format of `model`, or None for a base model."""
    controls = model.control_tokens
    if "[INST]" in controls and "[/INST]" in controls:
        return "mistral-v7" if "[SYSTEM_PROMPT]" in controls else "mistral-v3"
    template = model.chat_template
    if _has_v1_vocabulary(model) and (template is None or "[INST]" in template):
        return "mistral-v1"
    return "chat-template" if template else None


def render(
    messages: Sequence[Message], model: GGUF, reasoning: Reasoning | None = None
) -> Segments:
    """Return the segments of a prompt that asks for the next assistant turn.

    `messages` are not empty, and the last one is not from the assistant. Consecutive ones of one
    role are merged where the format demands it. There is exactly one BOS if the model uses one.
    With `reasoning` the model, whose format has it, thinks before it answers, or does not. Raises
    `ModelUnusable` for a model without a chat format.
    """
    match chat_format(model):
        case "mistral-v1":
            return tuple(_mistral_v1(messages, model))
        case "mistral-v3" | "mistral-v7":
            thought = (
                [model.control_tokens[reasoning.suffix]] if reasoning and reasoning.suffix else []
            )
            return (*_mistral_control(messages, model), *thought)
        case "chat-template":
            from mistral_cli.models.chat.template import render_chat_template

            return tuple(render_chat_template(messages, model, reasoning))
        case None:
            raise ModelUnusable(
                f"{model.path.name} is a base model without a chat format",
                hint="Use --raw to continue a text with it, or use an instruct model.",
            )


def render_raw(text: str, model: GGUF) -> Segments:
    """Return the segments of `text` alone, after a BOS if the model uses one."""
    bos = [model.bos_id] if model.adds_bos and model.bos_id is not None else []
    return (*bos, text)


def fewest_tokens(segments: Sequence[int | str], model: GGUF) -> int:
    """Return a lower bound of the tokens of `segments`, since counting those of 50 MB takes 100 s.

    No token of a byte-bounded tokenizer covers more bytes than the longest one.
    """
    texts = [segment for segment in segments if isinstance(segment, str)]
    controls = len(segments) - len(texts)
    if model.tokenizer_model not in BYTE_BOUNDED_TOKENIZERS:
        return controls
    # A chat template can write a lone surrogate; engines get "?" in its place.
    size = sum(len(text.encode("utf-8", "replace")) for text in texts)
    return controls + size // model.longest_token


def tokenize_segments(segments: Segments, model: GGUF, tokenize: Tokenize) -> tuple[int, ...]:
    """Return the token ids of a rendered prompt; `tokenize` returns those of plain text, no BOS."""
    ids = list[int]()
    for segment in segments:
        if isinstance(segment, int):
            ids.append(segment)
        elif isinstance(segment, ContinuedText):
            ids += tokenize_continued(model, segment, tokenize)
        else:
            ids += tokenize(segment)
    return tuple(ids)


def encode(
    messages: Sequence[Message],
    model: GGUF,
    tokenize: Tokenize,
    reasoning: Reasoning | None = None,
) -> list[int]:
    """Return the token ids of `messages`. Raises the errors of `render`."""
    return list(tokenize_segments(render(messages, model, reasoning), model, tokenize))


def encode_raw(text: str, model: GGUF, tokenize: Tokenize) -> list[int]:
    """Return the token ids of `text` alone, after a BOS if the model uses one."""
    return list(tokenize_segments(render_raw(text, model), model, tokenize))


def _mistral_v1(messages: Sequence[Message], model: GGUF) -> Iterator[int | str]:
    """`<s>[INST] user [/INST]answer</s>[INST] …`, where only BOS and EOS are control tokens."""
    yield _bos(model)
    system, turns = _split_system(merge_turns(messages))
    for index, turn in enumerate(turns):
        if turn.role == "assistant":
            yield turn.content
            yield _eos(model)
        else:
            content = f"{system}\n\n{turn.content}" if system and index == 0 else turn.content
            yield f"[INST] {content} [/INST]"


def _mistral_control(messages: Sequence[Message], model: GGUF) -> Iterator[int | str]:
    """v2 and v3: `[INST]` is a control token and the system text is part of the last user turn.

    In v7 the system text has control tokens of its own.
    """
    control = model.control_tokens
    yield _bos(model)
    system, turns = _split_system(merge_turns(messages))
    if system and "[SYSTEM_PROMPT]" in control:
        yield control["[SYSTEM_PROMPT]"]
        yield system
        yield control["[/SYSTEM_PROMPT]"]
        system = ""
    for index, turn in enumerate(turns):
        if turn.role == "assistant":
            yield turn.content.rstrip(" ")
            yield _eos(model)
        else:
            is_last = index == len(turns) - 1
            yield control["[INST]"]
            yield f"{system}\n\n{turn.content}" if system and is_last else turn.content
            yield control["[/INST]"]


def _split_system(messages: Sequence[Message]) -> tuple[str, Sequence[Message]]:
    first, *others = messages
    return (first.content, others) if first.role == "system" else ("", messages)


def _bos(model: GGUF) -> int:
    return 1 if model.bos_id is None else model.bos_id


def _eos(model: GGUF) -> int:
    return 2 if model.eos_id is None else model.eos_id


def _has_v1_vocabulary(model: GGUF) -> bool:
    if isinstance(model, RemoteModel):
        return model.has_v1_vocabulary
    tokens = model.tokens
    return len(tokens) >= 32000 and all(tokens[i] == text for i, text in _V1_INST.items())
