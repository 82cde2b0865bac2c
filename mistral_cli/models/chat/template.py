"""Renders the chat template of a GGUF file, without trusting the template or the user's text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mistral_cli.errors import ContextExceeded, MistralCliError, ModelUnusable, ServersGone
from mistral_cli.models.chat import Message, merge_turns
from mistral_cli.models.chat.jinja_process import MOST_CHARACTERS
from mistral_cli.models.chat.skeleton import Rendering, TemplateFailed, skeleton
from mistral_cli.models.gguf.model import MAX_TEMPLATE_BYTES
from mistral_cli.models.gguf.token_text import token_text
from mistral_cli.models.remote import RemoteModel, Rendered

if TYPE_CHECKING:
    from mistral_cli.models.chat.reasoning import Reasoning
    from mistral_cli.models.gguf import GGUF

# The template gets a private character of Unicode's last plane in place of each text.
_FIRST_PLACE, _LAST_PLACE = 0x100000, 0x10FFFD
_PLACE = re.compile(f"[{chr(_FIRST_PLACE)}-{chr(_LAST_PLACE)}]")

_MOST_COPIES = 4
"""How often a template may write one text; those that we know write it once."""

_MOST_BLANKS = MOST_CHARACTERS // 2
"""Whitespace around texts, which the template copies to its output, beside its own words."""


def render_chat_template(
    messages: Sequence[Message], model: GGUF, reasoning: Reasoning | None = None
) -> list[int | str]:
    """Return the segments of `messages` in the model's template, ready for the assistant's turn.

    With `reasoning` the model thinks before it answers, or does not. Only the template can write
    control tokens, because it does not see the texts. They keep the whitespace around them, which
    templates may strip. Raises `ModelUnusable` if the template fails, and `ContextExceeded` for
    too many turns or too much whitespace.
    """
    if len(messages) > _LAST_PLACE - _FIRST_PLACE:
        raise ContextExceeded(
            f"a conversation of {len(messages)} turns fits no context", hint="Send fewer turns."
        )
    texts = {chr(_FIRST_PLACE + n): each.content.strip() for n, each in enumerate(messages)}
    blanks = sum(len(each.content) for each in messages) - sum(map(len, texts.values()))
    if blanks > _MOST_BLANKS:
        message = f"the texts begin and end with {blanks} blanks; {_MOST_BLANKS} are the most"
        raise ContextExceeded(message, hint="Remove them.")
    rendered = _render(messages, model, reasoning.variables if reasoning else {})
    rendered += reasoning.suffix if reasoning else ""
    controls = {
        text: token
        for text, token in model.control_tokens.items()
        if len(text) > 1 and text in rendered
    }
    segments = list[int | str]()
    for part in _split(rendered, controls):
        if part in controls:
            segments.append(controls[part])
        elif text := _PLACE.sub(lambda place: texts.get(place[0], place[0]), part):
            segments.append(text)
    return _with_one_bos(segments, model)


def template_values(model: GGUF) -> dict[str, str]:
    """The variables that every template has."""
    return {
        "bos_token": token_text(model, model.bos_id),
        "eos_token": token_text(model, model.eos_id),
    }


def _render(messages: Sequence[Message], model: GGUF, variables: Mapping[str, Any]) -> str:
    """The output of the template, with the place of each text in it."""
    source = model.chat_template or ""
    try:
        if len(source.encode("utf-8", "replace")) > MAX_TEMPLATE_BYTES:
            raise TemplateFailed(f"it has more than {MAX_TEMPLATE_BYTES} bytes")
        turns = [Message(m.role, _with_place(m.content, n)) for n, m in enumerate(messages)]
        asked = "".join(turn.content for turn in turns if turn.role != "assistant")
        needed = "".join(_PLACE.findall(asked))
        if isinstance(model, RemoteModel) and model.rendered:
            rendered = _rendered_by_server(turns, variables, model.rendered, needed)
        else:
            values = {**template_values(model), "add_generation_prompt": True, **variables}
            rendered = skeleton(source, Rendering(list(_variants(turns)), values, needed=needed))
        copies = Counter(_PLACE.findall(rendered))
        if any(count > _MOST_COPIES for count in copies.values()):
            raise TemplateFailed("it repeats the text")
    except TemplateFailed as error:
        reason = _PLACE.sub("…", str(error)).splitlines()[0]
        raise ModelUnusable(
            f"the chat template of {model.path.name} fails: {reason}",
            hint="Use --raw with a prompt of your own, or another file of this model.",
        ) from error
    return rendered


def _rendered_by_server(
    turns: Sequence[Message], variables: Mapping[str, Any], render: Rendered, needed: str
) -> str:
    """The output of a template that a server does not show, but applies."""
    problem = "it leaves a text out"
    for variant in _variants(turns):
        try:
            rendered = render(variant, variables)
        except ServersGone:
            raise
        except MistralCliError as error:
            problem = error.message
            continue
        if all(place in rendered for place in needed):
            return rendered
    raise TemplateFailed(problem)


def _with_place(content: str, number: int) -> str:
    """`content` with a character in place of all but the whitespace around it."""
    text = content.strip()
    return content.replace(text, chr(_FIRST_PLACE + number)) if text else content


def _variants(messages: Sequence[Message]) -> Iterator[list[dict[str, Any]]]:
    """The conversation in the forms that templates accept.

    Templates differ in whether they know a system role, whether turns must alternate, and whether a
    content is a text or a list of parts. Some raise an error for what they do not know, others
    leave it out.
    """
    merged = merge_turns(messages)
    variants = [messages] if merged == messages else [messages, merged]
    if merged[0].role == "system":
        variants.append(merge_turns([Message("user", merged[0].content), *merged[1:]]))
    for variant in variants:
        yield [{"role": m.role, "content": m.content} for m in variant]
    for variant in variants:
        yield [{"role": m.role, "content": [{"type": "text", "text": m.content}]} for m in variant]


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
