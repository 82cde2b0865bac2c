"""The key of a saved state: the model's fingerprint, the engine, the load options."""

from __future__ import annotations

import os
from pathlib import Path

from synthetic.models import write_mistral

from mistral_cli.engines.protocol import LoadOptions
from mistral_cli.engines.registry import backend
from mistral_cli.generation.prompt_cache.key import fingerprint, state_key
from mistral_cli.models.gguf import read_gguf

LLAMA_CPP = backend("llama.cpp")


def test_models_of_the_same_shape_have_different_fingerprints(tmp_path: Path) -> None:
    one = write_mistral(tmp_path / "one.gguf", seed=1)
    other = write_mistral(tmp_path / "other.gguf", seed=2)
    os.utime(other, ns=(one.stat().st_atime_ns, one.stat().st_mtime_ns))
    assert one.stat().st_size == other.stat().st_size
    assert fingerprint(read_gguf(one)) != fingerprint(read_gguf(other))
    before = fingerprint(read_gguf(one))
    os.utime(one, (1, 1))
    assert fingerprint(read_gguf(one)) != before


def test_the_key_depends_on_every_load_option_except_those_without_effect(stories: Path) -> None:
    model, load = read_gguf(stories), LoadOptions(512, 1)
    key = state_key(model, LLAMA_CPP, load)
    assert key == state_key(model, LLAMA_CPP, LoadOptions(1024, 2, states=Path("/elsewhere")))
    assert key != state_key(model, LLAMA_CPP, LoadOptions(512, 1, parallel=2))
    assert key != state_key(model, LLAMA_CPP, LoadOptions(512, 1, gpu_layers=3))
    assert key != state_key(model, backend("fake"), load)
