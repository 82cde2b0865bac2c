from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.terminals import make_terminal

from mistral_cli.batch.input.rows import Row, read_rows
from mistral_cli.generation.options import OnLimit
from mistral_cli.models.chat import Message

ASK = [{"role": "user", "content": "Why?"}]
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


def request(custom_id: Any = "r-1", *, line: Any = (), **body: Any) -> Row:
    """Return the row of a request; `line` has other keys of the JSON line."""
    value = {
        "custom_id": custom_id,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "gpt-4o-mini", "messages": ASK, **body},
        **dict(line),
    }
    Path("requests.jsonl").write_text(json.dumps(value), encoding="utf-8")
    terminal = make_terminal()
    [row] = read_rows(["requests.jsonl"], terminal)
    return row


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_request_is_a_row() -> None:
    row = request(
        messages=[
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "name": "ada", "content": "Why?"},
            {"role": "assistant", "content": "Because.", "refusal": None, "tool_calls": []},
            {"role": "user", "content": [{"type": "text", "text": t} for t in ("And", "then?")]},
        ],
        max_completion_tokens=7,
        temperature=0,
    )
    assert row == Row(
        "r-1",
        "requests.jsonl:1",
        conversation=(
            Message("system", "Be brief."),
            Message("user", "Why?"),
            Message("assistant", "Because."),
            Message("user", "And\nthen?"),
        ),
        overrides={"max_tokens": 7, "temperature": 0.0},
    )


@pytest.mark.parametrize(
    ("body", "overrides"),
    [
        ({"max_tokens": 5}, {"max_tokens": 5}),
        ({"max_tokens": 5, "max_completion_tokens": 6}, {"max_tokens": 6}),
        ({"top_p": 0.5, "temperature": 1}, {"top_p": 0.5, "temperature": 1.0}),
        ({"seed": 3}, {"seed": 3}),
        ({"seed": -1}, {"seed": 2**31 - 1}),
        ({"stop": "END"}, {"stop": ("END",)}),
        ({"stop": ["a", "b"]}, {"stop": ("a", "b")}),
        ({"response_format": {"type": "text"}}, {}),
        ({"on_limit": "close"}, {"on_limit": OnLimit.CLOSE}),
        ({"response_format": {"type": "json_object"}}, {"schema": {"type": "object"}}),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}},
            {"schema": SCHEMA},
        ),
        ({"user": "u", "metadata": {"a": "b"}, "store": True, "service_tier": "flex"}, {}),
        ({"n": 1, "stream": False, "tools": [], "logprobs": False, "tool_choice": "none"}, {}),
        ({"max_tokens": None, "stop": None, "temperature": None, "response_format": None}, {}),
        ({"modalities": ["text"], "logit_bias": {}}, {}),
        ({"frequency_penalty": 0, "min_p": 0.1}, {"frequency_penalty": 0.0, "min_p": 0.1}),
        ({"top_k": 7, "repeat_last_n": 9}, {"top_k": 7, "repeat_last_n": 9}),
        (
            {"presence_penalty": -1, "repetition_penalty": 1.5, "dry_multiplier": 1},
            {"presence_penalty": -1.0, "repetition_penalty": 1.5, "dry_multiplier": 1.0},
        ),
    ],
)
def test_body_settings_become_overrides(body: dict[str, Any], overrides: dict[str, Any]) -> None:
    row = request(**body)
    assert (row.error, dict(row.overrides)) == (None, overrides)


def _says(content: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": content}]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"n": 2}, "body.n is not supported"),
        ({"stream": True}, "body.stream is not supported"),
        ({"logprobs": True}, "body.logprobs is not supported"),
        ({"tools": [{"type": "function"}]}, "body.tools is not supported"),
        ({"functions": [{}]}, "body.functions is not supported"),
        ({"modalities": ["text", "audio"]}, "body.modalities is not supported"),
        ({"audio": {"voice": "a"}}, "body.audio is not supported"),
        ({"logit_bias": {"50256": -100}}, "body.logit_bias is not supported"),
        ({"presence_penalty": 2.5}, "body.presence_penalty must be a number from -2 to 2"),
        ({"min_p": True}, "body.min_p must be a number from 0 to 1"),
        ({"top_k": 2.5}, "body.top_k must be a whole number from 0 to 2147483647"),
        ({"xtc_probability": 0.5}, "body.xtc_probability is not supported"),
        ({"max_tokens": 0}, "body.max_tokens must be at least 1"),
        ({"max_tokens": 1.5}, "body.max_tokens must be an integer"),
        ({"max_tokens": True}, "body.max_tokens must be an integer"),
        ({"seed": "7"}, "body.seed must be an integer"),
        ({"temperature": "hot"}, "body.temperature must be a number from 0 to 100"),
        ({"temperature": -1}, "body.temperature must be a number from 0 to 100"),
        ({"top_p": 1.1}, "body.top_p must be a number from 0 to 1"),
        ({"stop": 7}, "body.stop must be"),
        ({"stop": [""]}, "body.stop must be"),
        ({"response_format": {"type": "xml"}}, "body.response_format must be"),
        ({"on_limit": "stop"}, "body.on_limit must be fail or close"),
        ({"on_limit": ["close"]}, "body.on_limit must be fail or close"),
        ({"response_format": "json_object"}, "body.response_format must be"),
        ({"response_format": {"type": "json_schema"}}, "body.response_format must be"),
        ({"messages": []}, "body.messages must be a non-empty list"),
        ({"messages": None}, "body.messages must be a non-empty list"),
        ({"messages": ["hi"]}, "body.messages[0] must be an object"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "body.messages[0].role must be"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "body.messages[0].role must be"),
        ({"messages": [*ASK, {"role": "user"}]}, "body.messages[1].content must be a string"),
        ({"messages": _says([{"type": "image_url"}])}, "body.messages[0].content[0] is of type"),
        ({"messages": _says(["text"])}, "body.messages[0].content[0] is of type None"),
        (
            {"messages": _says([{"type": "text"}])},
            "body.messages[0].content[0].text must be a string",
        ),
        (
            {"messages": [{"role": "assistant", "content": "", "tool_calls": [{}]}]},
            "body.messages[0].tool_calls is not supported",
        ),
        ({"line": {"method": "GET"}}, "method must be POST"),
        ({"line": {"url": "/v1/embeddings"}}, "url must be /v1/chat/completions"),
    ],
)
def test_unsupported_keys_are_the_error_of_their_row(body: dict[str, Any], problem: str) -> None:
    row = request(**body)
    assert row.error is not None
    assert row.error.message.startswith(f"requests.jsonl:1: {problem}")
    assert row.error.hint
    assert (row.id, row.conversation, row.overrides) == ("r-1", (), {})


@pytest.mark.parametrize("custom_id", [7, None, ""])
def test_a_request_needs_a_custom_id(custom_id: Any) -> None:
    row = request(custom_id)
    assert row.error is not None
    assert row.error.message == "requests.jsonl:1: custom_id must be a non-empty string"
    assert row.id == "requests.jsonl:1"


def test_a_line_without_a_body_is_not_a_request() -> None:
    row = request(line={"body": "letter", "text": "plain"})
    assert (row.text, row.conversation, row.fields["custom_id"]) == ("plain", (), "r-1")
