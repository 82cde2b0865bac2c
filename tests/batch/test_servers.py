"""Batches on servers that are killed, overloaded or gone for good."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.program import Result
from support.scripted_server import ScriptedServer
from support.server_kills import KillTest
from support.servers import GREEDY, answer, asking, connected, opened, quiet_terminal

from mistral_cli.engines.servers.balance import Patience, Server, ServerPool
from mistral_cli.engines.servers.client import ServerClient
from mistral_cli.engines.servers.facts import ServedFacts
from mistral_cli.engines.servers.kinds import OPENAI
from mistral_cli.engines.servers.trouble import ServerTrouble

Run = Callable[..., Result]


def write_rows(folder: Path, count: int) -> Path:
    path = folder / "rows.jsonl"
    rows = (json.dumps({"id": str(n), "text": f"row {n}"}) for n in range(count))
    path.write_text("".join(f"{row}\n" for row in rows))
    return path


def texts(path: Path) -> dict[str, str]:
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert len({each["id"] for each in records}) == len(records)
    return {each["id"]: each["text"] for each in records}


@pytest.mark.alone
def test_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    test = KillTest(tmp_path, rows=60)
    for number, kind in enumerate(("llama-server", "openai")):
        test.kind = kind
        test.round(number, server_kills=4, batch_kills=2)
    assert test.server_kills + test.batch_kills > 4


def test_rows_go_to_the_servers_that_work(run: Run, tmp_path: Path) -> None:
    rows, out = write_rows(tmp_path, 40), tmp_path / "out.jsonl"
    fast, slow = ScriptedServer("vllm", delay=0.01), ScriptedServer("vllm", delay=0.3)
    broken = ScriptedServer("vllm", faults=["500"] * 1000)
    with ExitStack() as running:
        for each in (fast, slow, broken):
            running.enter_context(each.running())
        urls = [part for each in (fast, slow, broken) for part in ("--server", each.url)]
        result = run("batch", "generate", rows, "-o", out, "--parallel", "4", *urls)
    assert result.status == 0, result.stderr
    assert texts(out) == {str(n): f"row {n}" for n in range(40)}
    assert len(fast.answered()) > 2 * len(slow.answered())
    assert len(fast.answered()) + len(slow.answered()) == 40  # a row is done once


def test_an_overloaded_server_gets_fewer_requests(run: Run, tmp_path: Path) -> None:
    rows, out = write_rows(tmp_path, 60), tmp_path / "out.jsonl"
    with ScriptedServer("vllm", delay=0.02, refuses_above=3).running() as server:
        result = run("batch", "generate", rows, "-o", out, "--server", server.url)
    assert result.status == 0, result.stderr
    assert len(texts(out)) == 60
    assert len(server.answered()) < 120


def test_a_batch_whose_servers_are_all_gone_can_go_on_later(tmp_path: Path, run: Run) -> None:
    rows, out = write_rows(tmp_path, 10), tmp_path / "out.jsonl"
    call = ("batch", "generate", rows, "-o", out, "--parallel", "1", "--temperature", "0")
    # A key that is refused from now on: this server is of no use any more.
    script = ScriptedServer("openai", faults=[*[""] * 6, "401"])
    with script.running():
        result = run(*call, "--server", script.url)
        assert result.status == 9, result.stderr
        assert "the server has failed" in result.stderr
        assert len(texts(out)) == 6
        before = len(script.answered())
        again = run(*call, "--server", script.url)
    assert again.status == 0, again.stderr
    assert texts(out) == {str(n): f"row {n}" for n in range(10)}
    assert len(script.answered()) == before + 4


def test_an_interrupted_answer_is_asked_for_again(tmp_path: Path, run: Run) -> None:
    rows, out = write_rows(tmp_path, 6), tmp_path / "out.jsonl"
    script = ScriptedServer("vllm", faults=["cut", "", "silence", "cut"], slots=1)
    with script.running():
        result = run("batch", "generate", rows, "-o", out, "--stop", "xyz", "--server", script.url)
    assert result.status == 0, result.stderr
    assert texts(out) == {str(n): f"row {n}" for n in range(6)}


def test_a_row_that_no_server_can_answer_fails_alone(tmp_path: Path, run: Run) -> None:
    rows, out = write_rows(tmp_path, 5), tmp_path / "out.jsonl"

    def pieces(prompt: str) -> list[str]:
        if "row 3" in prompt:
            raise OSError  # the connection ends
        return ["fine"]

    with ScriptedServer("openai", pieces=pieces).running() as server:
        result = run("batch", "generate", rows, "-o", out, "--server", server.url)
    assert result.status == 10, result.stderr
    assert texts(out) == {"0": "fine", "1": "fine", "2": "fine", "3": None, "4": "fine"}


def test_a_time_limit_for_each_row(tmp_path: Path, run: Run) -> None:
    rows, out = write_rows(tmp_path, 3), tmp_path / "out.jsonl"
    with ScriptedServer("openai", faults=["silence"]).running() as server:
        result = run(
            *("batch", "generate", rows, "-o", out, "--timeout", "0.5", "--parallel", "1"),
            *("--server", server.url),
        )
    assert result.status == 10
    assert sum(text is None for text in texts(out).values()) == 1


def test_a_time_limit_for_each_row_of_labels(tmp_path: Path, run: Run) -> None:
    rows, out = write_rows(tmp_path, 2), tmp_path / "out.jsonl"
    with ScriptedServer("vllm", delay=3).running() as server:
        result = run(
            *("batch", "classify", rows, "--labels", "good,bad", "-o", out, "--timeout", "0.5"),
            *("--server", server.url),
        )
    assert result.status == 10, result.stderr
    records = [json.loads(line) for line in out.read_text().splitlines()]
    messages = [each["error"]["message"] for each in records]
    assert messages == ["no complete answer within 0.5 s"] * 2


@pytest.mark.parametrize("kind", ["llama-server", "vllm"])
def test_a_plan_asks_for_no_tokens(kind: str, tmp_path: Path, run: Run) -> None:
    long, out = "a word " * 400, tmp_path / "out.jsonl"
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f'{{"id": "{n}", "text": "{long}{n}"}}\n' for n in range(40)))
    with ScriptedServer(kind, context=10_000).running() as server:
        result = run("batch", "generate", rows, "-o", out, "--server", server.url)
    assert result.status == 0, result.stderr
    assert len(texts(out)) == 40
    assert len(server.answered("/tokenize")) < 40 + 24  # one with each row, and some for the model


def pool_of(count: int, slots: int | None = None) -> ServerPool:
    servers = [
        Server(ServerClient(f"http://127.0.0.1:{port}"), OPENAI, ServedFacts("m", slots=slots))
        for port in range(1, count + 1)
    ]
    return ServerPool(servers, Patience(0.2, 0.01, 0.02))


def test_the_server_with_the_fewest_requests_gets_the_next() -> None:
    pool = pool_of(3)
    leases = [pool.take() for _ in range(9)]
    assert [each.outstanding for each in pool.servers] == [3, 3, 3]
    busy = leases[0].server
    for lease in leases:
        if lease.server is not busy:
            lease.ended()
    assert all(pool.take().server is not busy for _ in range(6))


def test_a_limit_rises_by_one_a_round_and_halves() -> None:
    pool = pool_of(1)
    (server,) = pool.servers
    first = server.limit
    for _ in range(4):
        leases = [pool.take() for _ in range(int(server.limit))]
        for lease in leases:
            lease.ended()
    assert first < server.limit <= first + 4
    lease, trouble = pool.take(), ServerTrouble("full", hint="wait")
    trouble.overloaded, before = True, server.limit
    lease.failed(trouble)
    assert server.limit == before / 2


def test_slots_limit_the_requests() -> None:
    pool = pool_of(1, slots=2)
    leases = [pool.take(), pool.take()]
    assert not pool.servers[0].accepts(1e9)
    for lease in leases:
        lease.ended()
    assert pool.servers[0].limit == 2


def test_concurrent_answers_are_not_mixed_up() -> None:
    script = ScriptedServer("vllm", delay=0.005)
    answers = dict[int, str]()
    with script.running():
        found = connected(script)
        with opened(found) as session:

            def work(number: int) -> None:
                request = asking(session, found, f"number {number}", sampling=GREEDY)
                answers[number] = answer(session, request)

            threads = [threading.Thread(target=work, args=(n,)) for n in range(32)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert answers == {n: f"number {n}" for n in range(32)}
    assert script.most_outstanding > 4


def test_a_server_that_starts_late_helps() -> None:
    first, late = ScriptedServer("vllm", delay=0.02), ScriptedServer("vllm")
    with late.running():
        pass
    with first.running():
        found = connected(first, late)
        with opened(found) as session, late.running():
            request, deadline = asking(session, found, "x"), time.monotonic() + 30
            while not late.answered() and time.monotonic() < deadline:
                assert answer(session, request) == "x"
    assert late.answered()


def test_a_late_server_with_another_model_does_not() -> None:
    first, late = ScriptedServer("vllm"), ScriptedServer("vllm", models=["other"])
    terminal = quiet_terminal()
    with late.running():
        pass
    with first.running():
        found = connected(first, late, terminal=terminal)
        with opened(found), late.running():
            deadline = time.monotonic() + 30
            while "another model" not in terminal.stderr.getvalue():
                assert time.monotonic() < deadline
                time.sleep(0.01)
    assert len(found.backend.pool.servers) == 1


def test_a_server_that_is_loading_its_model_is_waited_for() -> None:
    script = ScriptedServer("llama-server", loading=3)
    with script.running():
        assert connected(script, patience=20).model.name == "a-model"


def test_settings_that_a_server_does_not_have(run: Run) -> None:
    with ScriptedServer("openai").running() as server:
        result = run("generate", "hi", "--top-k", "5", "--server", server.url, "-v")
    assert "does not have these settings: top_k" in result.stderr
    assert "does not get these settings: repetition_penalty" in result.stderr
