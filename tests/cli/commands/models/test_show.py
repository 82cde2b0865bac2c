"""`models show` as a user runs it, with a hub on this machine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.model_store import Q4, REPO, TINY, Store
from synthetic.models import write_mistral


def test_show_of_a_local_file(store: Store, smollm2: Path, mistral: Path) -> None:
    facts = store.ask("show", smollm2)
    assert facts["architecture"] == "llama"
    assert facts["parameters"] == 134_515_008
    assert facts["quantization"] == "Q4_1"
    assert (facts["context_length"], facts["layers"], facts["vocabulary"]) == (8192, 30, 49152)
    assert facts["chat_format"] == "chat-template"
    assert (facts["size"], facts["path"]) == (98362432, str(smollm2))
    assert facts["engines"]["llama.cpp"] == "yes"
    assert "output.weight" in facts["engines"]["ctransformers"]
    assert "134,515,008" in store.models("show", smollm2).stdout
    for_both = store.ask("show", mistral)
    assert for_both["engines"] == {"llama.cpp": "yes", "ctransformers": "yes"}
    assert for_both["chat_format"] == "mistral-v1"


def test_show_estimates_the_memory(store: Store, smollm2: Path, mistral: Path) -> None:
    cpu = store.ask("show", smollm2)["memory"]
    assert (cpu["context_length"], cpu["gpu_layers"], cpu["gpu"]) == (4096, 0, 0)
    assert cpu["kv_ram"] == 30 * 4096 * 2 * 3 * 64 * 2  # layers, tokens, K and V, heads, F16
    assert cpu["ram"] == sum(cpu[part] for part in ("weights_ram", "kv_ram", "compute", "engine"))
    gpu = store.ask("show", smollm2, "-c", 8192, "-ngl", "all")["memory"]
    assert (gpu["gpu_layers"], gpu["kv_ram"], gpu["kv_gpu"]) == (31, 0, 2 * cpu["kv_ram"])
    some = store.ask("show", smollm2, "-ngl", 16)["memory"]
    assert some["kv_gpu"] == some["kv_ram"] == cpu["kv_ram"] // 2
    shown = store.models("show", smollm2).stdout
    assert "memory: context length  4,096\n" in shown
    assert "memory: kv ram          94.4 MB\n" in shown
    assert store.ask("show", mistral)["memory"]["context_length"] == 512
    lowered = store.models("show", mistral, "-c", 100_000)
    assert "lowered" in lowered.stderr
    here = store.ask("show", mistral, "-ngl", "auto")["memory"]
    assert here["gpu_layers"] in (0, 3)  # a small model: all layers on a GPU, or none without one
    wrong = store.models("show", mistral, "-ngl", "some")
    assert (wrong.status, "--gpu-layers cannot be 'some'" in wrong.stderr) == (2, True)


@pytest.mark.parametrize("reference", [f"{REPO}:F32", f"{REPO}/large-f32.gguf"])
def test_show_of_a_remote_file_reads_its_header_only(
    store: Store, mistral: Path, reference: str
) -> None:
    padding = 20_000_000  # after the last tensor, in place of weights
    store.hub.repos[REPO]["large-f32.gguf"] = mistral.read_bytes() + bytes(padding)
    remote = store.ask("show", reference)
    local = store.ask("show", mistral)
    differing = {key for key in local if local[key] != remote[key]}
    assert local["memory"] == remote["memory"]
    assert differing == {"model", "path", "size"}
    assert (remote["path"], remote["size"]) == (None, local["size"] + padding)
    asked = [r.range for r in store.hub.requests if r.endpoint == "storage"]
    assert asked[0] == "bytes=0-1048575"
    assert list(store.cache.rglob("*.gguf")) == []
    assert "\npath" in store.models("show", reference).stdout


def test_show_reads_until_the_header_is_complete(store: Store, tmp_path: Path) -> None:
    long = {"tokenizer.chat_template": "{# " + "x" * 3_000_000 + " #}"}
    path = write_mistral(tmp_path / "long.gguf", metadata=long, **TINY)
    store.hub.repos[REPO]["long.gguf"] = path.read_bytes() + bytes(10_000_000)
    assert store.ask("show", f"{REPO}/long.gguf")["layers"] == 2
    asked = [r.range for r in store.hub.requests if r.endpoint == "storage"]
    assert asked == ["bytes=0-1048575", "bytes=1048576-2097151", "bytes=2097152-4194303"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"<html>" + bytes(5_000_000), "web page"),
        (b"GGUF\3\0\0\0" + b"\1" + bytes(7) + b"\1" + bytes(7) + b"\xff" * 6 + b"\0\0", "header"),
        (b"GGUF", "too short"),
        (b"", "no complete GGUF header"),
    ],
)
def test_show_refuses_a_remote_file_that_is_not_a_model(
    store: Store, data: bytes, message: str
) -> None:
    store.hub.repos[REPO]["bad.gguf"] = data
    result = store.models("show", f"{REPO}/bad.gguf")
    assert result.status == 4
    assert message in result.stderr
    assert f"{REPO}/bad.gguf" in result.stderr
    assert store.hub.count("storage") <= 1


def test_show_of_models_that_are_not_available(store: Store) -> None:
    assert "no file other.gguf" in store.models("show", f"{REPO}/other.gguf").stderr
    assert "has no Q6_K file" in store.models("show", f"{REPO}:Q6_K").stderr
    asked = len(store.hub.requests)
    offline = store.models("show", Q4, "--offline")
    assert (offline.status, "network is disabled" in offline.stderr) == (3, True)
    assert len(store.hub.requests) == asked
    wheel = store.models("show", "smollm2")
    assert (wheel.status, "models pull smollm2" in wheel.stderr) == (3, True)
    assert store.models("show", "/no/such.gguf").status == 3


def test_show_of_the_sampling_that_a_file_proposes(
    store: Store, mistral: Path, tmp_path: Path
) -> None:
    assert store.ask("show", mistral)["sampling"] == {}
    metadata = {"temp": 0.6, "top_k": 20, "top_p": 0.95, "min_p": 7.0, "mirostat": 2}
    keys = {f"general.sampling.{name}": value for name, value in metadata.items()}
    path = write_mistral(tmp_path / "m.gguf", metadata=keys, **TINY)
    facts = store.ask("show", path)
    assert facts["sampling"] == {"temperature": 0.6, "top_k": 20, "top_p": 0.95}
    result = store.models("show", path)
    assert re.search(r"^sampling: top p +0\.95$", result.stdout, re.MULTILINE)
    assert "m.gguf: this sampling default is ignored" in result.stderr
    assert "'general.sampling.min_p' is 7.0, not a number from 0 to 1" in result.stderr
