"""Renders the chat template of a GGUF file, without trusting the template or the user's text."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NoReturn

from mistral_cli.errors import ModelUnusable, first_line
from mistral_cli.models.chat import Message
from mistral_cli.models.chat.turns import merge_turns
from mistral_cli.models.gguf.token_text import token_text

if TYPE_CHECKING:
    from jinja2 import Template

    from mistral_cli.models.gguf import GGUF

_FIRST_PRIVATE_USE = 0xE000

# Tags for training that Jinja does not know. A comment in their place strips whitespace like them.
_GENERATION = re.compile(r"\{%(-?)\s*(?:end)?generation\s*(-?)%\}")


def render_chat_template(messages: Sequence[Message], model: GGUF) -> list[int | str]:
    """Return the segments of `messages` in the model's template, ready for the assistant's turn.

    Only the template can write control tokens. Raises `ModelUnusable` if the template fails.
    """
    controls = {text: token for text, token in model.control_tokens.items() if len(text) > 1}
    marker = _unused_character(messages, model)
    shielded = [Message(m.role, _shield(m.content, controls, marker)) for m in messages]
    segments = list[int | str]()
    for part in _split(_render_complete(shielded, model), controls):
        if part in controls:
            segments.append(controls[part])
        elif text := part.replace(marker, ""):
            segments.append(text)
    return _with_one_bos(segments, model)


def _shield(content: str, controls: Iterable[str], marker: str) -> str:
    """Break up everything in `content` that is, or could become, part of a control token.

    The marker comes after every possible first character. It also comes before the text itself, in
    case the template has half a control token just before it.
    """
    first_characters = {ord(text[0]): text[0] + marker for text in controls}
    # Whitespace stays outermost, so that templates can strip it.
    return re.sub(r"(?=\S)", marker, content.translate(first_characters), count=1)


def _split(rendered: str, controls: dict[str, int]) -> list[str]:
    if not controls:
        return [rendered]
    longest_first = sorted(controls, key=len, reverse=True)
    parts = re.split("(" + "|".join(map(re.escape, longest_first)) + ")", rendered)
    return [part for part in parts if part]


def _with_one_bos(segments: list[int | str], model: GGUF) -> list[int | str]:
    bos = model.bos_id
    if bos is None:
        return segments
    written = next((index for index, each in enumerate(segments) if each != bos), len(segments))
    return [*([bos] if written or model.adds_bos else []), *segments[written:]]


def _unused_character(messages: Sequence[Message], model: GGUF) -> str:
    used = set(model.chat_template or "").union(*(m.content for m in messages))
    codes = range(_FIRST_PRIVATE_USE, sys.maxunicode + 1)
    return next(chr(code) for code in codes if chr(code) not in used)


def _render_complete(messages: Sequence[Message], model: GGUF) -> str:
    """Render all the text, with the first variant of the messages that the template accepts.

    Templates differ in whether they know a system role, whether turns must alternate, and whether a
    content is a text or a list of parts. Some raise an error for what they do not know, others
    leave it out.
    """
    problem: Exception | None = None
    for variant in _variants(messages):
        try:
            rendered = _render(variant, model)
        except Exception as error:  # the template is foreign code, which can raise anything
            problem = problem or error
        else:
            if all(m.content.strip() in rendered for m in messages if m.role != "assistant"):
                return rendered
    reason = first_line(problem) if problem else "it leaves out the text"
    raise ModelUnusable(
        f"the chat template of {model.path.name} fails: {reason}",
        hint="Use --raw with a prompt of your own, or another file of this model.",
    )


def _variants(messages: Sequence[Message]) -> Iterator[list[dict[str, Any]]]:
    merged = merge_turns(messages)
    variants = [messages] if merged == messages else [messages, merged]
    if merged[0].role == "system":
        variants.append(merge_turns([Message("user", merged[0].content), *merged[1:]]))
    for variant in variants:
        yield [{"role": m.role, "content": m.content} for m in variant]
    for variant in variants:
        yield [{"role": m.role, "content": [{"type": "text", "text": m.content}]} for m in variant]


def _render(messages: list[dict[str, Any]], model: GGUF) -> str:
    return _compiled(model.chat_template or "").render(
        messages=messages,
        add_generation_prompt=True,
        bos_token=token_text(model, model.bos_id),
        eos_token=token_text(model, model.eos_id),
    )


@cache
def _compiled(source: str) -> Template:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    # The settings and functions of Hugging Face's `apply_chat_template`, as documented.
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals.update(raise_exception=_refuse, strftime_now=_now)
    environment.filters["tojson"] = partial(json.dumps, ensure_ascii=False)
    return environment.from_string(_GENERATION.sub(r"{#\1\2#}", source))


def _refuse(message: str) -> NoReturn:
    import jinja2

    raise jinja2.TemplateError(message)


def _now(pattern: str) -> str:
    return datetime.now().strftime(pattern)
