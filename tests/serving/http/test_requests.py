"""A wrong request is refused with a sentence; a right one reaches the engine as it was meant."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.gguf_parts import GGUFParts, entry
from support.http_api import AUTHORIZED, Api, recorded

from mistral_cli.engines.types import Sampling
from mistral_cli.models.gguf import read_gguf
from mistral_cli.models.gguf.token_text import detokenize
from mistral_cli.models.gguf.types import FLOAT32
from mistral_cli.serving.http import answering

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
MESSAGES = [{"role": "user", "content": "hi"}]
OBJECT = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


@pytest.fixture(scope="module")
def api(smollm2: Path) -> Iterator[Api]:
    with recorded(smollm2) as api:
        yield api


def refused(api: Api, route: str, body: Any, status: int = 400) -> dict[str, Any]:
    """The error that a request is refused with, after a look at its shape."""
    before = len(api.session.requests)
    found, reply = api.post(route, body)
    assert found == status, reply
    assert len(api.session.requests) == before
    assert reply.keys() == {"error"}
    error: dict[str, Any] = reply["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    message = error["message"]
    assert 10 < len(message) < 400
    assert "\n" not in message
    assert message.isprintable()
    return error


def json_format(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        b'"text"',
        b'{"messages": NaN}',
        b'{"messages": [], "messages": []}',
        b'{"temperature": 1e999}',
        b"[" * 100_000,
        b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"prompt": "\\udc00", "messages": [{"role": "user", "content": "x"}]}',
        b"9" * 5000,
        b"\0",
    ],
)
@pytest.mark.parametrize("route", [CHAT, TEXT])
def test_a_body_that_is_not_a_json_object_is_refused(api: Api, route: str, body: bytes) -> None:
    refused(api, route, body)


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        (None, "messages"),
        ([], "messages"),
        ("hi", "messages"),
        ({"role": "user"}, "messages"),
        ([None], "messages[0]"),
        (["hi"], "messages[0]"),
        ([{}], "messages[0].role"),
        ([{"content": "hi"}], "messages[0].role"),
        ([{"role": 5, "content": "hi"}], "messages[0].role"),
        ([{"role": "tool", "content": "hi", "tool_call_id": "x"}], "messages[0].role"),
        ([{"role": "user"}], "messages[0].content"),
        ([{"role": "user", "content": None}], "messages[0].content"),
        ([{"role": "user", "content": 5}], "messages[0].content"),
        ([{"role": "user", "content": []}], "messages[0].content"),
        ([{"role": "user", "content": ["hi"]}], "messages[0].content[0]"),
        ([{"role": "user", "content": [{"text": "hi"}]}], "messages[0].content[0].type"),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0].text"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
            "messages[0].content[0].type",
        ),
        ([*MESSAGES, {"role": "assistant", "content": "so"}], "messages[1].role"),
        ([{"role": "assistant", "tool_calls": [{"id": "x"}]}, *MESSAGES], "messages[0].content"),
    ],
)
def test_wrong_messages_are_refused(api: Api, messages: Any, param: str) -> None:
    assert refused(api, CHAT, {"messages": messages})["param"] == param


WRONG = [
    ("model", 5),
    ("stream", "yes"),
    ("stream", 1),
    ("stream_options", True),
    ("stream_options", {"include_usage": True}),  # without stream
    ("n", 2),
    ("n", "1"),
    ("n", True),
    ("temperature", "hot"),
    ("temperature", True),
    ("temperature", -0.1),
    ("temperature", 2.1),
    ("temperature", 10**400),
    ("top_p", 1.5),
    ("top_p", [0.5]),
    ("top_k", -1),
    ("top_k", 2**40),
    ("repetition_penalty", 0),
    ("frequency_penalty", 2.5),
    ("presence_penalty", -2.5),
    ("min_p", 1.5),
    ("min_p", "0.1"),
    ("repeat_last_n", -1),
    ("repeat_last_n", 1.5),
    ("dry_multiplier", -1),
    ("dry_base", 0.5),
    ("dry_allowed_length", 0),
    ("dry_penalty_last_n", True),
    ("xtc_probability", 0.5),
    ("max_tokens", 0),
    ("max_tokens", -1),
    ("max_tokens", 1.5),
    ("max_tokens", 2**31),
    ("seed", "1"),
    ("seed", 0.5),
    ("seed", 2**64),
    ("stop", 5),
    ("stop", 0),
    ("stop", False),
    ("stop", {}),
    ("stop", [5]),
    ("stop", ""),
    ("stop", ["a", ""]),
    ("stop", list("abcde")),
    ("logit_bias", {"50256": -100}),
    ("user", 5),
    ("metadata", "x"),
    ("x" * 1000, 1),
    ("id_slot", 0),
    ("prompt_logprobs", 1),
    ("samplers", ["top_k"]),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
@pytest.mark.parametrize("route", [CHAT, TEXT])
def test_a_wrong_field_is_refused_by_its_name(api: Api, route: str, name: str, value: Any) -> None:
    body = {"messages": MESSAGES} if route == CHAT else {"prompt": "hi"}
    assert refused(api, route, {**body, name: value})["param"][:60] == name[:60]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tools", 5),
        ("tools", [{"type": "function", "function": {"name": "f"}}]),
        ("tool_choice", "required"),
        ("functions", [{"name": "f"}]),
        ("modalities", ["audio"]),
        ("logprobs", 5),
        ("top_logprobs", 2),  # without logprobs
        ("max_completion_tokens", 0),
        ("response_format", "json"),
        ("response_format", {}),
        ("response_format.type", {"type": "xml"}),
        ("response_format.json_schema", {"type": "json_schema"}),
        ("response_format.json_schema.schema", json_format(None)),
        ("response_format.json_schema.schema", json_format(True)),
        ("response_format.schema", {"type": "json_object", "schema": OBJECT}),
        ("reasoning_effort", "high"),
        ("prompt", "hi"),
    ],
)
def test_a_wrong_field_of_a_chat_is_refused(api: Api, name: str, value: Any) -> None:
    body = {"messages": MESSAGES, name.partition(".")[0]: value}
    param = refused(api, CHAT, body)["param"]
    assert param == name or param.startswith(f"{name}.")


@pytest.mark.parametrize(
    ("name", "value"),
    [("echo", True), ("best_of", 3), ("suffix", "x"), ("logprobs", 6), ("logprobs", True)],
)
def test_a_wrong_field_of_a_completion_is_refused(api: Api, name: str, value: Any) -> None:
    assert refused(api, TEXT, {"prompt": "hi", name: value})["param"] == name


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "(?=a)b"},
        {"type": "string", "pattern": "(a"},
        {"type": "array", "uniqueItems": True},
        {"if": {"type": "string"}, "then": {"minLength": 3}},
        {"oneOf": [{"type": "integer"}, {"type": "number"}]},
        {"$ref": "https://example.com/schema.json"},
        {"$ref": "#/$defs/missing"},
        {"$ref": "#"},
        {"type": 5},
        {"type": "strin"},
        {"enum": []},
        {"$schema": "http://json-schema.org/draft-03/schema#"},
        {"type": "string", "minLength": 5, "maxLength": 2},
        {"properties": 5},
        {"allOf": [{"type": "string"}, {"type": "integer"}]},
    ],
)
def test_a_schema_that_cannot_be_enforced_is_refused(api: Api, schema: Any) -> None:
    for stream in (False, True):
        body = {"messages": MESSAGES, "response_format": json_format(schema), "stream": stream}
        assert refused(api, CHAT, body)["param"] == "response_format"


def test_an_unknown_format_is_an_annotation(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.session, "pieces", ['"x"'])
    schema = {"type": "string", "format": "no-such-format"}
    body = {"messages": MESSAGES, "response_format": json_format(schema)}
    status, reply = api.post(CHAT, body)
    assert (status, reply["choices"][0]["message"]["content"]) == (200, '"x"')


@pytest.mark.parametrize("answer", ['Hello, {"a": 1}', '{"a": 1, "a": 1}', '{"b": "x"}'])
def test_an_answer_that_does_not_match_is_an_error_even_in_a_stream(
    api: Api, answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.session, "pieces", [answer])
    schema = {"type": "object", "patternProperties": {"^.": {"type": "integer"}}}
    body = {"messages": MESSAGES, "response_format": json_format(schema)}
    status, reply = api.post(CHAT, body)
    assert (status, reply["error"]["code"]) == (500, "output_invalid")
    content = json.dumps(body | {"stream": True})
    streamed = api.client.post(CHAT, content=content, headers=AUTHORIZED).text
    *_, error, done = streamed.strip().split("\n\n")
    assert '"code": "output_invalid"' in error
    assert done == "data: [DONE]"


def test_a_body_may_begin_with_a_byte_order_mark(api: Api) -> None:
    assert api.post(TEXT, b'\xef\xbb\xbf{"prompt": "hi"}')[0] == 200


def test_limits_of_one_meaning_and_logprobs_of_json_are_refused(api: Api) -> None:
    both = {"messages": MESSAGES, "max_tokens": 5, "max_completion_tokens": 5}
    assert refused(api, CHAT, both)["param"] == "max_tokens"
    form = {"type": "json_object"}
    both = {"messages": MESSAGES, "response_format": form, "logprobs": True}
    assert refused(api, CHAT, both)["param"] == "logprobs"


def test_null_and_what_asks_for_nothing_are_accepted(api: Api) -> None:
    names = [name for name, _ in WRONG if name.isidentifier()]
    nothing = dict.fromkeys(names) | {
        "n": 1,
        "tools": [],
        "tool_choice": "none",
        "logit_bias": {},
        "user": "me",
        "metadata": {"a": "b"},
        "store": False,
        "service_tier": "auto",
        "parallel_tool_calls": True,
        "response_format": {"type": "text"},
        "stop": [],
    }
    status, reply = api.post(CHAT, {"model": "x", "messages": MESSAGES, **nothing})
    assert status == 200, reply
    assert api.post(TEXT, {"prompt": "hi", "best_of": 1, "echo": False, "suffix": ""})[0] == 200


def test_a_suffix_is_what_follows_the_gap(coder: Path) -> None:
    with recorded(coder) as api:
        status, reply = api.post(TEXT, {"prompt": "def f", "suffix": "end"})
        assert status == 200, reply
        (request,) = api.session.requests
    prompt = detokenize(read_gguf(coder), request.prompt_token_ids)
    assert prompt == "<|fim_prefix|>def f<|fim_suffix|>end<|fim_middle|>"


def test_settings_reach_the_engine(api: Api) -> None:
    settings = {
        "temperature": 0.5,
        "top_k": 7,
        "top_p": 0.25,
        "repetition_penalty": 1.1,
        "frequency_penalty": 0.5,
        "presence_penalty": -1,
        "min_p": 0.125,
        "repeat_last_n": 9,
        "dry_multiplier": 0.5,
        "dry_base": 2,
        "dry_allowed_length": 3,
        "dry_penalty_last_n": 0,
        "seed": -3,
    }
    assert api.post(CHAT, {"messages": MESSAGES, "max_completion_tokens": 9, **settings})[0] == 200
    request = api.session.requests[-1]
    sampling = {name: getattr(request.sampling, name) for name in settings}
    assert (sampling, request.max_tokens, request.grammar) == (settings, 9, None)
    assert api.post(TEXT, {"prompt": "hi"})[0] == 200
    assert api.session.requests[-1].max_tokens == 16
    sampling = api.session.requests[-1].sampling
    assert sampling == Sampling(0.8, 40, 0.95, 1.0, sampling.seed)
    assert sampling.seed != -3


def test_what_the_models_file_proposes_comes_before_the_defaults(
    mistral: Path, tmp_path: Path
) -> None:
    parts = GGUFParts(mistral)
    for key, value in (("temp", 0.6), ("min_p", 0.25), ("top_p", math.nan)):
        number = struct.pack("<f", value)
        parts.put(entry(f"general.sampling.{key}", kind=FLOAT32, value=number))
    path = tmp_path / "proposing.gguf"
    path.write_bytes(parts.build())
    with recorded(path) as api:
        assert api.post(CHAT, {"messages": MESSAGES, "seed": 1, "min_p": 0.5})[0] == 200
        (request,) = api.session.requests
        assert request.sampling == Sampling(0.6, 40, 0.95, 1.0, 1, min_p=0.5)


def test_a_prompt_that_is_too_long_is_refused(api: Api) -> None:
    for text in ("word " * 5000, "a" * 2_000_000):
        for route, body in (
            (CHAT, {"messages": [{"role": "user", "content": text}]}),
            (TEXT, {"prompt": text}),
        ):
            error = refused(api, route, body)
            assert error["code"] == "context_length_exceeded"
            assert "4096" in error["message"]


def test_a_message_of_too_many_blanks_is_refused(api: Api) -> None:
    for text in (" " * 2_000_000, " " * (1 << 20), "\n" * 700_000 + "x" + "\t" * 700_000):
        error = refused(api, CHAT, {"messages": [{"role": "user", "content": text}]})
        assert error["code"] == "context_length_exceeded"
        assert "blanks" in error["message"]


def test_a_conversation_of_too_many_messages_is_refused(api: Api, mistral: Path) -> None:
    turns = [{"role": role, "content": ""} for role in ("user", "assistant")] * 30_000
    messages = [*turns, *MESSAGES * 5_000]
    with recorded(mistral) as other:
        for each in (api, other):
            refused(each, CHAT, {"messages": messages})


def test_a_body_that_is_too_large_is_refused(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "MAX_BODY", 1000)
    assert "1000" in refused(api, TEXT, {"prompt": "x" * 1000}, 413)["message"]
    assert api.post(TEXT, {"prompt": "x" * 900})[0] == 200


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
NAMES = sorted({name for name, _ in WRONG if name.isidentifier()})
NAMES += ["messages", "on_limit", "prompt", "tools", "response_format", "suffix"]
NAMES += ["logprobs", "top_logprobs"]
KEYWORDS = ["type", "properties", "items", "required", "enum", "const", "anyOf", "oneOf", "allOf"]
KEYWORDS += ["$ref", "$defs", "pattern", "format", "minLength", "maximum", "minItems", "$schema"]
KEYWORDS += ["additionalProperties", "patternProperties", "not", "if", "then", "$id"]
SCHEMAS = st.dictionaries(
    st.sampled_from(KEYWORDS), JSON | st.dictionaries(st.sampled_from(KEYWORDS), JSON), max_size=3
)


@given(fields=st.dictionaries(st.sampled_from(NAMES), JSON, max_size=3), schema=SCHEMAS)
def test_no_request_fails_unexpectedly(api: Api, fields: dict[str, Any], schema: Any) -> None:
    for route, body in (
        (CHAT, {"messages": MESSAGES, **fields}),
        (CHAT, {"messages": [{"role": "user", "content": "x", **fields}]}),
        (CHAT, {"messages": MESSAGES, "response_format": json_format(schema)}),
        (TEXT, {"prompt": "x", **fields}),
    ):
        content = json.dumps(body).encode()
        reply = api.client.post(route, content=content, headers=AUTHORIZED)
        if reply.status_code == 500:  # the scripted answer is not JSON
            assert reply.json()["error"]["code"] == "output_invalid"
        else:
            assert reply.status_code in (200, 400), reply.text
