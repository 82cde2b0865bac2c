"""The body of a request → what it asks for, with every field checked.

A field that would change the answer and is not supported is refused, not ignored.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from mistral_cli.engines.sampling import SETTINGS, SamplingSetting
from mistral_cli.engines.types import Sampling
from mistral_cli.errors import UsageError, first_line
from mistral_cli.models.chat import Message
from mistral_cli.models.chat.formats import Segments, render, render_raw
from mistral_cli.models.chat.infill import find_infill_format, render_infill
from mistral_cli.serving.http.errors import bad_request
from mistral_cli.serving.http.fields import Fields, quoted
from mistral_cli.structured.schema import ANY_OBJECT, Schema, one_line
from mistral_cli.structured.spec import OutputSpec
from mistral_cli.system.strict_json import loads

if TYPE_CHECKING:
    from mistral_cli.models.chat.reasoning import Reasoning, ReasoningFormat
    from mistral_cli.models.gguf import GGUF

_ROLES: dict[str, Literal["system", "user", "assistant"]] = {
    "system": "system",
    "developer": "system",  # its name in OpenAI's newer models
    "user": "user",
    "assistant": "assistant",
}
_EFFORTS = ("none", "minimal", "low", "medium", "high")  # OpenAI's
_ON_LIMIT = ("fail", "close")  # the values of the option --on-limit
_MOST = 2**31 - 1
_MOST_STOP_TEXTS = 4  # as in OpenAI's API
_LIMITS = ("max_completion_tokens", "max_tokens")  # the second is the older name
_COMPLETION_TOKENS = 16  # OpenAI's default for /v1/completions

# llama.cpp's defaults, which its own HTTP server uses.
_DEFAULTS: Mapping[str, Any] = {
    "temperature": 0.8,
    "top_k": 40,
    "top_p": 0.95,
    "repetition_penalty": 1.0,
}
_HIGHEST_TEMPERATURE = 2.0  # as in OpenAI's API


@dataclass(frozen=True)
class AnswerOptions:
    """How to answer. `max_tokens` None: as many as fit the context.

    `logprobs` is how many of the likeliest tokens to report beside each token; None: nothing.
    """

    sampling: Sampling
    max_tokens: int | None
    stop: tuple[str, ...]
    logprobs: int | None
    stream: bool
    include_usage: bool


@dataclass(frozen=True)
class ChatRequest:
    """A request to /v1/chat/completions; with `spec` the answer is JSON.

    JSON that reaches its limit is cut there, or closed if the request `closes`. `effort` is how
    much to think before the answer: one of _EFFORTS, or None for the default.
    """

    messages: tuple[Message, ...]
    options: AnswerOptions
    spec: OutputSpec | None
    effort: str | None = None
    closes: bool = False

    @classmethod
    def parse(cls, body: bytes, proposed: Mapping[str, float]) -> ChatRequest:
        """Read and check a body; `proposed` are the model's sampling settings. Raises ApiError."""
        fields = Fields(_json(body))
        messages = _messages(fields.require("messages", list))
        wanted, top = fields.flag("logprobs"), fields.integer("top_logprobs", 0, 20)
        if top is not None and not wanted:
            raise bad_request("top_logprobs needs logprobs to be true", "top_logprobs")
        limits = [fields.integer(name, 1, _MOST) for name in _LIMITS]
        if None not in limits:
            raise bad_request(f"{' and '.join(_LIMITS)} are the same: give one", _LIMITS[1])
        spec = _output_spec(fields)
        if spec and wanted:
            raise bad_request("logprobs are not supported together with JSON", "logprobs")
        max_tokens, logprobs = limits[0] or limits[1], (top or 0) if wanted else None
        options = _options(fields, max_tokens, logprobs, proposed)
        effort = fields.take("reasoning_effort", str)
        if effort not in (None, *_EFFORTS):
            message = f"must be one of {', '.join(_EFFORTS)}, not {quoted(effort)}"
            raise bad_request(f"reasoning_effort {message}", "reasoning_effort")
        closes = _closes(fields, spec)
        _refuse_unsupported(fields)
        return cls(messages, options, spec, effort, closes)

    def reasoning(self, known: ReasoningFormat | None) -> Reasoning | None:
        """How the model thinks before it answers: by default it does, but not before JSON.

        An effort that its template does not have only begins the thought. Raises ApiError if a
        model that does not reason shall think.
        """
        if known is None:
            if self.effort not in (None, _EFFORTS[0]):
                raise bad_request("the model does not reason", "reasoning_effort")
            return None
        if self.effort == _EFFORTS[0] or (self.spec and not self.effort):
            return known.off
        reasoning = known.on.opened if self.spec or self.effort else known.on
        return reasoning.with_variables(known.efforts.get(self.effort or "", {}))

    def render(self, model: GGUF, reasoning: Reasoning | None) -> Segments:
        """The messages in the chat format of `model`. Raises ModelUnusable."""
        return render(self.messages, model, reasoning)


