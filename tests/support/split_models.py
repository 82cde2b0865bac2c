"""Split a GGUF file into parts as llama.cpp's `llama-gguf-split` does."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli.models.gguf import reread_gguf
from mistral_cli.models.gguf.reader import open_checked
from mistral_cli.models.gguf.types import INT32, UINT16
from support.gguf_parts import entry, text

if TYPE_CHECKING:
    from mistral_cli.models.gguf import GGUF, Tensor

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


class SplitParts:
    """The files of a split model, which a test damages; parts are counted from 1."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths

    def cut(self, part: int, size: int = 0) -> None:
        """Remove the last `size` bytes, or all."""
        path = self.paths[part - 1]
        path.write_bytes(path.read_bytes()[:-size] if size else b"")

    def put(self, part: int, *raw: bytes) -> None:
        """Add metadata entries, or replace those with the same keys."""
        for each in raw:
            length = struct.unpack_from("<Q", each)[0]
            self._write(part, entries={each[8 : 8 + length].decode(): each})

    def drop(self, part: int, *keys: str) -> None:
        """Remove metadata entries."""
        self._write(part, entries=dict.fromkeys(keys))

    def copy_tensors(self, source: int, target: int) -> None:
        """Give the part `target` the tensors of another."""
        header = self._header(source)
        self._write(target, tensors=header.tensors, data=self.paths[source - 1].read_bytes())

    def rename_last(self, part: int, name: str) -> None:
        """Give the last tensor another name."""
        *others, last = self._header(part).tensors
        self._write(part, tensors=[*others, replace(last, name=name)])

    def move_last(self, part: int) -> None:
        """Leave a gap before the last tensor."""
        path = self.paths[part - 1]
        last = self._header(part).tensors[-1]
        content = path.read_bytes()
        place = content.index(text(last.name)) + len(text(last.name)) + 4 + 8 * len(last.shape) + 4
        offset = struct.pack("<Q", struct.unpack_from("<Q", content, place)[0] + _ALIGNMENT)
        path.write_bytes(content[:place] + offset + content[place + 8 :] + bytes(_ALIGNMENT))

    def _header(self, part: int) -> GGUF:
        return open_checked(self.paths[part - 1], lambda _: None)

    def _write(
        self,
        part: int,
        *,
        entries: Mapping[str, bytes | None] | None = None,
        tensors: Sequence[Tensor] | None = None,
        data: bytes | None = None,
    ) -> None:
        path, header = self.paths[part - 1], self._header(part)
        changed = {**header.entries, **(entries or {})}
        tensors = header.tensors if tensors is None else tensors
        content = _file(
            [raw for raw in changed.values() if raw], tensors, data or path.read_bytes()
        )
        path.write_bytes(content)
