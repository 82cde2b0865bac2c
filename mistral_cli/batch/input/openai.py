"""OpenAI's batch requests: a chat completion's body → a conversation and our options."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mistral_cli.errors import UsageError
from mistral_cli.models.chat import Message, Role

_URL = "/v1/chat/completions"
_HINT = "The README says what of an OpenAI request is supported."
_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}
_SEEDS = 2**31  # theirs have 64 bits
_MESSAGE_KEYS = ("role", "content", "name")

# What says nothing about the answer, or only how the service is to work.
_HARMLESS = {
    "metadata",
    "model",
    "parallel_tool_calls",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "stream_options",
    "user",
}
_OURS = {
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "response_format",
    "seed",
    "stop",
    "temperature",
    "top_p",
}
# Other keys are refused, unless they say what is so anyway.
_AS_IT_IS: dict[str, Any] = {"n": 1, "modalities": ["text"], "tool_choice": "none"}


def is_request(value: Mapping[str, Any]) -> bool:
    """Whether a line is a request of OpenAI's batch format."""
    return "custom_id" in value and isinstance(value.get("body"), dict)


def read_request(value: Mapping[str, Any]) -> tuple[tuple[Message, ...], dict[str, Any]]:
    """The conversation, and what its body sets, under our options' names.

    Raises UsageError naming the key that is wrong, or that would change the answer and is
    not supported.
    """
    if not isinstance(value["custom_id"], str) or not value["custom_id"]:
        raise _wrong("custom_id", "is no text")
    if value.get("method", "POST") != "POST":
        raise _wrong("method", "is not POST")
    if value.get("url", _URL) != _URL:
        raise _wrong("url", f"is not {_URL}")
    body = {key: setting for key, setting in value["body"].items() if setting is not None}
    for key in body.keys() - _OURS - _HARMLESS:
        _refuse_unless_idle(key, body[key])
    return _conversation(body.get("messages")), _overrides(body)


def _refuse_unless_idle(key: str, setting: Any) -> None:
    if setting and setting != _AS_IT_IS.get(key):
        raise _wrong(f"body.{key}", "is not supported")


def _conversation(messages: Any) -> tuple[Message, ...]:
    if not isinstance(messages, list) or not messages:
        raise _wrong("body.messages", "is no list of messages")
    return tuple(_message(said, f"body.messages[{i}]") for i, said in enumerate(messages))


def _message(said: Any, where: str) -> Message:
    if not isinstance(said, dict):
        raise _wrong(where, "is no object")
    role = said.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise _wrong(f"{where}.role", "is not system, developer, user or assistant")
    for key in said.keys() - set(_MESSAGE_KEYS):
        if said[key]:
            raise _wrong(f"{where}.{key}", "is not supported")
    return Message(_ROLES[role], _content(said.get("content"), f"{where}.content"))


def _content(content: Any, where: str) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not content:
        raise _wrong(where, "is no text")
    for i, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind != "text":
            raise _wrong(f"{where}[{i}]", f"is of type {kind!r}, and only text is supported")
        if not isinstance(part.get("text"), str):
            raise _wrong(f"{where}[{i}].text", "is no text")
    return "\n".join(part["text"] for part in content)


def _overrides(body: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key in ("max_tokens", "max_completion_tokens"):  # the second is the newer name
        if key in body:
            found["max_tokens"] = _whole(body, key)
            if found["max_tokens"] < 1:
                raise _wrong(f"body.{key}", "is less than 1")
    if "seed" in body:
        found["seed"] = _whole(body, "seed") % _SEEDS
    for key, highest in (("temperature", 100.0), ("top_p", 1.0)):
        if key in body:
            found[key] = _number(body, key, highest)
    if "stop" in body:
        found["stop"] = _stop(body["stop"])
    if (schema := _schema(body.get("response_format"))) is not None:
        found["schema"] = schema
    return found


def _whole(body: Mapping[str, Any], key: str) -> int:
    number = body[key]
    if isinstance(number, bool) or not isinstance(number, int):
        raise _wrong(f"body.{key}", "is no whole number")
    return number


def _number(body: Mapping[str, Any], key: str, highest: float) -> float:
    number = body[key]
    usable = isinstance(number, int | float) and not isinstance(number, bool)
    if not usable or math.isnan(number) or not 0 <= number <= highest:
        raise _wrong(f"body.{key}", f"is no number from 0 to {highest:g}")
    return float(number)


def _stop(stop: Any) -> tuple[str, ...]:
    texts = [stop] if isinstance(stop, str) else stop
    if not isinstance(texts, list) or not all(isinstance(text, str) and text for text in texts):
        raise _wrong("body.stop", "is neither a text nor a list of them")
    return tuple(texts)


def _schema(wanted: Any) -> dict[str, Any] | None:
    if wanted is None:
        return None
    match wanted:
        case {"type": "text"}:
            return None
        case {"type": "json_object"}:
            return {"type": "object"}
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            return schema
    raise _wrong("body.response_format", "is not text, json_object or a json_schema with a schema")


def _wrong(key: str, what: str) -> UsageError:
    return UsageError(f"{key} {what}", hint=_HINT)
