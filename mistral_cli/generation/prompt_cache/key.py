"""The key of a saved state: a digest of all that it depends on besides its tokens."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mistral_cli.engines.protocol import Backend, LoadOptions
    from mistral_cli.models.gguf import GGUF

_VERSION = 1

# Load options that no state depends on. All others are part of the key, future ones included; for
# an option that names a file, a digest of its content must take its place here.
_WITHOUT_EFFECT = {
    "context_length", "threads", "adapts_threads", "states", "speculative", "log_file",
}  # fmt: skip

_SAMPLE = 4096  # bytes of each tensor


def state_key(model: GGUF, engine: Backend, load: LoadOptions) -> str:
    """A digest of the model, the engine, its build and the options. Equal keys share states."""
    options = {n: v for n, v in asdict(load).items() if n not in _WITHOUT_EFFECT}
    content = [_VERSION, engine.name, engine.state_format(), fingerprint(model), options]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def fingerprint(model: GGUF) -> str:
    """A digest that distinguishes model files, even of the same shape, within milliseconds.

    It covers each file's size and modification time, the metadata and a sample from the middle of
    each tensor. Reading all would take seconds, and a change sets a new time. Raises OSError.
    """
    states = [path.stat() for path in model.files]
    digest = hashlib.sha256(" ".join(f"{s.st_size} {s.st_mtime_ns}" for s in states).encode())
    for entry in model.entries.values():
        digest.update(entry)
    for path, tensors in model.tensors_by_file():
        with path.open("rb") as file:
            for tensor in tensors:
                file.seek(tensor.offset + tensor.size // 2)
                digest.update(tensor.name.encode() + file.read(_SAMPLE))
    return digest.hexdigest()
