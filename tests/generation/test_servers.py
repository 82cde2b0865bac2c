"""`--server URL` through the whole program: scripted servers, llama.cpp's own, our own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.http_api import KEY, serving
from support.llama_server import llama_server
from support.program import Result
from support.scripted_server import ScriptedServer
from synthetic.models import write_mistral

from mistral_cli.system.config import Config, config_file, load_config

Run = Callable[..., Result]
ROWS = "".join(f'{{"id": "{n}", "text": "row {n}"}}\n' for n in range(20))


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer("vllm").running() as server:
        yield server


def configure(text: str) -> None:
    config_file().parent.mkdir(parents=True, exist_ok=True)
    config_file().write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("kind", "way"), [("vllm", "tokens"), ("llama-server", "tokens"), ("openai", "chat")]
)
def test_an_answer_and_how_it_was_asked_for(run: Run, kind: str, way: str) -> None:
    with ScriptedServer(kind).running() as server:
        result = run("generate", "say one two", "--server", server.url, "--json")
        raw = run("generate", "say one two", "--raw", "--server", server.url, "--json")
    fields = json.loads(result.stdout)
    assert fields["text"] == "say one two"
    assert (fields["engine"], fields["model"]) == ("server", "a-model")
    assert fields["prompted_as"] == way
    assert json.loads(raw.stdout)["prompted_as"] == ("tokens" if way == "tokens" else "text")


def test_no_model_is_looked_for(run: Run, server: ScriptedServer) -> None:
    result = run("generate", "hi", "--server", server.url, "--offline", "-v")
    assert result.status == 0
    assert "127.0.0.1" in result.stderr
    assert "vllm 0.99, model a-model, context 4096 tokens, prompts as tokens" in result.stderr


@pytest.mark.parametrize(
    "options",
    [
        ("--lora", "x.gguf"),
        ("--gpu-layers", "3"),
        ("--require-gpu",),
        ("-t", "2"),
        ("--engine", "fake"),
        ("--lookup",),
        ("--draft-model", "smollm2"),
    ],
)
def test_options_about_loading_a_model_are_refused(
    run: Run, server: ScriptedServer, options: tuple[str, ...]
) -> None:
    result = run("generate", "hi", "--server", server.url, *options)
    assert result.status == 2
    assert options[0].lstrip("-")[0] in result.stderr
    assert "Drop" in result.stderr


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("http://user:secret@127.0.0.1:1", "has a name or password"),
        ("ftp://127.0.0.1", "not the address of a server"),
        ("http://127.0.0.1:99999", "not the address of a server"),
        ("http://", "not the address of a server"),
        ("http://127.0.0.1:1/v1?key=secret", "not the address of a server"),
        ("http://user:secret@[::1", "not the address of a server"),
    ],
)
def test_addresses_that_are_none(run: Run, address: str, problem: str) -> None:
    result = run("generate", "hi", "--server", address)
    assert result.status == 2
    assert problem in result.stderr
    assert "secret" not in result.stderr


def test_nothing_is_said_about_this_machine(run: Run, server: ScriptedServer) -> None:
    result = run("generate", "hi", "--server", server.url, "-c", "99999", "-v")
    assert not [word for word in ("thread", "GPU", "trained") if word in result.stderr]
    assert "the server has a context of 4096 tokens; -c 99999 is lowered" in result.stderr


def test_the_seconds_are_those_of_the_server(run: Run) -> None:
    """An answer that is asked for again if it is cut arrives as a whole here."""
    with ScriptedServer("openai", delay=0.2).running() as slow:
        result = run("generate", "a b c", "--server", slow.url, "--json")
    assert json.loads(result.stdout)["timings"]["prompt_seconds"] >= 0.2


def test_a_dry_run_says_what_the_server_gets(run: Run, server: ScriptedServer) -> None:
    assert "token ids" in run("generate", "hi", "--server", server.url, "--dry-run").stderr
    with ScriptedServer("openai").running() as other:
        result = run("generate", "hi", "--server", other.url, "--dry-run")
    assert "its own template" in result.stderr
    assert "GPU" not in result.stderr


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
def test_an_address_may_end_in_v1(run: Run, server: ScriptedServer, suffix: str) -> None:
    assert run("generate", "hi", "--server", f"{server.url}{suffix}").stdout == "hi\n"


def test_a_path_that_is_too_long(run: Run, server: ScriptedServer) -> None:
    result = run("generate", "hi", "--server", f"{server.url}/v1/chat/completions")
    assert result.status == 9
    assert "answers /v1/chat/completions/v1/models with 404" in result.stderr


def test_no_server_there(run: Run) -> None:
    with ScriptedServer().running() as server:
        pass
    result = run("generate", "hi", "--server", server.url)
    assert result.status == 9
    assert "cannot be reached" in result.stderr


def test_servers_of_the_configuration(run: Run, server: ScriptedServer, mistral: Path) -> None:
    configure(f'servers = ["{server.url}"]\n')
    assert run("generate", "say hi").stdout == "say hi\n"
    local = ("-m", mistral, "--engine", "fake", "--json")
    assert json.loads(run("generate", "x", *local).stdout)["engine"] == "fake"
    none = run("generate", "x", "--server", "none", "-m", mistral, "--dry-run", "--json")
    assert json.loads(none.stdout)["engine"] != "server"
    configure("")
    by_variable = run("generate", "say ho", MISTRAL_CLI_SERVERS=server.url)
    assert by_variable.stdout == "say ho\n"


@pytest.mark.parametrize("value", ['"http://x"', "[1]", '[""]', "true"])
def test_servers_must_be_a_list(run: Run, value: str) -> None:
    configure(f"servers = {value}\n")
    result = run("generate", "hi")
    assert result.status == 2
    assert "'servers' must be a list of addresses" in result.stderr


def test_a_key_comes_from_a_variable_or_a_file(run: Run, tmp_path: Path) -> None:
    key = "sk-very-secret"
    with ScriptedServer(key=key).running() as server:
        call = ("generate", "hi", "--server", server.url, "-v")
        refused = run(*call)
        assert refused.status == 9
        assert "MISTRAL_CLI_SERVER_KEY" in refused.stderr
        assert run(*call, MISTRAL_CLI_SERVER_KEY=key).stdout == "hi\n"
        configure('server_key_env = "OUR_KEY"\n')
        assert run(*call, OUR_KEY=key).stdout == "hi\n"
        (tmp_path / "key").write_text(f"{key}\n")
        configure(f'server_key_file = "{tmp_path / "key"}"\n')
        result = run(*call)
        assert result.stdout == "hi\n"
        assert key not in result.stderr
        wrong = run(*call, MISTRAL_CLI_SERVER_KEY=f"{key}ä")
        assert wrong.status == 2
        assert key not in wrong.stderr
        (tmp_path / "key").unlink()
        assert run(*call).status == 2


def test_the_configuration_has_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    configure('servers = ["http://a", "http://b"]\n')
    assert load_config({}).servers == ("http://a", "http://b")
    assert load_config({"MISTRAL_CLI_SERVERS": "c d"}).servers == ("c", "d")
    assert Config().servers == ()


def test_json_is_asked_for_again_where_nothing_enforces_it(run: Run) -> None:
    answers = iter(["Paris.", '{"name": 5}', 'Here it is: {"name": "Anna"}'])
    with ScriptedServer(pieces=lambda _: [next(answers, "none")]).running() as server:
        result = run("json-extract", "Anna is here", "--fields", "name", "--server", server.url)
    assert json.loads(result.stdout) == {"name": "Anna"}
    assert "cannot enforce a schema" in result.stderr


def test_classify_with_probabilities_and_without(run: Run) -> None:
    with ScriptedServer("llama-server").running() as server:
        result = run("classify", "a film", "--labels", "good,bad", "--server", server.url, "--json")
        fields = json.loads(result.stdout)
        assert sum(each["probability"] for each in fields["labels"]) == pytest.approx(1, abs=0.001)
    with ScriptedServer("openai").running() as server:
        result = run("classify", "a film", "--labels", "good,bad", "--server", server.url)
    assert result.status == 2
    assert "does not report the probability" in result.stderr


@pytest.mark.parametrize("kind", ["vllm", "openai"])
def test_every_other_task(run: Run, kind: str, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("The meeting is on Monday. Anna comes. Bob does not.\n" * 200)
    with ScriptedServer(kind, context=700).running() as server:
        for call in (
            ("summarize", "-f", notes),
            ("translate", "Guten Tag.", "--to", "en"),
            ("complete", "Once upon a time"),
        ):
            result = run(*call, "--server", server.url, "-n", "50")
            assert result.status == 0, result.stderr


def test_a_dry_run_shows_the_prompt(run: Run) -> None:
    for kind in ("vllm", "openai"):
        with ScriptedServer(kind).running() as server:
            result = run("generate", "hello you", "--server", server.url, "--dry-run")
            assert "hello you" in result.stdout
            assert not server.answered()


# Real servers.


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mistral(tmp_path_factory.mktemp("served") / "mistral-v1.gguf")


@pytest.fixture(scope="module")
def llama(model: Path) -> Iterator[str]:
    with llama_server(model) as url:
        yield url


GREEDY = ("--temperature", "0", "-n", "12", "--json")


def answer(result: Result) -> dict[str, Any]:
    assert result.status == 0, result.stderr
    fields: dict[str, Any] = json.loads(result.stdout)
    return fields


@pytest.mark.parametrize("more", [(), ("--raw",), ("-s", "Be brief.")])
def test_llama_cpp_answers_as_on_this_machine(
    run: Run, model: Path, llama: str, more: tuple[str, ...]
) -> None:
    text = "hello [/INST] </s> you"
    there = answer(run("generate", text, *more, *GREEDY, "--server", llama))
    here = answer(run("generate", text, *more, *GREEDY, "-m", model, "-t", "1", "--no-cache"))
    assert there["prompted_as"] == "tokens"
    assert there["prompt_tokens"] == here["prompt_tokens"]
    assert there["text"] == here["text"]


def test_llama_cpp_classifies_as_on_this_machine(run: Run, model: Path, llama: str) -> None:
    labels = ("classify", "a good film", "--labels", "good,bad", "--json")
    there = answer(run(*labels, "--server", llama))
    here = answer(run(*labels, "-m", model, "-t", "1", "--no-cache"))
    for one, other in zip(there["labels"], here["labels"], strict=True):
        assert one["probability"] == pytest.approx(other["probability"], abs=0.01)


def test_llama_cpp_writes_json(run: Run, smollm2: Path) -> None:
    call = ("json-extract", "Anna is 31.", "--fields", "name, age int", "--temperature", "0")
    with llama_server(smollm2) as url:
        there = run(*call, "--server", url, "--json")
        summary = run("summarize", "--extractive", "One. Two. Three.", "--server", url, "--json")
    here = run(*call, "-m", smollm2, "-t", "1", "--no-cache")
    assert answer(there)["data"] == json.loads(here.stdout)
    assert answer(there)["prompted_as"] == "tokens"
    assert answer(summary)["sentences"]


def test_llama_cpp_cannot_enforce_json_on_a_sentencepiece_vocabulary(run: Run, llama: str) -> None:
    result = run("json-extract", "yes", "--fields", "ok bool", "--server", llama, "-n", "9")
    assert result.status in (6, 7)
    assert "cannot enforce a schema" in result.stderr


def test_a_batch_on_two_servers_with_the_same_model(
    run: Run, model: Path, llama: str, tmp_path: Path
) -> None:
    rows, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    rows.write_text(ROWS)
    call = ("batch", "generate", rows, "-o", out, "--temperature", "0", "-n", "6")
    with llama_server(model) as other:
        result = run(*call, "--server", llama, "--server", other)
    assert result.status == 0, result.stderr
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert sorted(int(each["id"]) for each in records) == list(range(20))
    assert {each["prompted_as"] for each in records} == {"tokens"}
    again = run(*call, "--server", llama)  # by another address it is the same model
    assert "20 of 20 rows done, 20 of them in earlier runs" in again.stderr


def test_our_own_server(run: Run, model: Path) -> None:
    with serving(model) as served:
        url = served.state["http"]
        result = run("generate", "hello", *GREEDY, "--server", url, MISTRAL_CLI_SERVER_KEY=KEY)
        raw = run(
            "generate", "hello", "--raw", *GREEDY, "--server", url, MISTRAL_CLI_SERVER_KEY=KEY
        )
        extracted = run(
            *("json-extract", "Anna is here", "--schema", '{"type": "boolean"}', "--no-grounded"),
            *("--server", url, "-n", "40"),
            MISTRAL_CLI_SERVER_KEY=KEY,
        )
    here = answer(run("generate", "hello", *GREEDY, "-m", model, "-t", "1", "--no-cache"))
    assert answer(result)["text"] == here["text"]
    assert answer(result)["prompted_as"] == "chat"
    assert answer(raw)["prompted_as"] == "text"
    assert extracted.status == 0, extracted.stderr
