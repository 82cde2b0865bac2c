"""Which tokens of a vocabulary are control tokens, whatever their types in the file say."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from mistral_cli.models.gguf.types import CONTROL_TOKEN

# `<s>`, `[INST]`; MiniMax has `]~b]`, `]~!b[` and `[e~[`, Falcon `>>TITLE<<`, Laguna CJK brackets.
# Each alternative begins with one byte: `[\[\]]` would make the search five times as slow.
_MARKER = re.compile(
    rb"<[^<>\s\0]{1,64}>|\[[^\[\]\s\0]{1,64}[\[\]]|\][^\[\]\s\0]{1,64}[\[\]]|>>[^<>\s\0]{1,64}<<"
    rb"|\xe3\x80\x88[^\s\0\xe3]{1,64}\xe3\x80\x89"
)
# `<|im_start|>`, `<|turn>`, `<turn|>`, `[|user|]`, and DeepSeek's with full-width bars. Templates
# also put these together: `'<|' + message.role + '|>'`. Operators such as `<|>` have no letter.
_WITH_BARS = re.compile(r"[<\[][|\uff5c].*\w.*[>\]]|[<\[].*\w.*[|\uff5c][>\]]")
_KNOWN = {
    *(b"[INST]", b"[/INST]", b"[SYSTEM_PROMPT]", b"[/SYSTEM_PROMPT]", b"[PREFIX]", b"[SUFFIX]"),
    *(b"<fim_prefix>", b"<fim_suffix>", b"<fim_middle>", b"<fim_pad>"),
    *(b"<fim-prefix>", b"<fim-suffix>", b"<fim-middle>", b"<fim-pad>"),
    *(b"<PRE>", b"<SUF>", b"<MID>", b"<EOT>"),
}
_SPACE = "\u2581".encode()  # CodeLlama has it before its markers


def find_control_tokens(
    tokens: Sequence[bytes], types: Sequence[int], template: bytes, special_ids: Iterable[int]
) -> dict[str, int]:
    """Return the ids of the control tokens of a vocabulary, by their text.

    Those are the tokens of that type. Converters often give another type to the markers of a chat
    format; with one of them in a text, its author could write turns of the conversation. So these
    are control tokens too, if they look like markers: those that the chat `template` contains, the
    `special_ids` of the vocabulary, and everything with the bars that only markers have.
    """
    control = {token for token, kind in enumerate(types) if kind == CONTROL_TOKEN}
    control |= {token for token in special_ids if _MARKER.fullmatch(tokens[token])}
    known = _KNOWN.union(_MARKER.findall(template))
    others = {*_MARKER.findall(b"\0".join(tokens))} - {tokens[token] for token in control}
    markers = {each for each in others if each in known or _WITH_BARS.fullmatch(_text(each))}
    if markers:  # most vocabularies have none, and this takes 10 ms for 150,000 tokens
        markers |= {_SPACE + each for each in markers}
        control |= {token for token, text in enumerate(tokens) if text in markers}
    return {_text(tokens[token]): token for token in sorted(control)}


def markers_in(template: str) -> list[str]:
    """Return the texts in a chat template that look like control tokens."""
    return [_text(each) for each in _MARKER.findall(template.encode("utf-8", "replace"))]


def _text(token: bytes) -> str:
    return token.decode("utf-8", "replace")
