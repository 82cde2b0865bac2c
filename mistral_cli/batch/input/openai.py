"""Requests of OpenAI's Batch API: the body of a chat completion → a conversation and settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mistral_cli.engines.sampling import SETTINGS
from mistral_cli.errors import UsageError
from mistral_cli.generation.options import OnLimit
from mistral_cli.models.chat import Message, Role

_URL = "/v1/chat/completions"
_HINT = '"Batch input and results" in the documentation lists what is supported.'
_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}
_SEEDS = 2**31  # OpenAI's have 64 bits
_MESSAGE_KEYS = ("role", "content", "name")

# Keys that do not affect the answer, or only tell the service how to work.
_IGNORED = {
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
_SUPPORTED = {
    *SETTINGS,
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "on_limit",
    "response_format",
    "seed",
    "stop",
}
# Any other key is refused, unless it is empty or has the value that always applies here.
_DEFAULTS: dict[str, Any] = {"n": 1, "modalities": ["text"], "tool_choice": "none"}


def is_request(value: Mapping[str, Any]) -> bool:
    """Return whether a JSON line is a request of OpenAI's Batch API."""
    return "custom_id" in value and isinstance(value.get("body"), dict)


def read_request(value: Mapping[str, Any]) -> tuple[tuple[Message, ...], dict[str, Any]]:
    """Return the conversation, and the body's settings under our options' names.

    Raises UsageError naming the key that is invalid, or that would change the answer and is not
    supported.
    """
    if not isinstance(value["custom_id"], str) or not value["custom_id"]:
        raise _invalid("custom_id", "must be a non-empty string")
    if value.get("method", "POST") != "POST":
        raise _invalid("method", "must be POST")
    if value.get("url", _URL) != _URL:
        raise _invalid("url", f"must be {_URL}")
    body = {key: setting for key, setting in value["body"].items() if setting is not None}
    for key in sorted(body.keys() - _SUPPORTED - _IGNORED):
        _check_default(key, body[key])
    return _conversation(body.get("messages")), _overrides(body)


def _check_default(key: str, setting: Any) -> None:
    if setting and setting != _DEFAULTS.get(key):
        raise _invalid(f"body.{key}", "is not supported")


def _conversation(messages: Any) -> tuple[Message, ...]:
    if not isinstance(messages, list) or not messages:
        raise _invalid("body.messages", "must be a non-empty list of messages")
    return tuple(_message(each, f"body.messages[{i}]") for i, each in enumerate(messages))


def _message(message: Any, where: str) -> Message:
    if not isinstance(message, dict):
        raise _invalid(where, "must be an object")
    role = message.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise _invalid(f"{where}.role", "must be system, developer, user or assistant")
    for key in sorted(message.keys() - set(_MESSAGE_KEYS)):
        if message[key]:
            raise _invalid(f"{where}.{key}", "is not supported")
    return Message(_ROLES[role], _content(message.get("content"), f"{where}.content"))


def _content(content: Any, where: str) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not content:
        raise _invalid(where, "must be a string or a list of text parts")
    for i, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind != "text":
            raise _invalid(f"{where}[{i}]", f"is of type {kind!r}; only text is supported")
        if not isinstance(part.get("text"), str):
            raise _invalid(f"{where}[{i}].text", "must be a string")
    return "\n".join(part["text"] for part in content)


def _overrides(body: Mapping[str, Any]) -> dict[str, Any]:
    overrides: dict[str, Any] = {}
    for key in ("max_tokens", "max_completion_tokens"):  # the second is the newer name
        if key in body:
            overrides["max_tokens"] = _integer(body, key)
            if overrides["max_tokens"] < 1:
                raise _invalid(f"body.{key}", "must be at least 1")
    if "seed" in body:
        overrides["seed"] = _integer(body, "seed") % _SEEDS
    for key, setting in SETTINGS.items():
        if key in body:
            if not setting.allows(body[key]):
                raise _invalid(f"body.{key}", f"must be {setting}")
            overrides[key] = setting.kind(body[key])
    if "stop" in body:
        overrides["stop"] = _stop(body["stop"])
    if "on_limit" in body:
        overrides["on_limit"] = _on_limit(body["on_limit"])
    if (schema := _schema(body.get("response_format"))) is not None:
        overrides["schema"] = schema
    return overrides


def _integer(body: Mapping[str, Any], key: str) -> int:
    number = body[key]
    if isinstance(number, bool) or not isinstance(number, int):
        raise _invalid(f"body.{key}", "must be an integer")
    return number


def _stop(stop: Any) -> tuple[str, ...]:
    texts = [stop] if isinstance(stop, str) else stop
    if not isinstance(texts, list) or not all(isinstance(text, str) and text for text in texts):
        raise _invalid("body.stop", "must be a non-empty string or a list of such strings")
    return tuple(texts)


def _on_limit(value: Any) -> OnLimit:
    try:
        return OnLimit(value)
    except ValueError:
        raise _invalid("body.on_limit", f"must be {' or '.join(OnLimit)}") from None


def _schema(response_format: Any) -> dict[str, Any] | None:
    if response_format is None:
        return None
    match response_format:
        case {"type": "text"}:
            return None
        case {"type": "json_object"}:
            return {"type": "object"}
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            return schema
    raise _invalid(
        "body.response_format", "must be text, json_object or a json_schema with a schema"
    )


def _invalid(key: str, problem: str) -> UsageError:
    return UsageError(f"{key} {problem}", hint=_HINT)
