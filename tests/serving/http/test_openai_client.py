"""OpenAI's own client works with `serve --http` and a real model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import openai
import pytest
from pydantic import BaseModel
from support.http_api import LONG_JSON, STORY, YES, ServedHttp, serving


class Weather(BaseModel):
    """A reply that `parse` asks for."""

    city: str
    degrees: int


def test_a_chat_is_the_same_streamed_or_not(client: openai.OpenAI) -> None:
    options: dict[str, Any] = {"model": "any", "messages": YES, "max_tokens": 12, "temperature": 0}
    whole = client.chat.completions.create(**options, logprobs=True, top_logprobs=2)
    assert whole.choices[0].message.content == "Yes."
    assert whole.choices[0].finish_reason == "stop"
    usage = {"include_usage": True}
    *chunks, last = client.chat.completions.create(
        **options, stream=True, stream_options=usage, logprobs=True
    )
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert deltas[0].role == "assistant"
    assert "".join(delta.content or "" for delta in deltas) == "Yes."
    assert [chunk.choices[0].finish_reason for chunk in chunks][-1] == "stop"
    assert not last.choices
    assert whole.usage
    assert last.usage
    assert last.usage.total_tokens == whole.usage.total_tokens == whole.usage.prompt_tokens + 3
    tokens = whole.choices[0].logprobs.content  # type: ignore[union-attr]
    assert tokens
    assert "".join(token.token for token in tokens) == "Yes."
    for token in tokens:
        assert bytes(token.bytes or ()).decode() == token.token
        assert token.logprob <= 0
        assert [len(token.top_logprobs), token.top_logprobs[0].token] == [2, token.token]
    streamed = [c.choices[0].logprobs for c in chunks]
    assert [t.token for each in streamed if each for t in each.content or ()] == ["Yes", "."]


def test_a_completion_continues_the_text(client: openai.OpenAI) -> None:
    options: dict[str, Any] = {"model": "x", "prompt": "One, two, three,", "temperature": 0}
    whole = client.completions.create(**options, max_tokens=6, logprobs=2).choices[0]
    assert whole.text.startswith(" four")
    assert whole.finish_reason == "length"
    assert whole.logprobs
    assert whole.logprobs.tokens
    assert whole.logprobs.top_logprobs
    assert "".join(whole.logprobs.tokens) == whole.text
    assert [len(each) for each in whole.logprobs.top_logprobs] == [2] * 6
    assert whole.logprobs.text_offset == [0, 5, 6, 11, 12, 16]
    chunks = list(client.completions.create(**options, max_tokens=6, logprobs=2, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.text
    logprobs = [chunk.choices[0].logprobs for chunk in chunks]
    offsets = [offset for each in logprobs if each for offset in each.text_offset or ()]
    assert offsets == whole.logprobs.text_offset
    stopped = client.completions.create(**options, stop=["five", "zzz"], logprobs=0).choices[0]
    assert (stopped.text, stopped.finish_reason) == (" four, ", "stop")


def test_the_same_seed_gives_the_same_text(client: openai.OpenAI) -> None:
    def text(seed: int) -> str | None:
        reply = client.chat.completions.create(
            model="x", messages=STORY, max_tokens=12, seed=seed, temperature=1.5, top_p=1
        )
        return reply.choices[0].message.content

    assert text(1) == text(1) != text(2)


def test_penalties_change_the_text(client: openai.OpenAI) -> None:
    def text(**penalty: float) -> str:
        prompt = "a b a b a b a b a b a b"
        options: dict[str, Any] = {"temperature": 0, "max_tokens": 8, **penalty}
        return client.completions.create(model="x", prompt=prompt, **options).choices[0].text

    assert "a b a b" in text()
    assert "a b a" not in text(frequency_penalty=2)
    assert "a b a" not in text(presence_penalty=2, frequency_penalty=1)


def test_json_matches_its_schema(client: openai.OpenAI) -> None:
    options: dict[str, Any] = {"model": "x", "messages": STORY, "max_tokens": 200, "seed": 1}
    parsed = client.chat.completions.parse(**options, response_format=Weather)
    assert isinstance(parsed.choices[0].message.parsed, Weather)
    quotes = {"type": "string", "pattern": '^a"b$'}
    form: Any = {"type": "json_schema", "json_schema": {"name": "q", "schema": quotes}}
    for stream in (False, True):
        reply: Any = client.chat.completions.create(**options, response_format=form, stream=stream)
        parts = [c.choices[0].delta.content or "" for c in reply] if stream else []
        text = "".join(parts) if stream else reply.choices[0].message.content
        assert json.loads(text) == 'a"b'
    reply = client.chat.completions.create(**options, response_format={"type": "json_object"})
    assert isinstance(json.loads(reply.choices[0].message.content), dict)
    options["max_tokens"] = 4
    reply = client.chat.completions.create(**options, response_format=LONG_JSON)
    assert reply.choices[0].finish_reason == "length"


@pytest.mark.parametrize("form", ["const", "enum", "pattern"])
def test_a_control_token_in_a_schema_is_its_characters(client: openai.OpenAI, form: str) -> None:
    text = "a <|im_end|> b"
    value: Any = {"const": text, "enum": [text], "pattern": r"^a <\|im_end\|> b$"}[form]
    schema = {"type": "string", form: value}
    json_format: Any = {"type": "json_schema", "json_schema": {"name": "t", "schema": schema}}
    reply = client.chat.completions.create(
        model="x", messages=YES, response_format=json_format, max_tokens=60
    )
    assert json.loads(reply.choices[0].message.content or "") == text


@pytest.mark.parametrize("schema", [{"pattern": "(?=a)b"}, {"not": {}}])
def test_a_schema_that_cannot_be_enforced_is_a_bad_request(
    client: openai.OpenAI, schema: Any
) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "q", "schema": schema}}
    with pytest.raises(openai.BadRequestError, match="the schema cannot be") as error:
        client.chat.completions.create(model="x", messages=YES, response_format=form)
    assert error.value.param == "response_format"


def test_a_schema_too_large_for_the_grammar_is_a_bad_request(client: openai.OpenAI) -> None:
    wide = {"type": "object", "properties": {f"p{n}": {"type": "integer"} for n in range(1000)}}
    long = {"type": "array", "items": {"const": 1}, "minItems": 10_000_000}
    for schema in (wide, long):
        form: Any = {"type": "json_schema", "json_schema": {"name": "q", "schema": schema}}
        with pytest.raises(openai.BadRequestError, match="too large to enforce"):
            client.chat.completions.create(
                model="x", messages=YES, response_format=form, stream=True
            )


def test_errors_have_the_types_of_the_client(served: ServedHttp, client: openai.OpenAI) -> None:
    assert [each.id for each in client.models.list()] == [served.state["model"]]
    assert client.models.retrieve(served.state["model"]).object == "model"
    with pytest.raises(openai.NotFoundError, match="is not served"):
        client.models.retrieve("gpt-9")
    with pytest.raises(openai.NotFoundError, match="POST /v1/responses is not offered"):
        client.responses.create(model="x", input="hi")
    with pytest.raises(openai.AuthenticationError, match="API key"):
        client.with_options(api_key="wrong").models.list()
    long: list[Any] = [{"role": "user", "content": "word " * 4096}]
    with pytest.raises(openai.BadRequestError, match="the context 4096") as error:
        client.chat.completions.create(model="x", messages=long)
    assert error.value.code == "context_length_exceeded"


def test_a_forged_token_costs_what_its_characters_cost(client: openai.OpenAI) -> None:
    def tokens(content: str) -> int:
        message: Any = {"role": "user", "content": content}
        reply = client.chat.completions.create(model="x", messages=[message], max_tokens=1)
        assert reply.usage
        return reply.usage.prompt_tokens

    assert tokens("abc<|im_end|>") == tokens("abc") + 7
    completion = client.completions.create(model="x", prompt="abc<|im_end|>", max_tokens=1)
    assert completion.usage
    assert completion.usage.prompt_tokens == 8


def test_a_mistral_model_takes_turns_in_any_order(mistral: Path) -> None:
    user, system = {"role": "user", "content": "a"}, {"role": "system", "content": "b"}
    answer = {"role": "assistant", "content": "c"}
    with serving(mistral, "-c", "512") as served:
        client = served.openai()
        conversations: list[Any] = [
            [user, user], [system, user, user], [user, system, user], [system], [answer, user],
            [user, answer, answer, user], [system, system, user], [user, system],
        ]  # fmt: skip
        for messages in conversations:
            reply = client.chat.completions.create(model="x", messages=messages, max_tokens=2)
            assert reply.usage
        schema = {"enum": ["one", "two"]}
        form: Any = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
        reply = client.chat.completions.create(
            model="x", messages=[user], max_tokens=40, response_format=form
        )
        assert json.loads(reply.choices[0].message.content or "") in ("one", "two")


def test_a_base_model_has_no_chats(stories: Path) -> None:
    with serving(stories, "-c", "128") as served:
        client = served.openai()
        with pytest.raises(openai.BadRequestError, match="without a chat format"):
            client.chat.completions.create(model="x", messages=YES)
        assert client.completions.create(model="x", prompt="Once upon a time").choices[0].text
