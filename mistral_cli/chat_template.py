"""Render the chat template that a GGUF carries, without trusting it or the user's text."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NoReturn

from .errors import ModelUnusable
from .gguf import GGUF
from .messages import Message
from .token_text import control_tokens, token_text

_PRIVATE_USE = range(0xE000, 0xF8FF)


def encode_chat_template(
    messages: Sequence[Message], model: GGUF, tokenize: Callable[[str], list[int]]
) -> list[int]:
    """Token ids of `messages` in the model's template, ready for the assistant's turn.

    Control tokens count only where the template wrote them. Raises ModelUnusable when the
    template does not render.
    """
    controls = {text: token for text, token in control_tokens(model).items() if len(text) > 1}
    marker = _unused_character(messages, model)
    # With the marker after every possible first character, no control token is left whole.
    first_characters = {ord(text[0]): text[0] + marker for text in controls}
    shielded = [Message(m.role, m.content.translate(first_characters)) for m in messages]
    rendered = _render_with_system(shielded, model)
    ids: list[int] = []
    for part in _split(rendered, controls):
        ids += [controls[part]] if part in controls else tokenize(part.replace(marker, ""))
    return _with_one_bos(ids, model)


def _split(rendered: str, controls: dict[str, int]) -> list[str]:
    if not controls:
        return [rendered]
    longest_first = sorted(controls, key=len, reverse=True)
    parts = re.split("(" + "|".join(map(re.escape, longest_first)) + ")", rendered)
    return [part for part in parts if part]


def _with_one_bos(ids: list[int], model: GGUF) -> list[int]:
    if not model.adds_bos or model.bos_id is None:
        return ids
    while ids and ids[0] == model.bos_id:
        ids = ids[1:]
    return [model.bos_id, *ids]


def _unused_character(messages: Sequence[Message], model: GGUF) -> str:
    text = (model.chat_template or "") + "".join(m.content for m in messages)
    return next(chr(code) for code in _PRIVATE_USE if chr(code) not in text)


def _render_with_system(messages: Sequence[Message], model: GGUF) -> str:
    """Render; where the template refuses a system message, it goes before the user's."""
    import jinja2

    try:
        try:
            return _render(messages, model)
        except jinja2.TemplateError:
            if messages[0].role != "system":
                raise
            first = Message("user", f"{messages[0].content}\n\n{messages[1].content}")
            return _render([first, *messages[2:]], model)
    except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
        raise ModelUnusable(
            f"the chat template of {model.path.name} does not work: {error}",
            hint="Use --raw with a prompt of your own, or another file of this model.",
        ) from error


def _render(messages: Sequence[Message], model: GGUF) -> str:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    # The settings and functions that Hugging Face's `apply_chat_template` documents.
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals.update(raise_exception=_refuse, strftime_now=_now)
    context: dict[str, Any] = {
        "messages": [{"role": m.role, "content": m.content} for m in messages],
        "add_generation_prompt": True,
        "bos_token": token_text(model, model.bos_id),
        "eos_token": token_text(model, model.eos_id),
    }
    return environment.from_string(model.chat_template or "").render(context)


def _refuse(message: str) -> NoReturn:
    import jinja2

    raise jinja2.TemplateError(message)


def _now(pattern: str) -> str:
    return datetime.now().strftime(pattern)