@dataclass(frozen=True)
class CompletionRequest:
    """A request to /v1/completions: the model continues `prompt`, which is plain text.

    With a `suffix` it writes what stands between the two.
    """

    prompt: str
    options: AnswerOptions
    suffix: str | None = None
    spec: None = None
    closes: bool = False

    @classmethod
    def parse(cls, body: bytes, proposed: Mapping[str, float]) -> CompletionRequest:
        """Read and check a body; `proposed` are the model's sampling settings. Raises ApiError."""
        fields = Fields(_json(body))
        prompt = fields.any("prompt")
        if isinstance(prompt, list) and len(prompt) == 1:
            (prompt,) = prompt
        if not isinstance(prompt, str):
            # Ids of tokens are refused too: they could be those of control tokens.
            raise bad_request("prompt must be one string", "prompt")
        suffix = fields.take("suffix", str) or None
        logprobs = fields.integer("logprobs", 0, 5)
        max_tokens = fields.integer("max_tokens", 1, _MOST)
        options = _options(fields, max_tokens or _COMPLETION_TOKENS, logprobs, proposed)
        _refuse_unsupported(fields)
        return cls(prompt, options, suffix)

    def reasoning(self, known: ReasoningFormat | None) -> None:
        """None: only a chat format has a place for a thought."""

    def render(self, model: GGUF, reasoning: Reasoning | None) -> Segments:  # noqa: ARG002
        """The prompt and its suffix, or it alone, after a BOS if `model` uses one.

        Raises ApiError for a suffix that the model cannot have.
        """
        if self.suffix is not None:
            if find_infill_format(model) is None:
                raise bad_request("the model has no tokens for fill-in-the-middle", "suffix")
            return render_infill(self.prompt, self.suffix, model)
        return render_raw(self.prompt, model)


def _json(body: bytes) -> Any:
    try:
        return loads(body.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise bad_request("the body is not UTF-8") from error
    except UnicodeEncodeError as error:
        raise bad_request("the body has half a surrogate pair, which is not text") from error
    except RecursionError as error:
        raise bad_request("the body is nested too deeply") from error
    except ValueError as error:
        raise bad_request(f"the body is not valid JSON: {first_line(error)[:200]}") from error


def _options(
    fields: Fields, max_tokens: int | None, logprobs: int | None, proposed: Mapping[str, float]
) -> AnswerOptions:
    fields.take("model", str)  # the reply names the only one there is
    seed = fields.integer("seed", -(2**63), 2**63 - 1)
    settings: dict[str, Any] = {**_DEFAULTS, **proposed}
    limits = {**SETTINGS, "temperature": SamplingSetting(float, 0.0, _HIGHEST_TEMPERATURE)}
    for name, limit in limits.items():
        if (value := fields.setting(name, limit)) is not None:
            settings[name] = value
    settings["seed"] = int.from_bytes(os.urandom(4)) >> 1 if seed is None else seed
    sampling = Sampling(**settings)
    stream = fields.flag("stream")
    stream_options = Fields(fields.take("stream_options", dict) or {}, "stream_options")
    include_usage = stream_options.flag("include_usage")
    stream_options.ignore(include_obfuscation=bool)
    stream_options.refuse_rest()
    if include_usage and not stream:
        raise bad_request("stream_options needs stream to be true", "stream_options")
    return AnswerOptions(
        sampling, max_tokens, _stop_texts(fields.any("stop")), logprobs, stream, include_usage
    )


def _stop_texts(value: Any) -> tuple[str, ...]:
    texts = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(each, str) and each for each in texts):
        raise bad_request("stop must be a text, or a list of texts, none of them empty", "stop")
    if len(texts) > _MOST_STOP_TEXTS:
        raise bad_request(f"stop has more than {_MOST_STOP_TEXTS} texts", "stop")
    return tuple(texts)


