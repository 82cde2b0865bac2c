"""Decompresses gzip, bzip2, xz and Zstandard, recognized by their first bytes, as a stream.

What a file expands to is never in memory as a whole: it comes in blocks of limited size.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

from mistral_cli.errors import UsageError

SUFFIXES = (".gz", ".bz2", ".xz", ".zst")
"""Of compressed files; the suffix before them tells what they contain."""

MOST_BYTES = 64 * 2**20
"""Of a compressed file that is read as one text. An archive of zeros would fill the memory."""

_BLOCK = 1 << 18
# Of the bytes that are decompressed at once: what they gave is lost if there is damage among them.
_STEP = 1 << 14
_LZMA_MEMORY = 2**28  # bytes; `xz -9` needs 65 MiB

# RFC 1952 (gzip), the .xz file format 1.2.0, RFC 8878 (Zstandard, and its skippable frames), and
# for bzip2 the magic of a block or of an empty file, because "BZh9" may begin a text.
_MAGIC = {
    re.compile(rb"\x1f\x8b\x08"): "gzip",
    re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"): "bzip2",
    re.compile(rb"\xfd7zXZ\0"): "xz",
    re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"): "Zstandard",
}


class _Decompressor(Protocol):
    """An object as the modules lzma and bz2 have it."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


def without_suffix(path: Path) -> Path:
    """Return the path of a compressed file without the suffix that says so."""
    return path.with_suffix("") if path.suffix.lower() in SUFFIXES else path


def is_compressed(start: bytes) -> bool:
    """Whether a file that begins with `start` is compressed in a way that is understood."""
    return _kind(start) is not None


def expand(data: bytes, name: str) -> bytes:
    """Return the content of compressed `data`, and other data as they are.

    Raises UsageError if they are damaged, or expand to more than MOST_BYTES.
    """
    if not is_compressed(data):
        return data
    return whole(expanded((data,), name), name)


def whole(blocks: Iterable[bytes], name: str) -> bytes:
    """Join the blocks of a compressed file. Raises UsageError for more than MOST_BYTES."""
    kept, size = list[bytes](), 0
    for block in blocks:
        size += len(block)
        if size > MOST_BYTES:
            raise UsageError(
                f"{name} expands to more than {MOST_BYTES // 2**20} MiB, the limit for one text",
                hint="Decompress it first.",
            )
        kept.append(block)
    return b"".join(kept)


def expanded(blocks: Iterable[bytes], name: str) -> Iterator[bytes]:
    """Yield the content of a file that comes in blocks; they are decompressed if they need it.

    Several compressed files, one after the other, are read as one. Raises UsageError for damage
    after what came before it.
    """
    blocks = iter(blocks)
    start = next(blocks, b"")
    blocks = chain((start,), blocks)
    kind = _kind(start)
    return iter(blocks) if kind is None else _decompressed(blocks, kind, name)


def _kind(start: bytes) -> str | None:
    return next((kind for magic, kind in _MAGIC.items() if magic.match(start)), None)


def _decompressed(blocks: Iterable[bytes], kind: str, name: str) -> Iterator[bytes]:
    decompressor = None
    damage = _damage_of(kind)
    for data in _steps(blocks):
        while data or decompressor:
            if decompressor is None:
                data = data.lstrip(b"\0")  # padding, as tapes have it
                if not data:
                    break
                decompressor = _new(kind)
            try:
                block = decompressor.decompress(data, _BLOCK)
            except damage as error:
                raise UsageError(
                    f"{name} is damaged, or not {kind}: {error}",
                    hint="Fetch or compress the file again.",
                ) from error
            if block:
                yield block
            data = b""
            if decompressor.eof:
                data, decompressor = decompressor.unused_data, None
            elif decompressor.needs_input:
                break
    if decompressor is not None:
        raise UsageError(
            f"{name} ends in the middle of its {kind} data",
            hint="Fetch or compress the file again.",
        )


def _steps(blocks: Iterable[bytes]) -> Iterator[bytes]:
    for block in blocks:
        for start in range(0, len(block), _STEP):
            yield block[start : start + _STEP]


def _new(kind: str) -> _Decompressor:
    if kind == "gzip":
        return _Gzip()
    if kind == "xz":
        import lzma

        return lzma.LZMADecompressor(memlimit=_LZMA_MEMORY)
    if kind == "bzip2":
        import bz2

        return bz2.BZ2Decompressor()
    decompressor: _Decompressor = _zstd().ZstdDecompressor()
    return decompressor


def _damage_of(kind: str) -> tuple[type[Exception], ...]:
    """Return the errors that the library raises for damaged data."""
    import lzma
    import zlib

    errors: tuple[type[Exception], ...] = (OSError, EOFError, ValueError, zlib.error)
    if kind == "Zstandard":
        return (*errors, _zstd().ZstdError)
    return (*errors, lzma.LZMAError)


def _zstd() -> Any:
    try:
        from compression import zstd  # Python 3.14
    except ImportError:
        from backports import zstd
    return zstd


class _Gzip:
    """zlib's object in the form of the others."""

    def __init__(self) -> None:
        import zlib

        self._object = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        """Whether the end of the data has been reached."""
        return self._object.eof

    @property
    def unused_data(self) -> bytes:
        """What follows after the end."""
        return self._object.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Return at most `max_length` bytes of the content."""
        block = self._object.decompress(self._object.unconsumed_tail + data, max_length)
        self.needs_input = len(block) < max_length and not self._object.unconsumed_tail
        return block
