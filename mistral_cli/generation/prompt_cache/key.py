"""Whose states they are: everything that a state depends on beside its tokens."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mistral_cli.engines.protocol import Backend, LoadOptions
    from mistral_cli.models.gguf import GGUF

_VERSION = 1

# Options on which no state depends. All others count, those of the future too; one that names
# a file must be told here by what the file has in it.
_WITHOUT_EFFECT = {"context_length", "threads", "states", "speculative"}

_SAMPLE = 4096  # bytes of each tensor


def key_of(model: GGUF, engine: Backend, load: LoadOptions) -> str:
    """A digest of model, engine, its build and the options: only equal ones share states."""
    options = {n: v for n, v in asdict(load).items() if n not in _WITHOUT_EFFECT}
    told = [_VERSION, engine.name, engine.state_format(), fingerprint(model), options]
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()


def fingerprint(model: GGUF) -> str:
    """What tells a model's file from others, of the same shape too, in milliseconds.

    Its length, its time of change, its metadata and a sample out of the middle of each tensor:
    to read all of it takes seconds, and a file that changes gets a new time. Raises OSError.
    """
    state = model.path.stat()
    seen = hashlib.sha256(f"{state.st_size} {state.st_mtime_ns}".encode())
    for entry in model.entries.values():
        seen.update(entry)
    with model.path.open("rb") as file:
        for tensor in model.tensors:
            file.seek(tensor.offset + tensor.size // 2)
            seen.update(tensor.name.encode() + file.read(_SAMPLE))
    return seen.hexdigest()
