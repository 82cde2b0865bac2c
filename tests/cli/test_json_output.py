"""Every JSON object that the program prints: its keys, their order and their types.

The JSON Schema files in docs/reference/schemas are the snapshot. A key that is added, renamed or
removed changes one of them, and a renamed or removed one raises SCHEMA_VERSION too.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from support.adapter_files import write_adapter
from support.json_schemas import SCHEMAS, check_schema
from support.model_store import REPO, Store
from support.program import Run

from mistral_cli.errors import EngineFailed
from mistral_cli.serving import daemon
from mistral_cli.serving.registry import ServedModel
from mistral_cli.system.stdout import SCHEMA_VERSION

REFERENCE = f"{REPO}/tiny.Q4_0.gguf"


def check(name: str, value: dict[str, Any]) -> None:
    """Check the output `value` against the schema `name`, the order of its keys included."""
    check_schema(name, value)
    check_order(json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8")), value)
    assert value["schema_version"] == SCHEMA_VERSION


def check_order(schema: dict[str, Any], value: Any) -> None:
    """Check that the keys of `value`, and of the objects in it, are in the order of `schema`."""
    if isinstance(value, list):
        for each in value:
            check_order(schema.get("items", {}), each)
    elif isinstance(value, dict) and (properties := schema.get("properties")):
        assert list(value) == [key for key in properties if key in value]
        for key, each in value.items():
            check_order(properties[key], each)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("answer", ["generate", "Hello"]),
        ("answer", ["generate", "--raw", "-n", "1", "Hello"]),
        ("answer", ["summarize", "A text."]),
        ("answer", ["translate", "A text."]),
        ("answer", ["json-extract", "--schema", "{}", "A text."]),
        ("answer", ["json-extract", "--fields", "name", "A text."]),
        ("answer", ["classify", "--labels", "a, b", "A text."]),
        ("answer", ["classify", "--labels", "a, b", "--multi", "--explain", "A text."]),
        ("dry-run", ["generate", "--dry-run", "Hello"]),
        ("dry-run", ["json-extract", "--dry-run", "--fields", "name", "--many", "A text."]),
        ("batch-dry-run", ["batch", "generate", "--dry-run"]),
    ],
)
def test_tasks(run: Run, mistral: Path, tmp_path: Path, name: str, arguments: list[str]) -> None:
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"pieces": ['{"name": ', "null}"]}), encoding="utf-8")
    as_json = () if name == "batch-dry-run" else ("--json",)
    engine = ("-m", mistral, "--engine", "fake", *as_json)
    result = run(*arguments, *engine, stdin="A text.", MISTRAL_CLI_FAKE=str(script))
    assert result.status == 0, result.stderr
    check(name, json.loads(result.stdout))


def test_models(store: Store) -> None:
    check("models-pull-dry-run", store.ask("pull", "--dry-run", REFERENCE))
    check("models-show", store.ask("show", REFERENCE))
    check("models-pull", store.ask("pull", REFERENCE))
    check("models-show", store.ask("show", REFERENCE, "-ngl", "auto"))
    check("models-list", store.ask("list"))
    check("models-path", store.ask("path", REFERENCE))
    check("models-verify", store.ask("verify", REFERENCE))
    check("models-alias", store.ask("alias", "tiny", REFERENCE))
    check("models-rm", store.ask("rm", "--yes", REFERENCE))


def test_models_that_fail(store: Store) -> None:
    for name, arguments in (
        ("models-pull", ["pull"]),
        ("models-pull-dry-run", ["pull", "--dry-run"]),
        ("models-verify", ["verify"]),
    ):
        result = store.models(*arguments, f"{REPO}/none.gguf", "--json")
        assert result.status
        check(name, json.loads(result.stdout))


def test_an_adapter(run: Run, mistral: Path, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter.gguf", mistral)
    check("models-show-adapter", json.loads(run("models", "show", adapter, "--json").stdout))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("models-recommend", ["models", "recommend"]),
        ("prompts-list", ["prompts", "list"]),
        ("cache-list", ["cache", "list"]),
        ("cache-clear", ["cache", "clear"]),
        ("serve-status", ["serve", "status"]),
    ],
)
def test_commands_without_a_model(
    run: Run, tmp_path: Path, name: str, arguments: list[str]
) -> None:
    folders = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "XDG_RUNTIME_DIR": str(tmp_path)}
    check(name, json.loads(run(*arguments, "--json", **folders).stdout))


def test_a_cached_prefix(run: Run, mistral: Path, tmp_path: Path) -> None:
    env = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "MISTRAL_CLI_PROMPT_CACHE": "1 GB"}
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"delay": 0.3}), encoding="utf-8")
    call = ("generate", "-m", mistral, "--engine", "fake", "word " * 50)
    assert run(*call, MISTRAL_CLI_FAKE=str(script), **env).status == 0
    entries = json.loads(run("cache", "list", "--json", **env).stdout)
    check("cache-list", entries)


def test_doctor(run: Run, mistral: Path) -> None:
    check("doctor", json.loads(run("doctor", "-m", mistral, "--json").stdout))
    check("doctor", json.loads(run("doctor", "-m", "mistral", "--json").stdout))


def test_bench(run: Run, mistral: Path) -> None:
    result = run("bench", "-m", mistral, "-p", 8, "-n", 4, "-r", 1, "--json")
    assert result.status == 0, result.stderr
    check("bench", json.loads(result.stdout))


@pytest.mark.parametrize("busy", [False, True])
def test_a_served_model(monkeypatch: pytest.MonkeyPatch, busy: bool) -> None:
    def metrics(_: object) -> dict[str, float]:
        if busy:
            raise EngineFailed("no reply", hint="Wait.")
        return {"requests_processing": 0.0, "prompt_tokens_total": 12.0}

    monkeypatch.setattr(daemon.LlamaServerClient, "metrics", metrics)
    served = ServedModel(
        pid=1,
        started=time.time(),
        model="tiny",
        path="/models/tiny.gguf",
        file=(1, 2, 3),
        engine="llama.cpp",
        engine_pid=1,
        context_length=512,
        slots=1,
        gpu_layers=0,
        threads=2,
        knows_grammars=True,
        idle_seconds=1800.0,
        api_key="secret",
    )
    envelope = {"schema_version": SCHEMA_VERSION, "served": [daemon.status_of(served)]}
    check("serve-status", envelope)
