"""`engines.load_failure`: what an engine alone can find in a file is reported by name."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support.gguf_parts import GGUFParts, entry, number, text, words

from mistral_cli.engines.load_failure import load_failure
from mistral_cli.engines.protocol import LoadOptions
from mistral_cli.engines.registry import backend
from mistral_cli.errors import ExitCode, LimitReached, ModelUnusable
from mistral_cli.models.gguf import read_gguf, types

BOTH = ("llama.cpp", "ctransformers")
LLAMA_CPP = ("llama.cpp",)


def add(parts: GGUFParts, name: str) -> None:
    """Add a tensor of 32 floats."""
    start = len(parts.data) + -len(parts.data) % 32
    parts.data = parts.data.ljust(start, b"\0") + bytes(128)
    extra = replace(parts.tensors[0], name=name, shape=(32,), type=0, offset=start, size=128)
    parts.tensors.append(extra)


def rename_architecture(parts: GGUFParts, name: str) -> None:
    entries = list(parts.entries.items())
    parts.entries = {}
    for key, raw in entries:
        other = key.replace("llama.", f"{name}.", 1) if key.startswith("llama.") else key
        parts.entries[other] = text(other) + raw[8 + len(key) :]
    parts.put(words("general.architecture", name))


Damage = Callable[[GGUFParts], object]
# name: (how to damage a good file, what the message names, the engines that find it)
DAMAGE: dict[str, tuple[Damage, str, tuple[str, ...]]] = {
    "surplus tensor": (lambda d: add(d, "extra.weight"), "not 'extra.weight'", LLAMA_CPP),
    "tensor of a layer too many": (
        lambda d: add(d, "blk.9.attn_norm.weight"),
        "not 'blk.9.attn_norm.weight'",
        LLAMA_CPP,
    ),
    "tensor in one layer only": (
        lambda d: add(d, "blk.0.odd.weight"),
        "not 'blk.0.odd.weight'",
        LLAMA_CPP,
    ),
    "tensor that the architecture shares with another": (
        lambda d: rename_architecture(d, "gemma"),
        "probably not 'output.weight'",
        LLAMA_CPP,
    ),
    "optional tensor in a wrong shape": (
        lambda d: add(d, "rope_freqs.weight"),
        "tensor 'rope_freqs.weight' has the shape 32, 1, 1, 1, and llama.cpp expects 8",
        LLAMA_CPP,
    ),
    "rotation": (
        lambda d: d.put(number("llama.rope.dimension_count", 6)),
        "'llama.rope.dimension_count' is 6",
        BOTH,
    ),
    "BOS id in 64 bits": (
        lambda d: d.put(number("tokenizer.ggml.bos_token_id", 1, types.UINT64)),
        "'tokenizer.ggml.bos_token_id' has the type u64",
        BOTH,
    ),
    "vocabulary size a real number": (
        lambda d: d.put(entry("llama.vocab_size", 6, struct.pack("<f", 1.0))),
        "'llama.vocab_size' has the type f32",
        LLAMA_CPP,
    ),
    "architecture of tomorrow": (
        lambda d: rename_architecture(d, "tomorrow"),
        "architecture 'tomorrow', which llama.cpp does not know",
        LLAMA_CPP,
    ),
    "keys of another architecture": (
        lambda d: rename_architecture(d, "llama4"),
        "has no metadata 'llama4.expert_feed_forward_length'",
        LLAMA_CPP,
    ),
    "tensor of another architecture": (
        lambda d: rename_architecture(d, "phi3"),
        r"tensor 'blk\.0\.\w+\.weight'",
        LLAMA_CPP,
    ),
    "tensor type of tomorrow": (
        lambda d: d.change("output.weight", type=99),
        "tensor 'output.weight' has the type 99",
        LLAMA_CPP,
    ),
}
CASES = {
    f"{name}, {engine}": (engine, damage, named)
    for name, (damage, named, engines) in DAMAGE.items()
    for engine in engines
}


@pytest.mark.parametrize(("engine", "damage", "named"), CASES.values(), ids=CASES.keys())
def test_the_fault_in_the_file_is_named(
    engine: str,
    damage: Damage,
    named: str,
    mistral: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    parts, path = GGUFParts(mistral), tmp_path / "bad.gguf"
    damage(parts)
    path.write_bytes(parts.build())
    with pytest.raises(ModelUnusable, match=named) as caught:
        backend(engine).open(read_gguf(path), LoadOptions(256, threads=1))
    assert caught.value.message.startswith(f"{path}: ")
    assert "--engine" not in caught.value.hint
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "line",
    [
        "0.00.114.112 E ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer",
        "error loading model: mmap failed: Cannot allocate memory",
        "error loading model: std::bad_alloc",
    ],
)
def test_a_lack_of_memory_is_not_blamed_on_the_file(line: str, mistral: Path) -> None:
    error = load_failure("llama.cpp", read_gguf(mistral), line, "")
    assert type(error) is LimitReached
    assert error.exit_code == ExitCode.FAILURE
    assert "-c/--context-length" in error.hint


def test_the_draft_model_is_named_if_it_is_the_one_that_fails(mistral: Path) -> None:
    log = (
        "key not found in model: x.y\nE srv load_model: failed to load draft model, '/d/draft.gguf'"
    )
    error = load_failure("llama.cpp", read_gguf(mistral), log, "")
    assert error.message.startswith("/d/draft.gguf: has no metadata 'x.y'")
