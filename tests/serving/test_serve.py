"""A model that stays loaded: other calls find and use it, and it never blocks them."""

from __future__ import annotations

import http.client
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.program import Run, needs_native
from support.split_models import split_model

from mistral_cli.serving import registry

ENDLESS = ("-n", "3000", "--temperature", "0", "--repetition-penalty", "1")

Serve = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture(autouse=True)
def runtime(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A runtime folder for this test, with a short name."""
    folder = tmp_path_factory.mktemp("r")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
    return folder


@pytest.fixture(params=["llama.cpp", pytest.param("native", marks=needs_native)])
def engine(request: pytest.FixtureRequest) -> str:
    """Each engine that can be served; `auto` selects it."""
    if request.param == "native":
        request.getfixturevalue("native")
    return str(request.param)


@pytest.fixture
def serve(run: Run) -> Iterator[Serve]:
    """Start `serve` with arguments and wait until it is ready."""
    started: list[subprocess.Popen[bytes]] = []

    def serve(*arguments: object) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "mistral_cli", "serve", *map(str, arguments)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        started.append(process)
        deadline = time.monotonic() + 60
        while process.pid not in [each["pid"] for each in status(run)]:
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < deadline
        return process

    yield serve
    for process in started:
        process.kill()
        process.communicate()


def status(run: Run) -> list[dict[str, Any]]:
    served: list[dict[str, Any]] = json.loads(run("serve", "status", "--json").stdout)["served"]
    return served


def ask(run: Run, model: Path, *more: object) -> dict[str, Any]:
    arguments = ("--raw", "-m", model, "-n", 12, "--temperature", 0, "--json", *more)
    result = run("generate", *arguments, stdin="Once upon a time")
    assert result.status == 0, result.stderr
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def test_other_calls_use_it_and_give_the_same_answer(
    run: Run, serve: Serve, stories: Path, engine: str
) -> None:
    cold = ask(run, stories)
    serve("-m", stories)
    warm = ask(run, stories)
    assert (cold["served"], warm["served"]) == (False, True)
    assert warm["text"] == cold["text"] != ""
    assert ask(run, stories, "--no-serve")["served"] is False
    (served,) = status(run)
    assert served["engine"] == warm["engine"] == engine
    assert served["completion_tokens"] >= 12
    assert served["resident"] is None or served["resident"] > 10**6


@pytest.mark.parametrize("more", [("-t", 3), ("-ngl", 1), ("--engine", "ctransformers")])
def test_a_call_with_other_options_loads_the_model_itself(
    run: Run, serve: Serve, stories: Path, more: tuple[object, ...]
) -> None:
    serve("-m", stories, "-t", 1)
    assert ask(run, stories, *more)["served"] is False


def test_a_served_context_that_is_too_short_is_not_used(
    run: Run, serve: Serve, stories: Path
) -> None:
    serve("-m", stories, "-c", 128)
    assert ask(run, stories)["served"] is False  # contexts come in steps of 256
    result = run("generate", "--raw", "-v", "-m", stories, "-n", 8, "Once upon a time")
    assert "is not used: its context has 128 tokens" in result.stderr
    assert result.status == 0


def test_a_served_model_scores_labels(run: Run, serve: Serve, mistral: Path) -> None:
    serve("-m", mistral)
    arguments = ("classify", "--labels", "one, two, one or two", "-m", mistral, "--json", "-q")
    answers = [json.loads(run(*arguments, "-c", 512, "A text.").stdout) for _ in range(2)]
    for answer in answers:
        assert answer["served"] is True
        assert answer["label"] in {"one", "two", "one or two"}
        assert sum(each["probability"] for each in answer["labels"]) == pytest.approx(1, abs=1e-4)
    assert answers[0]["label"] == answers[1]["label"]


def test_json_of_several_clients_at_once(run: Run, serve: Serve, mistral: Path) -> None:
    serve("-m", mistral, "--parallel", 2)

    def extract(_: int) -> tuple[int, str]:
        schema = '{"enum": ["one", "two"]}'
        options = ("--schema", schema, "-m", mistral, "-c", 512, "-n", 40, "--temperature", 0)
        result = run("json-extract", "-q", *options, "A text.")
        return result.status, result.stdout

    with ThreadPoolExecutor(4) as pool:  # more calls than slots: two wait
        results = set(pool.map(extract, range(4)))
    assert len(results) == 1
    assert results.pop() in [(0, '"one"\n'), (0, '"two"\n')]


def test_grounded_and_extractive_summaries(run: Run, serve: Serve, smollm2: Path) -> None:
    serve("-m", smollm2, "--http")  # whose requests share the slots
    text = (
        "The committee met on 17 May 2024 at 14:30. It bought 3 boats for 40,000 EUR (invoice "
        "INV-2024/17). Each of the boats weighs 2,512.5 kg and carries eleven people. Ask "
        "john.doe@acme.com or see https://acme.com/boats for details. In 2023 the committee "
        "spent 1,234,567 EUR."
    )

    def summary(*options: object) -> dict[str, Any]:
        result = run("summarize", "-m", smollm2, "--temperature", 0, "--json", *options, stdin=text)
        assert result.status == 0, result.stderr
        answer: dict[str, Any] = json.loads(result.stdout)
        assert answer["served"]
        return answer

    cut = summary("--grounded", "-n", 11)  # tokens: "The committee met on 17 May 20"
    assert (cut["text"], cut["finish_reason"]) == ("The committee met on 17 May", "length")
    chosen = summary("--extractive", "--sentences", 2)["sentences"]
    assert len(chosen) == 2
    assert all(text[each["start"] : each["end"]] == each["text"] for each in chosen)


@needs_native
@pytest.mark.usefixtures("native")
def test_it_ends_with_the_process_that_holds_the_weights(
    run: Run, serve: Serve, stories: Path, runtime: Path
) -> None:
    process = serve("-m", stories)
    (state,) = runtime.glob("mistral-cli/*/state.json")
    os.kill(json.loads(state.read_text())["engine_pid"], signal.SIGKILL)
    assert process.wait(30) == 9
    assert ask(run, stories)["served"] is False
    assert status(run) == []


def test_a_killed_server_blocks_no_other_call(run: Run, serve: Serve, stories: Path) -> None:
    process = serve("-m", stories)
    process.kill()
    process.wait()
    assert ask(run, stories)["served"] is False
    assert status(run) == []
    serve("-m", stories)  # nor the next server
    assert ask(run, stories)["served"] is True


def test_without_a_runtime_folder_a_private_one_is_created(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    outermost = tmp_path_factory.mktemp("r") / "new"
    monkeypatch.setattr(registry, "runtime_dir", lambda: outermost / "mistral-cli")
    with registry.claim(outermost / "model.gguf") as registration:
        for folder in (outermost, registration.folder.parent, registration.folder):
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_folder_that_others_can_enter_is_not_trusted(
    run: Run, serve: Serve, stories: Path, runtime: Path
) -> None:
    process = serve("-m", stories)
    (runtime / "mistral-cli").chmod(0o755)
    assert ask(run, stories)["served"] is False
    process.kill()
    process.wait()
    result = run("serve", "-m", stories)
    assert result.status == 2
    assert "is open to other users" in result.stderr


def _other_user(folder: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can make a folder of another user")
    folder.mkdir(mode=0o700)
    os.chown(folder, 65534, 65534)


def _file(folder: Path) -> None:
    folder.write_text("")


def _link(folder: Path) -> None:
    (folder.parent / "target").mkdir(mode=0o700)
    folder.symlink_to("target")


def _open_to_all(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)


@pytest.mark.parametrize("where", ["below XDG_RUNTIME_DIR", "below /tmp", "a folder below /tmp"])
@pytest.mark.parametrize("make", [_other_user, _file, _link, _open_to_all])
def test_a_runtime_folder_of_others_stops_only_serve(
    run: Run,
    smollm2: Path,
    runtime: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    make: Callable[[Path], None],
) -> None:
    """Cron sets no XDG_RUNTIME_DIR, and any user can create the folder below /tmp first."""
    folder = runtime / "mistral-cli"
    if where != "below XDG_RUNTIME_DIR":
        if Path(f"/run/user/{os.getuid()}").exists():
            pytest.skip("this system has a runtime folder for each user")
        monkeypatch.delenv("XDG_RUNTIME_DIR")
        monkeypatch.setenv("TMPDIR", str(runtime))
        folder = runtime / f"runtime-{os.getuid()}"
        if where == "a folder below /tmp":
            folder.mkdir(mode=0o700)
            folder /= "mistral-cli"
    make(folder)
    answered = run("generate", "hi", "-m", smollm2, "-n", 2, "--json")
    assert (answered.status, json.loads(answered.stdout)["served"]) == (0, False)
    assert answered.stderr.count("a model that is served cannot be found: ") == 1
    assert str(folder) in answered.stderr
    assert str(folder) in run("serve", "status").stderr
    refused = run("serve", "-m", smollm2)
    assert refused.status == 2
    assert refused.stderr.startswith("mistral-cli: error: cannot serve a model: ")
    assert str(folder) in refused.stderr
    assert "Set XDG_RUNTIME_DIR to a folder of your own" in refused.stderr


@pytest.mark.parametrize("content", ["", "[]", "{", '{"pid": 1}'])
def test_a_broken_description_is_ignored(
    run: Run, serve: Serve, stories: Path, runtime: Path, content: str
) -> None:
    serve("-m", stories)
    (state,) = runtime.glob("mistral-cli/*/state.json")
    state.write_text(content)
    assert ask(run, stories)["served"] is False


def test_a_changed_file_or_another_version_is_not_used(
    run: Run, serve: Serve, stories: Path, runtime: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model.gguf"
    model.write_bytes(stories.read_bytes())
    serve("-m", model)
    os.utime(model, (1, 1))
    assert ask(run, model)["served"] is False
    serve("-m", stories)
    for state in runtime.glob("mistral-cli/*/state.json"):
        state.write_text(state.read_text().replace('"version": "', '"version": "0.'))
    assert ask(run, stories)["served"] is False


def test_a_split_model_is_used_until_any_part_changes(
    run: Run, serve: Serve, mistral: Path, tmp_path: Path
) -> None:
    first, second, _ = split_model(mistral, tmp_path, "m")
    serve("-m", first)
    assert ask(run, second)["served"] is True
    os.utime(second, (1, 1))
    assert ask(run, first)["served"] is False


def test_only_one_process_serves_a_model(run: Run, serve: Serve, stories: Path) -> None:
    process = serve("-m", stories)
    result = run("serve", "-m", stories)
    assert result.status == 2
    assert f"already served by process {process.pid}" in result.stderr


def test_it_ends_when_idle(run: Run, serve: Serve, stories: Path, runtime: Path) -> None:
    process = serve("-m", stories, "--idle-timeout", "2s")
    assert process.wait(60) == 0
    assert status(run) == []
    assert not list(runtime.glob("mistral-cli/*/s.sock"))


def endless(model: Path) -> list[str]:
    """A call whose answer does not end on its own."""
    call = [sys.executable, "-m", "mistral_cli", "generate", "--raw", *ENDLESS, "-m", str(model)]
    return [*call, "la la la " * 40]


@pytest.mark.parametrize("how", ["stop", "SIGTERM", "SIGINT"])
@pytest.mark.usefixtures("engine")
def test_it_stops_on_request_during_an_answer(
    run: Run, serve: Serve, smollm2: Path, runtime: Path, how: str
) -> None:
    process = serve("-m", smollm2, "-c", 4096)
    client = subprocess.Popen(
        endless(smollm2),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert client.stdout
    assert client.stdout.read(8)
    if how == "stop":
        assert run("serve", "stop").status == 0
    else:
        process.send_signal(getattr(signal, how))
    assert process.wait(30) == (130 if how == "SIGINT" else 0)
    _, stderr = client.communicate(timeout=30)
    assert client.returncode == 9
    assert b"the process that served the model has ended" in stderr
    assert not list(runtime.glob("mistral-cli/*/s.sock"))


def test_ctrl_c_of_a_client_leaves_it_usable(run: Run, serve: Serve, smollm2: Path) -> None:
    serve("-m", smollm2, "-c", 4096)
    for _ in range(2):
        client = subprocess.Popen(endless(smollm2), stdout=subprocess.PIPE)
        assert client.stdout
        assert client.stdout.read(8)
        client.send_signal(signal.SIGINT)
        client.communicate(timeout=30)
        assert client.returncode == 130
    assert ask(run, smollm2)["served"] is True


def test_in_the_background(run: Run, stories: Path) -> None:
    result = run("serve", "--detach", "-m", stories)
    assert result.status == 0, result.stderr
    assert "its log is" in result.stderr
    assert ask(run, stories)["served"] is True
    assert run("serve", "--detach", "-m", stories).status == 2
    assert run("serve", "stop").status == 0
    assert status(run) == []
    assert "no model is served" in run("serve", "stop").stderr


@pytest.mark.usefixtures("engine")
def test_openais_api_requires_the_key(run: Run, serve: Serve, smollm2: Path) -> None:
    serve("-m", smollm2, "-c", 1024, "--http")
    (served,) = status(run)
    host = served["http"].removeprefix("http://").removesuffix("/v1")
    assert host.startswith("127.0.0.1:")

    def post(key: str, **headers: str) -> tuple[int, Any, dict[str, str]]:
        connection = http.client.HTTPConnection(host, timeout=60)
        body = {
            "model": served["model"],
            "messages": [{"role": "user", "content": "Say only: yes"}],
            "max_tokens": 20,
            "temperature": 0,
        }
        headers = {"Authorization": f"Bearer {key}", **headers}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read()), dict(reply.headers)

    assert post("wrong")[0] == 401
    state, answer, headers = post(served["api_key"], Origin="http://evil.example")
    assert state == 200
    assert answer["choices"][0]["finish_reason"] == "stop"  # with the model's own chat template
    assert "evil" not in headers.get("Access-Control-Allow-Origin", "")
