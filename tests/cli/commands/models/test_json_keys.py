"""The keys of every JSON object that the `models` commands print, in their order.

A script may depend on them: see docs/reference/json-output.md before changing one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support.adapter_files import write_adapter
from support.model_store import Q4, Q8, Store

MEMORY = [
    *("context_length", "gpu_layers", "ram", "gpu"),
    *("weights_ram", "weights_gpu", "kv_ram", "kv_gpu", "compute", "engine", "dequantized"),
]


def keys_of_rows(answer: dict[str, Any], name: str) -> list[str]:
    assert list(answer) == ["schema_version", name]
    (keys,) = {tuple(row) for row in answer[name]}
    return list(keys)


def test_list(store: Store) -> None:
    store.pull(Q4)
    expected = [
        "name",
        "source",
        "path",
        "size",
        "quantization",
        "last_used",
        "default",
        "verified",
    ]
    assert keys_of_rows(store.ask("list"), "models") == expected


def test_pull(store: Store) -> None:
    expected = ["model", "missing", "size", "source", "path", "error"]
    assert keys_of_rows(store.ask("pull", "--dry-run", Q4, Q8), "models") == expected
    assert keys_of_rows(store.ask("pull", Q4), "models") == ["model", "path", "error"]


def test_path(store: Store) -> None:
    store.pull(Q4)
    assert list(store.ask("path", Q4)) == ["schema_version", "model", "path"]


def test_verify(store: Store) -> None:
    store.pull(Q4)
    expected = ["model", "path", "status", "sha256", "published", "error"]
    assert keys_of_rows(store.ask("verify"), "models") == expected


def test_rm(store: Store) -> None:
    store.pull(Q4)
    answer = store.ask("rm", Q4, "--yes")
    assert list(answer) == ["schema_version", "removed", "freed"]
    assert list(answer["removed"][0]) == ["model", "path", "size"]


def test_alias(store: Store) -> None:
    assert keys_of_rows(store.ask("alias", "work", Q4), "aliases") == ["name", "model"]


def test_show_of_a_model(store: Store, mistral: Path) -> None:
    facts = store.ask("show", mistral)
    assert list(facts) == [
        *("schema_version", "model", "path", "name", "architecture", "parameters"),
        *("quantization", "size", "files", "context_length", "layers", "vocabulary", "tokenizer"),
        *("chat_format", "gguf_version", "sampling", "engines", "memory"),
    ]
    assert list(facts["memory"]) == MEMORY


def test_show_of_an_adapter(store: Store, mistral: Path, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter.gguf", mistral)
    assert list(store.ask("show", adapter)) == [
        *("schema_version", "model", "path", "kind", "name", "architecture", "rank", "alpha"),
        *("targets", "parameters", "size", "default_model", "fits_default_model"),
    ]
