"""A model that a server has loaded: what the server tells about it, in place of a GGUF's header.

Two kinds of prompts exist for it. Where the server tokenizes and takes token ids, the ids are those
of its vocabulary, and our own templates render the prompt. Where it takes only messages, a prompt
is a sequence of `packed` ids: markers of the turns, and the text between them, three bytes to an
id. Such ids can be turned into the messages again, and their number is a careful estimate of the
tokens: English text has four bytes to a token.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from mistral_cli.models.chat import Message, Role
from mistral_cli.models.gguf.model import GGUF

Rendered = Callable[[list[dict[str, Any]], Mapping[str, Any]], str]
"""Apply a chat template to messages, with variables, and ask for the assistant's turn."""

PromptedAs = Literal["tokens", "text", "chat"]
"""How a prompt reaches a server: as token ids, as a text that is sent unchanged, or as messages."""

# More bytes than the longest token of any vocabulary that we know: only a bound for texts that are
# far too long depends on it.
_LONGEST_TOKEN = 1024

_ROLES: tuple[Role, ...] = ("system", "user", "assistant")
_END = len(_ROLES) + 1
_PACKED_CONTROLS = {
    **{f"<|{role}|>": number for number, role in enumerate(_ROLES, 1)},
    "<|end|>": _END,
}
_PACKED_TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_HIDDEN_TEMPLATE = "{# The server applies its own. #}"
_PACKED_BYTES, _PACKED_BASE = 3, 16


@dataclass(frozen=True, eq=False)
class RemoteModel(GGUF):
    """A model that one or more servers have loaded.

    `facts` is what they tell about it, and with its name its identity. `controls` are the ids of
    its control tokens by their texts. `detokenized` asks for the text of token ids. A model that
    is `packed` is prompted with messages. `rendered` has a server apply its own chat template,
    where it does not show that, with variables for it. If it is `packed` and not to think before
    it answers, `thinks` is False. With `has_v1_vocabulary` it is a Mistral of the first generation.
    """

    facts: Mapping[str, Any] = field(default_factory=dict)
    controls: Mapping[str, int] = field(default_factory=dict)
    detokenized: Callable[[Sequence[int]], str] | None = field(default=None, repr=False)
    rendered: Rendered | None = field(default=None, repr=False)
    packed: bool = False
    has_v1_vocabulary: bool = False
    thinks: bool = True

    @classmethod
    def of_tokens(
        cls,
        name: str,
        context_length: int,
        facts: Mapping[str, Any],
        *,
        tokenizer: str,
        controls: Mapping[str, int],
        detokenized: Callable[[Sequence[int]], str],
        chat_template: str | None = None,
        rendered: Rendered | None = None,
        bos: int | None = None,
        eos: int | None = None,
        adds_bos: bool = False,
        has_v1_vocabulary: bool = False,
    ) -> RemoteModel:
        """A model that is prompted with token ids.

        `tokenizer` is its algorithm as a GGUF names it: `llama` puts a space before a text.
        """
        special = {"bos": bos, "eos": eos}
        template = chat_template or (_HIDDEN_TEMPLATE if rendered else None)
        return cls._of(
            name,
            {
                "server.context_length": context_length,
                "tokenizer.ggml.model": tokenizer,
                "tokenizer.ggml.add_bos_token": adds_bos,
                **({"tokenizer.chat_template": template} if template else {}),
                **{
                    f"tokenizer.ggml.{role}_token_id": token
                    for role, token in special.items()
                    if token is not None
                },
            },
            facts=facts,
            controls=controls,
            detokenized=detokenized,
            rendered=rendered,
            has_v1_vocabulary=has_v1_vocabulary,
        )

    @classmethod
    def of_messages(cls, name: str, context_length: int, facts: Mapping[str, Any]) -> RemoteModel:
        """A model that is prompted with messages, to which its server applies its template."""
        metadata = {
            "server.context_length": context_length,
            "tokenizer.ggml.model": "packed",
            "tokenizer.ggml.add_bos_token": False,
            "tokenizer.chat_template": _PACKED_TEMPLATE,
        }
        return cls._of(name, metadata, facts=facts, controls=_PACKED_CONTROLS, packed=True)

    @classmethod
    def _of(cls, name: str, metadata: Mapping[str, object], **more: Any) -> RemoteModel:
        known = {"general.architecture": "server", "server.block_count": 0}
        path = Path(PurePosixPath(name).name or "model")
        return cls(path, 3, {**known, "general.name": name, **metadata}, {}, (), 0, **more)

    @property
    def identity(self) -> str:
        """A digest of its name and of what its servers tell about it."""
        content = json.dumps([self.name, self.facts], sort_keys=True, default=str)
        return hashlib.sha256(content.encode("utf-8", "replace")).hexdigest()

    def prompted_as(self, prompt: Sequence[int]) -> PromptedAs:
        """How a `prompt` reaches the server."""
        if not self.packed:
            return "tokens"
        return "chat" if any(token <= _END for token in prompt) else "text"

    @cached_property
    def tokens(self) -> Sequence[bytes]:
        """No server tells the vocabulary."""
        return ()

    @cached_property
    def longest_token(self) -> int:
        """A bound for the bytes of a token."""
        return _LONGEST_TOKEN

    @cached_property
    def control_tokens(self) -> Mapping[str, int]:
        """The ids of the control tokens that the server has, as far as we can know them."""
        return self.controls

    def spelled(self, token: int) -> bytes:
        """The bytes of `token`. Raises EngineFailed if the server does not answer."""
        if token in self.control_ids:
            return next(text for text, known in self.controls.items() if known == token).encode()
        if self.packed:
            return _unpacked(token)
        assert self.detokenized
        return self.detokenized([token]).encode()


def pack(text: str) -> list[int]:
    """The packed ids of `text`."""
    data = text.encode("utf-8", "replace")
    pieces = (data[start : start + _PACKED_BYTES] for start in range(0, len(data), _PACKED_BYTES))
    return [_PACKED_BASE + int.from_bytes(b"\x01" + piece) for piece in pieces]


def unpack(ids: Sequence[int]) -> list[Message] | str:
    """The messages of packed ids, or the text of a prompt that is sent unchanged.

    The marker at the end, which asks for the assistant's turn, is not a message.
    """
    if not any(token <= _END for token in ids):
        return _text(ids)
    messages = list[Message]()
    role, begun = _ROLES[0], 0
    for position, token in enumerate(ids):
        if token == _END:
            messages.append(Message(role, _text(ids[begun:position])))
        elif token < _END:
            role, begun = _ROLES[token - 1], position + 1
    return messages


def _text(ids: Sequence[int]) -> str:
    return b"".join(map(_unpacked, ids)).decode("utf-8", "replace")


def _unpacked(token: int) -> bytes:
    return (token - _PACKED_BASE).to_bytes(_PACKED_BYTES + 1).lstrip(b"\x00")[1:]
