"""Servers that misbehave: for each way an answer, a retry elsewhere, or a clear error."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from support.scripted_server import HARMFUL, HARMLESS, NOT_HERE, REFUSED, SLOW, ScriptedServer
from support.servers import QUICK, answer, asking, connected, opened, quiet_terminal

from mistral_cli.engines.servers.client import Timeouts
from mistral_cli.errors import (
    AnswerInterrupted,
    ContextExceeded,
    EngineFailed,
    MistralCliError,
    ServersGone,
    TimedOut,
)

KINDS = ("vllm", "llama-server", "openai", "ollama", "sglang", "mistral-cli", "lm-studio")
TEXT = "one two three"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", ["", *HARMLESS])
def test_understands_every_way_to_write_a_stream(kind: str, fault: str) -> None:
    script = ScriptedServer(kind, faults=[fault])
    with script.running():
        found = connected(script)
        with opened(found) as session:
            assert answer(session, asking(session, found, TEXT)) == TEXT


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", HARMFUL)
def test_asks_again_after_what_may_pass(kind: str, fault: str) -> None:
    script = ScriptedServer(kind, faults=[fault])
    with script.running():
        found = connected(script, patience=10)
        with opened(found) as session:
            assert answer(session, asking(session, found, TEXT)) == TEXT
            assert not script.faults


@pytest.mark.parametrize("fault", [*HARMFUL, *NOT_HERE, *SLOW])
def test_asks_another_server(fault: str) -> None:
    bad, good = ScriptedServer(faults=[fault]), ScriptedServer(faults=[""])
    with bad.running(), good.running():
        found = connected(bad, good, timeouts=Timeouts(connect=2, first=0.3, idle=0.1))
        with opened(found) as session:
            for _ in range(4):
                assert answer(session, asking(session, found, TEXT)) == TEXT
            assert not bad.faults


@pytest.mark.parametrize("fault", [*HARMFUL, *NOT_HERE])
def test_names_what_is_wrong_where_nothing_else_is_there(fault: str) -> None:
    script = ScriptedServer(faults=[fault] * 100)
    with script.running():
        found = connected(script, patience=0.05)
        with opened(found) as session, pytest.raises(EngineFailed) as raised:
            answer(session, asking(session, found, TEXT))
    assert "127.0.0.1" in raised.value.message
    assert raised.value.hint


@pytest.mark.parametrize("fault", REFUSED)
def test_does_not_repeat_a_request_that_is_refused(fault: str) -> None:
    script = ScriptedServer(faults=[fault])
    with script.running():
        found = connected(script)
        with opened(found) as session:
            request = asking(session, found, TEXT)
            with pytest.raises(MistralCliError) as raised:
                answer(session, request)
            assert isinstance(raised.value, ContextExceeded) == (fault == "context")
            assert len(script.answered()) == 1
            assert answer(session, request) == TEXT  # the server is still used


@pytest.mark.parametrize("fault", SLOW)
def test_keeps_to_a_deadline(fault: str) -> None:
    script = ScriptedServer(faults=[fault])
    with script.running():
        found = connected(script, timeouts=Timeouts(connect=2, first=30, idle=30))
        with opened(found) as session:
            request, began = asking(session, found, TEXT), time.monotonic()
            with pytest.raises(TimedOut):
                answer(session, request, timeout=0.2)
            assert time.monotonic() - began < 3


@pytest.mark.parametrize("fault", ["cut", "silence"])
def test_does_not_repeat_an_answer_of_which_a_part_was_shown(fault: str) -> None:
    script = ScriptedServer(faults=[fault])
    with script.running():
        found = connected(script)
        with opened(found) as session:
            with pytest.raises(AnswerInterrupted):
                answer(session, asking(session, found, TEXT, stream=True))
            assert len(script.answered()) == 1


@pytest.mark.parametrize("seed", range(200))
def test_answers_whatever_goes_wrong_in_between(seed: int) -> None:
    chance = random.Random(seed)
    faults = [*HARMFUL, *HARMLESS, ""]
    servers = [
        ScriptedServer(
            chance.choice(KINDS[:2]) if seed % 2 else "openai",
            faults=chance.choices(faults, k=chance.randrange(4)),
        )
        for _ in range(2)
    ]
    if seed % 2:
        servers[1].kind = servers[0].kind
    with servers[0].running(), servers[1].running():
        found = connected(*servers, timeouts=QUICK, patience=20)
        with opened(found) as session:
            assert answer(session, asking(session, found, f"a {seed} c")) == f"a {seed} c"


def test_a_server_that_is_gone_from_the_start() -> None:
    script = ScriptedServer()
    with script.running():
        pass
    with pytest.raises(EngineFailed, match="cannot be reached"):
        connected(script)


def test_all_servers_gone() -> None:
    scripts = ScriptedServer(), ScriptedServer()
    with scripts[0].running(), scripts[1].running():
        found = connected(*scripts, patience=0.3)
        session = opened(found)
        request = asking(session, found, TEXT)
    with session, pytest.raises(ServersGone, match=r"every server has failed: .*reached"):
        answer(session, request)


def test_each_server_is_named_that_is_of_no_use() -> None:
    refusing, moved = ScriptedServer(faults=["401"] * 9), ScriptedServer(faults=["redirect"] * 9)
    with refusing.running(), moved.running():
        found = connected(refusing, moved)
        with opened(found) as session, pytest.raises(ServersGone) as gone:
            answer(session, asking(session, found, TEXT))
    assert all(str(each.port) in gone.value.message for each in (refusing, moved))


def test_the_user_is_told_once_of_requests_that_fail_together() -> None:
    good, bad = ScriptedServer(), ScriptedServer(faults=["401"] * 9, delay=0.1)
    terminal = quiet_terminal()
    with good.running(), bad.running():
        found = connected(good, bad, terminal=terminal)
        with opened(found) as session:
            request = asking(session, found, TEXT)
            with ThreadPoolExecutor(8) as threads:
                assert set(threads.map(lambda _: answer(session, request), range(16))) == {TEXT}
    assert terminal.stderr.getvalue().count("not asked any more") == 1


@pytest.mark.parametrize("fault", ["401", "cut"])
def test_the_user_is_told_of_a_server_that_fails_while_another_works(fault: str) -> None:
    good, bad = ScriptedServer(), ScriptedServer(faults=[fault] * 1000)
    terminal = quiet_terminal()
    with good.running(), bad.running():
        found = connected(good, bad, patience=20, terminal=terminal)
        with opened(found) as session:
            deadline = time.monotonic() + 30
            while "a server is" not in terminal.stderr.getvalue():
                assert answer(session, asking(session, found, TEXT)) == TEXT
                assert time.monotonic() < deadline
            for _ in range(5):
                assert answer(session, asking(session, found, TEXT)) == TEXT
    assert terminal.stderr.getvalue().count(f"127.0.0.1:{bad.port}: ") <= 2
    assert terminal.stderr.getvalue().count("a server is") == 1


def test_a_server_that_comes_back() -> None:
    script, running = ScriptedServer(), contextlib.ExitStack()
    with script.running():
        found = connected(script, patience=20)
        session = opened(found)
        request = asking(session, found, TEXT)
    timer = threading.Timer(0.3, running.enter_context, [script.running()])
    with session, contextlib.closing(running):
        timer.start()
        assert answer(session, request) == TEXT


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"facts": {"n_vocab": 999}}, "another model: n_vocab is 356 and 999"),
        ({"models": ("other",)}, "does not have the model"),
        ({"context": 512}, "its context has 512 tokens"),
    ],
)
def test_a_server_that_comes_back_with_another_model(
    changed: dict[str, Any], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """llama-server ignores the name of the model in a request."""
    monkeypatch.setattr("mistral_cli.engines.servers.balance._RESTART_SECONDS", 0.0)
    script = ScriptedServer("llama-server")
    with script.running():
        found = connected(script, patience=20)
        session = opened(found)
        request = asking(session, found, TEXT)
        assert answer(session, request) == TEXT
    with session:
        for name, value in changed.items():
            setattr(script, name, value)
        with script.running(), pytest.raises(ServersGone, match=problem):
            answer(session, request)
    assert len(script.answered("/v1/completions")) == 1


ODD = (
    None,
    5,
    [],
    {},
    "text",
    [1],
    {"data": 3},
    {"data": [5]},
    {"data": [{"id": 7}]},
    b"<html>",
    b"",
)
ROUTES = {
    "llama-server": ("/v1/models", "/props", "/tokenize"),
    "vllm": ("/v1/models", "/version", "/tokenize", "/detokenize"),
    "ollama": ("/v1/models", "/api/show", "/api/tags"),
    "lm-studio": ("/v1/models", "/api/v0/models"),
    "sglang": ("/v1/models",),
}


@pytest.mark.parametrize(
    ("kind", "route"), [(kind, route) for kind, routes in ROUTES.items() for route in routes]
)
@pytest.mark.parametrize("odd", [*ODD, {"tokens": ["x"]}, {"tokens": {"a": 1}}, {"models": [None]}])
def test_odd_replies_about_a_model(kind: str, route: str, odd: object) -> None:
    script = ScriptedServer(kind, instead={route: odd})
    with script.running(), contextlib.suppress(MistralCliError):  # some replies are not needed
        found = connected(script)
        with opened(found) as session:
            answer(session, asking(session, found, TEXT))


@pytest.mark.parametrize("odd", [{"processed": "x", "total": None}, {"cache": [1]}, {}])
def test_odd_progress(odd: object) -> None:
    from mistral_cli.engines.servers.exchange import answer_events

    script = ScriptedServer("llama-server")
    with script.running():
        found = connected(script)
        with opened(found) as session:
            chunks = [{"prompt_progress": odd}, {"choices": [], "done": True}]
            request = asking(session, found, TEXT)
            assert len(list(answer_events(chunks, request, found.servers[0]))) == 2
