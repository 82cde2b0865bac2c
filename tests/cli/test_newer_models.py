"""Files with what is newer than this program: it says so, and leaves them to the engine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.gguf_parts import GGUFParts, text, words
from support.program import Result
from synthetic.models import write_tekken

Change = Callable[[GGUFParts], object]


def of_type(number: int) -> Change:
    return lambda parts: parts.change("output.weight", type=number)


def of_architecture(parts: GGUFParts) -> None:
    for key in [key for key in parts.entries if key.startswith("llama.")]:
        new = key.replace("llama.", "tomorrow.")
        parts.entries[new] = text(new) + parts.entries.pop(key)[8 + len(key) :]
    parts.put(words("general.architecture", "tomorrow"))


def of_pre_tokenizer(parts: GGUFParts) -> None:
    parts.put(words("tokenizer.ggml.pre", "tomorrow"))


@pytest.mark.parametrize(
    ("change", "unknown", "problem"),
    [
        (
            of_type(99),
            "the tensor type 99",
            "tensor 'output.weight' has the type 99, which",
        ),
        (of_architecture, "the architecture 'tomorrow'", "has the architecture 'tomorrow', which"),
        (of_pre_tokenizer, "the pre-tokenizer 'tomorrow'", "has the pre-tokenizer 'tomorrow'"),
    ],
    ids=["tensor type", "architecture", "pre-tokenizer"],
)
def test_every_command_names_what_it_does_not_know(
    change: Change,
    unknown: str,
    problem: str,
    mistral: Path,
    tmp_path: Path,
    in_process: Callable[..., Result],
) -> None:
    path = tmp_path / "newer.gguf"
    byte_level = change is of_pre_tokenizer  # only such vocabularies have one
    parts = GGUFParts(write_tekken(path, vocabulary=1400) if byte_level else mistral)
    change(parts)
    path.write_bytes(parts.build())
    doubt = f"this program does not know {unknown}; llama.cpp may"
    shown = in_process("models", "show", path, "--json")
    assert (shown.status, shown.stderr) == (0, "")
    facts = json.loads(shown.stdout)
    assert facts["engines"]["llama.cpp"] == f"maybe: {doubt}"
    assert facts["engines"]["ctransformers"].startswith("no: ")
    padding = len(parts.data) - facts["memory"]["weights_ram"]
    assert 0 <= padding < 32 * len(parts.tensors)
    verified = in_process("models", "verify", path)
    assert (verified.status, verified.stderr) == (0, "")
    checked = in_process("doctor", "-m", path)
    assert checked.status == 0
    assert doubt in " ".join((checked.stdout + checked.stderr).split())
    used = in_process("generate", "Hi", "-m", path, "-n", 1, "-c", 64, "--no-serve")
    assert (used.status, used.stdout) == (4, "")
    assert problem in used.stderr
    assert "damaged" not in used.stderr
    assert "pip install --upgrade xllamacpp" in used.stderr