def _messages(values: list[Any]) -> tuple[Message, ...]:
    if not values:
        raise bad_request("messages is empty", "messages")
    messages = tuple(_message(value, f"messages[{at}]") for at, value in enumerate(values))
    if messages[-1].role == "assistant":
        message = "the last message is the assistant's: there is nothing to answer"
        raise bad_request(message, f"messages[{len(messages) - 1}].role")
    return messages


def _message(value: Any, path: str) -> Message:
    fields = Fields(value, path)
    role = fields.require("role", str)
    if role not in _ROLES:
        message = f"{path}.role must be {', '.join(_ROLES)}, not {quoted(role)}"
        raise bad_request(message, f"{path}.role")
    content = _content(fields.any("content"), f"{path}.content")
    fields.ignore(name=str, reasoning_content=str)
    fields.only(annotations=([],), tool_calls=([],))  # as OpenAI's replies may have them
    fields.refuse_rest()
    return Message(_ROLES[role], content)


def _content(value: Any, path: str) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not value:
        raise bad_request(f"{path} must be a text, or a list of text parts", path)
    texts = []
    for at, each in enumerate(value):
        part = Fields(each, f"{path}[{at}]")
        if (kind := part.require("type", str)) != "text":
            message = f"{path}[{at}] has the type {quoted(kind)}: only text is supported"
            raise bad_request(message, f"{path}[{at}].type")
        texts.append(part.require("text", str))
        part.refuse_rest()
    return "\n".join(texts)


def _output_spec(fields: Fields) -> OutputSpec | None:
    """What `response_format` asks for."""
    value = fields.take("response_format", dict)
    if value is None:
        return None
    wanted = Fields(value, "response_format")
    schema: Schema | None
    match kind := wanted.require("type", str):
        case "text":
            schema = None
        case "json_object":
            schema = ANY_OBJECT
        case "json_schema":
            inner = Fields(wanted.require("json_schema", dict), wanted.path("json_schema"))
            inner.ignore(name=str, description=str, strict=bool)
            schema = inner.require("schema", dict)
            inner.refuse_rest()
        case _:
            message = f"must be text, json_object or json_schema, not {quoted(kind)}"
            raise bad_request(f"response_format.type {message}", "response_format.type")
    wanted.refuse_rest()
    if schema is None:
        return None
    spec = OutputSpec(schema)
    try:
        unenforced = spec.check()
    except UsageError as error:
        raise bad_request(error.message, "response_format") from error
    if unenforced:  # a validation at the end would come too late for a stream
        message = f"the schema cannot be enforced: {one_line(unenforced[0])}"
        raise bad_request(message, "response_format")
    return spec


def _closes(fields: Fields, spec: OutputSpec | None) -> bool:
    """Whether JSON that reaches its limit shall be closed there."""
    value = fields.take("on_limit", str)
    if value not in (None, *_ON_LIMIT):
        message = f"on_limit must be {' or '.join(_ON_LIMIT)}, not {quoted(value)}"
        raise bad_request(message, "on_limit")
    closes = value == _ON_LIMIT[1]
    if closes and not spec:
        message = "on_limit needs a response_format of json_object or json_schema"
        raise bad_request(message, "on_limit")
    return closes


def _refuse_unsupported(fields: Fields) -> None:
    """Refuse what is left, but for fields and values that have no effect on an answer."""
    fields.ignore(
        user=str,
        metadata=dict,
        store=bool,
        service_tier=str,
        safety_identifier=str,
        prompt_cache_key=str,
        prompt_cache_retention=str,
        parallel_tool_calls=bool,
    )
    fields.only(
        n=(1,),
        best_of=(1,),
        echo=(False,),
        logit_bias=({},),
        tools=([],),
        functions=([],),
        tool_choice=("none", "auto"),
        function_call=("none", "auto"),
        modalities=(["text"],),
    )
    fields.refuse_rest()
