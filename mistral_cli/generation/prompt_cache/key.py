"""The key of a saved state: everything that it depends on besides its tokens."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mistral_cli.engines.protocol import Backend, LoadOptions
    from mistral_cli.models.gguf import GGUF

_VERSION = 1

# Load options that no state depends on. All others count, future ones included; an option that
# names a file must be replaced here by a digest of its content.
_WITHOUT_EFFECT = {"context_length", "threads", "states", "speculative", "log_file"}

_SAMPLE = 4096  # bytes of each tensor


def key_of(model: GGUF, engine: Backend, load: LoadOptions) -> str:
    """A digest of the model, the engine, its build and the options: equal keys share states."""
    options = {n: v for n, v in asdict(load).items() if n not in _WITHOUT_EFFECT}
    content = [_VERSION, engine.name, engine.state_format(), fingerprint(model), options]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def fingerprint(model: GGUF) -> str:
    """A digest that tells a model file from others, even with the same shape, in milliseconds.

    It covers the size, the modification time, the metadata and a sample from the middle of each
    tensor. To read the whole file takes seconds, and a change sets a new time. Raises OSError.
    """
    stat = model.path.stat()
    seen = hashlib.sha256(f"{stat.st_size} {stat.st_mtime_ns}".encode())
    for entry in model.entries.values():
        seen.update(entry)
    with model.path.open("rb") as file:
        for tensor in model.tensors:
            file.seek(tensor.offset + tensor.size // 2)
            seen.update(tensor.name.encode() + file.read(_SAMPLE))
    return seen.hexdigest()
