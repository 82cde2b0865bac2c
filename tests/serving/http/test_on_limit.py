"""JSON over HTTP that reaches its limit: cut there, or closed with `on_limit`; and stop texts."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
import pytest
from pydantic import BaseModel, Field
from starlette.testclient import TestClient
from support.endless import ENDLESS, LIMIT, SCHEMA, check_closed, write_endless
from support.http_api import AUTHORIZED, KEY, RecordingSession, ServedHttp, api_of, serving
from support.program import Run
from support.reasoning_models import THOUGHT, write_qwen3

from mistral_cli.engines.loader import open_tokenizer
from mistral_cli.engines.registry import backend
from mistral_cli.engines.types import Event, Finish, PrefillProgress, Request, TextDelta
from mistral_cli.models.gguf import read_gguf
from mistral_cli.serving.http.app import http_app
from mistral_cli.structured.schema import Schema, validation_problem

CHAT = "/v1/chat/completions"
MESSAGES: list[Any] = [{"role": "user", "content": "A text."}]


def json_format(schema: Schema) -> Any:
    return {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}


# --- a model that is cut wherever we like --------------------------------------------------------


@dataclass
class CutSession(RecordingSession):
    """Cuts the first answer of each request after `cut` characters, and writes no more.

    Each character is a delta, and a token.
    """

    text: str = ""
    cut: int = 0
    more: dict[str, str] = field(default_factory=dict)
    """What it writes behind the text of a later request."""

    def stream(self, request: Request) -> Generator[Event, None, None]:
        self.requests.append(request)
        yield PrefillProgress(1, 1)
        text = self.more.get(request.written, "") if request.written else self.text[: self.cut]
        for character in text:
            yield TextDelta(character)
        ended = request.written + text == self.text
        yield Finish("stop" if ended else "length", len(text))


@dataclass
class CutApi:
    """The application in front of that model."""

    session: CutSession
    client: TestClient

    def ask(self, schema: Schema, **fields: Any) -> dict[str, Any]:
        """The choice of a reply; a streamed one is joined."""
        body = {"messages": MESSAGES, "response_format": json_format(schema), **fields}
        reply = self.client.post(CHAT, json=body, headers=AUTHORIZED)
        assert reply.status_code == 200, reply.text
        if not fields.get("stream"):
            choice: dict[str, Any] = reply.json()["choices"][0]
            return {**choice, "content": choice["message"]["content"]}
        *events, done = [line.removeprefix("data: ") for line in reply.text.split("\n\n")[:-1]]
        assert done == "[DONE]"
        choices = [json.loads(each)["choices"][0] for each in events]
        assert all(each["finish_reason"] is None for each in choices[:-1])
        return {**choices[-1], "content": "".join(c["delta"].get("content", "") for c in choices)}


@pytest.fixture(scope="module")
def api(smollm2: Path) -> Iterator[CutApi]:
    model = read_gguf(smollm2)
    with open_tokenizer(backend("llama.cpp"), model) as tokenizer:
        session = CutSession(tokenizer)
        app = http_app(api_of(model, session), KEY)
        with TestClient(app, base_url="http://127.0.0.1") as client:
            yield CutApi(session, client)


PERSON: Schema = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "ok": {"type": "boolean"},
        "size": {"type": "number"},
        "tags": {"type": "array", "items": {"type": "string", "minLength": 2}},
        "at": {
            "type": "object",
            "properties": {"day": {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}$"}},
            "required": ["day"],
            "additionalProperties": False,
        },
    },
    "required": ["name", "ok", "size", "tags", "at"],
    "additionalProperties": False,
}
ANSWER = (
    r'{"name": "Zoë 😀 \"x\" \\ \u0001", "ok": true, "size": -12.5e1, "tags": ["ab", "cé"], '
    r'"at": {"day": "2024-05"}}'
)


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_closed_wherever_it_is_cut(api: CutApi, stream: bool) -> None:
    api.session.text, placeholders = ANSWER, set()
    for cut in range(1, len(ANSWER), 3 if stream else 12):
        api.session.cut = cut
        choice = api.ask(PERSON, on_limit="close", max_tokens=400, stream=stream)
        value = json.loads(choice["content"])
        assert validation_problem(value, PERSON) is None, (cut, choice)
        assert choice["finish_reason"] == "stop"
        assert choice["closed"]["cut"]
        placeholders |= {*choice["closed"]["placeholders"]}
    assert placeholders >= {"/ok", "/size", "/tags", "/at"}


@pytest.mark.parametrize("stream", [False, True])
def test_what_the_model_writes_after_the_cut_is_part_of_it(api: CutApi, stream: bool) -> None:
    api.session.text, api.session.cut = ANSWER, 20
    api.session.more = {ANSWER[:20]: ANSWER[20:]}
    choice = api.ask(PERSON, on_limit="close", max_tokens=400, stream=stream)
    assert choice["content"] == ANSWER
    assert choice["finish_reason"] == "stop"
    assert "closed" not in choice
    first, rest = api.session.requests[-2:]
    assert first.max_tokens < 400
    assert rest.max_tokens + 20 <= 400
    api.session.more = {}


@pytest.mark.parametrize("stream", [False, True])
def test_by_default_it_is_cut(api: CutApi, stream: bool) -> None:
    api.session.text, api.session.cut = ANSWER, 20
    for fields in ({}, {"on_limit": None}, {"on_limit": "fail"}):
        choice = api.ask(PERSON, max_tokens=400, stream=stream, **fields)
        assert (choice["content"], choice["finish_reason"]) == (ANSWER[:20], "length")
        assert api.session.requests[-1].max_tokens == 400
        assert "closed" not in choice


@pytest.mark.parametrize("stream", [False, True])
def test_what_no_limit_can_close_is_cut(api: CutApi, stream: bool) -> None:
    long = {"type": "string", "minLength": 9999}
    api.session.text, api.session.cut = '"abcdef', 4
    choice = api.ask(long, on_limit="close", max_tokens=400, stream=stream)
    assert (choice["content"], choice["finish_reason"]) == ('"abc', "length")


def test_what_was_streamed_stays_even_if_it_cannot_be_closed(api: CutApi) -> None:
    """A whole reply may drop the inner objects, whose ends need more tokens than there are."""
    words = {"const": "the quick brown fox jumps over the lazy dog"}
    inner: Schema = {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}
    node = {"type": "object", "properties": {"a": inner, "b": words}, "required": ["a", "b"]}
    schema: Schema = {"$ref": "#/$defs/node", "$defs": {"node": node}}
    api.session.text = 9 * '{"a": '
    api.session.cut = api.session.text.rindex("{") + 1
    whole = api.ask(schema, on_limit="close", max_tokens=60)
    assert validation_problem(json.loads(whole["content"]), schema) is None
    assert "closed" in whole
    streamed = api.ask(schema, on_limit="close", max_tokens=60, stream=True)
    assert streamed["content"] == api.session.text[: api.session.cut]
    assert streamed["finish_reason"] == "length"
    assert "closed" not in streamed


def test_a_limit_of_the_context_closes_too(api: CutApi) -> None:
    api.session.text, api.session.cut = ANSWER, 20
    choice = api.ask(PERSON, on_limit="close")
    assert validation_problem(json.loads(choice["content"]), PERSON) is None
    first = next(r for r in reversed(api.session.requests) if not r.written)
    assert first.max_tokens < api.session.context - len(first.prompt_token_ids)


@pytest.mark.parametrize("fields", [{}, {"on_limit": "close"}])
@pytest.mark.parametrize("stream", [False, True])
def test_a_reply_names_the_stop_text_that_cut_it(
    api: CutApi, stream: bool, fields: dict[str, str]
) -> None:
    api.session.text, api.session.cut = ANSWER, len(ANSWER)
    stopped = api.ask(PERSON, stop=["zzz", ', "o', ', "ok'], stream=stream, **fields)
    assert stopped["content"] == ANSWER[: ANSWER.index(', "ok')]
    assert (stopped["finish_reason"], stopped["stop_reason"]) == ("stop", ', "o')
    whole = api.ask(PERSON, stop=["zzz"], stream=stream, **fields)
    assert (whole["content"], whole["finish_reason"]) == (ANSWER, "stop")
    assert "stop_reason" not in whole


def test_an_answer_that_ends_by_itself_is_validated_despite_a_stop_text(api: CutApi) -> None:
    api.session.text, api.session.cut = '{"name": 5}', 11
    body = {"messages": MESSAGES, "response_format": json_format(PERSON), "stop": "zzz"}
    reply = api.client.post(CHAT, json=body, headers=AUTHORIZED)
    assert (reply.status_code, reply.json()["error"]["code"]) == (500, "output_invalid")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"on_limit": "stop"}, "on_limit must be fail or close, not 'stop'"),
        ({"on_limit": True}, "on_limit must be a string"),
        ({"on_limit": "close"}, "on_limit needs a response_format"),
        ({"on_limit": "close", "response_format": {"type": "text"}}, "needs a response_format"),
        ({"on_limit": "close", "prompt": "x"}, "on_limit is not supported"),
    ],
)
def test_wrong_values_are_refused(api: CutApi, body: dict[str, Any], message: str) -> None:
    route = "/v1/completions" if "prompt" in body else CHAT
    body = body if "prompt" in body else {"messages": MESSAGES, **body}
    reply = api.client.post(route, json=body, headers=AUTHORIZED)
    error = reply.json()["error"]
    assert (reply.status_code, error["param"]) == (400, "on_limit")
    assert message in error["message"]


# --- a real engine -------------------------------------------------------------------------------


class Person(BaseModel):
    """What SCHEMA describes."""

    name: str
    note: str = ""
    age: int = Field(ge=1, le=9)


@pytest.fixture(scope="module")
def endless(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_endless(tmp_path_factory.mktemp("models") / "endless.gguf", smollm2)


@pytest.fixture(scope="module")
def served(endless: Path) -> Iterator[ServedHttp]:
    with serving(endless, "-c", "512") as served:
        yield served


GREEDY: dict[str, Any] = {
    "model": "any",
    "messages": MESSAGES,
    "temperature": 0,
    "max_tokens": LIMIT,
}
CLOSE = {"on_limit": "close"}


def test_openais_client_gets_a_valid_value(client: openai.OpenAI) -> None:
    chat, form = client.chat.completions, json_format(SCHEMA)
    reply = chat.create(**GREEDY, response_format=form, extra_body=CLOSE)
    choice = reply.choices[0]
    check_closed(json.loads(choice.message.content or ""))
    assert choice.finish_reason == "stop"
    assert choice.closed["cut"][0] == "/name"  # type: ignore[attr-defined]
    assert reply.usage
    assert LIMIT / 2 < reply.usage.completion_tokens <= LIMIT
    chunks = list(chat.create(**GREEDY, response_format=form, extra_body=CLOSE, stream=True))
    deltas = [chunk.choices[0].delta.content or "" for chunk in chunks]
    assert "".join(deltas) == choice.message.content
    assert len([delta for delta in deltas if delta]) > 4
    last = chunks[-1].choices[0]
    assert (last.finish_reason, last.closed) == ("stop", choice.closed)  # type: ignore[attr-defined]


def test_its_parse_needs_no_end_of_the_model(client: openai.OpenAI) -> None:
    chat = client.chat.completions
    parsed = chat.parse(**GREEDY, response_format=Person, extra_body=CLOSE)
    assert isinstance(parsed.choices[0].message.parsed, Person)
    with client.chat.completions.stream(
        **GREEDY, response_format=Person, extra_body=CLOSE
    ) as stream:
        final = stream.get_final_completion().choices[0].message.parsed
    assert final == parsed.choices[0].message.parsed
    with pytest.raises(openai.LengthFinishReasonError):
        chat.parse(**GREEDY, response_format=Person)


def test_a_call_of_the_program_uses_the_served_model(
    served: ServedHttp, endless: Path, run: Run
) -> None:
    options = ("--schema", json.dumps(SCHEMA), "--on-limit", "close", "-n", LIMIT, "-m", endless)
    result = run("json-extract", "A text.", "--json", *options, XDG_RUNTIME_DIR=str(served.runtime))
    assert result.status == 0, result.stderr
    answer = json.loads(result.stdout)
    assert (answer["served"], answer["finish_reason"]) == (True, "closed")
    check_closed(answer["data"])


THINKING = ["\n", "<think>", *THOUGHT, "</think>", "\n\n", *ENDLESS]


def test_the_thought_before_it_stays(
    real_files: Path, real_templates: dict[str, str], tmp_path: Path
) -> None:
    thinker = write_qwen3(tmp_path / "thinker.gguf", real_files, real_templates, THINKING)
    with serving(thinker, "-c", "512") as served:
        options = {**GREEDY, "reasoning_effort": "high", "extra_body": CLOSE}
        chat = served.openai().chat.completions
        reply = chat.create(**options, response_format=json_format(SCHEMA))
    choice = reply.choices[0]
    assert choice.message.reasoning_content == "Hidden secret thought."
    check_closed(json.loads(choice.message.content or ""))
    assert reply.usage.completion_tokens_details.reasoning_tokens >= len(THOUGHT)
    assert choice.closed["cut"][0] == "/name"
