"""Split a GGUF file into parts as llama.cpp's `llama-gguf-split` does."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli.models.gguf import reread_gguf
from mistral_cli.models.gguf.types import INT32, UINT16
from support.gguf_parts import entry, text

if TYPE_CHECKING:
    from mistral_cli.models.gguf import Tensor

_ALIGNMENT = 32


def split_model(
    source: Path, folder: Path, name: str, parts: int = 3, *, first_is_empty: bool = False
) -> list[Path]:
    """Write the model at `source` as `parts` parts called `name` to `folder`; return their paths.

    The parts have about as many tensors each. With `first_is_empty` the first has none
    (`--no-tensor-first-split`).
    """
    model = reread_gguf(source)
    data, paths = source.read_bytes(), []
    with_tensors = parts - first_is_empty
    per_part = -(-len(model.tensors) // with_tensors)
    shares = [model.tensors[i * per_part : (i + 1) * per_part] for i in range(with_tensors)]
    folder.mkdir(parents=True, exist_ok=True)
    for number, tensors in enumerate([(), *shares] if first_is_empty else shares):
        entries = list(model.entries.values()) if number == 0 else []
        entries += split_entries(number, parts, len(model.tensors))
        path = folder / f"{name}-{number + 1:05d}-of-{parts:05d}.gguf"
        path.write_bytes(_file(entries, tensors, data))
        paths.append(path)
    return paths


def split_entries(number: int, count: int, tensors: int) -> list[bytes]:
    """Return the metadata of a part: its number from 0, how many there are, and all tensors."""
    return [
        entry("split.no", UINT16, struct.pack("<H", number)),
        entry("split.count", UINT16, struct.pack("<H", count)),
        entry("split.tensors.count", INT32, struct.pack("<i", tensors)),
    ]


def _file(entries: Sequence[bytes], tensors: Sequence[Tensor], data: bytes) -> bytes:
    infos, content = b"", bytearray()
    for tensor in tensors:
        shape = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
        infos += text(tensor.name) + shape + struct.pack("<IQ", tensor.type, len(content))
        content += _padded(data[tensor.offset : tensor.offset + tensor.size])
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(entries))
    return _padded(head + b"".join(entries) + infos) + content


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _ALIGNMENT)
