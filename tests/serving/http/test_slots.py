"""The slots of `serve --http`: who waits for one, and what frees it."""

from __future__ import annotations

import json
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
from support.http_api import ENDLESS, LONG_JSON, STORY, YES, ServedHttp, serving, until
from support.program import Run

pytestmark = pytest.mark.alone


@pytest.mark.parametrize(
    "more",
    [{}, {"stream": True}, {"response_format": LONG_JSON}, {"stop": ["zzz"]}],
    ids=["whole", "stream", "json", "stop"],
)
def test_a_client_that_hangs_up_frees_its_slot(
    served: ServedHttp, client: openai.OpenAI, more: dict[str, Any]
) -> None:
    engine = served.engine()
    connection = served.post_endless(**more)
    until(lambda: engine.metrics()["requests_processing"])
    time.sleep(0.3)
    before = engine.metrics()["tokens_predicted_total"]
    connection.close()
    seconds = until(lambda: not engine.metrics()["requests_processing"])
    print(f"the slot was free after {seconds:.3f} s")
    assert engine.metrics()["tokens_predicted_total"] - before < 1000
    assert client.chat.completions.create(model="x", messages=YES, max_tokens=2).choices


def test_a_client_that_hangs_up_while_it_waits_is_forgotten(
    served: ServedHttp, client: openai.OpenAI
) -> None:
    engine = served.engine()
    first, second = served.post_endless(), served.post_endless(stream=True)
    until(lambda: engine.metrics()["requests_processing"])
    second.close()
    time.sleep(0.1)
    first.close()
    until(lambda: not engine.metrics()["requests_processing"])
    assert client.chat.completions.create(model="x", messages=YES, max_tokens=2).choices


def test_more_requests_than_slots_wait(smollm2: Path) -> None:
    with serving(smollm2, "-c", "512", "--parallel", "2") as served:
        client = served.openai()

        def ask(number: int) -> str | None:
            reply = client.chat.completions.create(
                model="x", messages=YES, max_tokens=4, temperature=0, stream=bool(number % 2)
            )
            if isinstance(reply, openai.Stream):
                return "".join(chunk.choices[0].delta.content or "" for chunk in reply)
            return reply.choices[0].message.content

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(ask, range(8))) == {"Yes."}


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_during_answers(smollm2: Path, how: signal.Signals) -> None:
    with serving(smollm2, "-c", "4096", "--parallel", "2") as served:
        client, engine = served.openai(), served.engine()

        def whole() -> str:
            try:
                client.chat.completions.create(model="x", extra_body=ENDLESS, messages=STORY)
            except openai.APIError as error:
                return str(error)
            return ""

        def streamed() -> str:
            options: dict[str, Any] = {"messages": STORY, "temperature": 0, "stream": True}
            try:
                for _ in client.chat.completions.create(model="x", **options):
                    pass
            except openai.APIError as error:
                return str(error)
            return ""

        with ThreadPoolExecutor(4) as pool:
            calls = [pool.submit(each) for each in (whole, streamed, whole, streamed)]
            until(lambda: engine.metrics()["requests_processing"] == 2)
            served.process.send_signal(how)
            assert served.process.wait(10) == (130 if how == signal.SIGINT else 0)
            for call in calls:
                assert "the server is stopping" in call.result(10)


def test_the_program_itself_uses_it_too(
    run: Run, smollm2: Path, served: ServedHttp, client: openai.OpenAI
) -> None:
    environment = {"XDG_RUNTIME_DIR": str(served.runtime)}
    arguments = ("Say only: yes", "-m", smollm2, "-n", 5, "--temperature", 0, "--json")
    result = run("generate", *arguments, "--repetition-penalty", 1, **environment)
    answer = json.loads(result.stdout)
    assert answer["served"] is True
    reply = client.chat.completions.create(model="x", messages=YES, max_tokens=5, temperature=0)
    assert reply.usage
    assert answer["prompt_tokens"] == reply.usage.prompt_tokens
