"""Opens a GGUF file and parses its header: the metadata, and where each tensor is in the file."""

from __future__ import annotations

import math
import mmap
import os
import stat
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from mistral_cli.errors import ModelUnusable, limit_reached
from mistral_cli.models.gguf.checks import ANOTHER, CONVERT, DAMAGED, refuse, refuse_other_kind
from mistral_cli.models.gguf.kinds import is_adapter, kind_of_tensor
from mistral_cli.models.gguf.model import GGUF, Array, Tensor
from mistral_cli.models.gguf.types import (
    ARRAY,
    SCALARS,
    STRING,
    TENSOR_TYPES,
    UINT32,
    UINT64,
)

_MAGIC = b"GGUF"
_FIXED_PART = 24  # bytes: magic, version, number of tensors, number of metadata entries
_MAX_ENTRIES = 1 << 16  # tensors or metadata entries; real models have hundreds
_MAX_NAME_BYTES = 63  # ggml's GGML_MAX_NAME without the final NUL
_MAX_TYPE = 256  # a greater number is damage, not a tensor type newer than this program
_UNKNOWN_TYPE = ("", 1, 0)  # the engine knows how large its blocks are, or refuses the file
_MIN_ALIGNMENT = 32  # ggml computes on the mapped weights and aborts below this
_OTHER_FORMATS = {
    b"version https://git-lfs": ("is a Git LFS pointer, not the model", "Run `git lfs pull`."),
    b"<": ("is a web page, not a model", "Download the file itself, not the page about it."),
    b"PK\x03\x04": ("is a ZIP or PyTorch file, not GGUF", ANOTHER),
    b"algg": ("is a LoRA adapter in the GGLA format, the predecessor of GGUF's", CONVERT),
    b"lmgg": ("is in the GGML format, the predecessor of GGUF", CONVERT),
    b"tjgg": ("is in the GGJT format, a predecessor of GGUF", CONVERT),
}


def open_checked(path: Path, check: Callable[[GGUF], None]) -> GGUF:
    """Return the header of the file at `path`, after `check` has accepted it.

    Raises `ModelUnusable`, with the file's name, if the file cannot be opened, parsed or accepted.
    """
    with errors_about(path):
        # Opening a pipe would block, so look at the type first.
        if not stat.S_ISREG(path.stat().st_mode):
            refuse("is not a regular file", ANOTHER)
        with path.open("rb") as file:
            check_magic(file.read(64))
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                header = parse_header(path, data, len(data))
        check(header)
    return header


@contextmanager
def errors_about(path: Path) -> Iterator[None]:
    """Turn the errors of the block into `ModelUnusable` with the name of the file at `path`."""
    try:
        yield
    except ModelUnusable as error:
        raise ModelUnusable(f"{path}: {error.message}", hint=error.hint) from None
    except (OSError, ValueError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error
        hint = "Check the path and its permissions."
        if limit := limit_reached(error):
            raise limit from error
        raise ModelUnusable(f"{path}: cannot be read: {reason}", hint=hint) from error


def check_magic(start: bytes) -> None:
    """Refuse a file that does not start like a GGUF file, and name the format that it has."""
    if start[8:10] == b'{"':
        refuse("is a safetensors file, not GGUF", ANOTHER)
    for magic, (problem, hint) in _OTHER_FORMATS.items():
        if start.lstrip().startswith(magic):
            refuse(problem, hint)
    if not start:
        refuse("is empty")
    if not start.startswith(_MAGIC):
        refuse("is not a GGUF file", ANOTHER)
    if len(start) < _FIXED_PART:
        refuse(f"is too short: {len(start)} bytes")


class HeaderCut(ModelUnusable):
    """The header continues after the end of the data."""


class _Cursor:
    """A position in the header; refuses to read past the end of the data."""

    def __init__(self, data: mmap.mmap | bytes) -> None:
        self.data = data
        self.position = len(_MAGIC)

    def skip(self, length: int) -> int:
        """Skip `length` bytes and return where they start."""
        start = self.position
        if length > len(self.data) - start:
            raise HeaderCut("the header runs past the end of the file", hint=DAMAGED)
        self.position = start + length
        return start

    def number(self, kind: int) -> Any:
        layout = SCALARS[kind]
        return layout.unpack_from(self.data, self.skip(layout.size))[0]

    def string(self) -> bytes:
        start = self.skip(self.number(UINT64))
        return self.data[start : self.position]

    def name(self, what: str) -> str:
        raw = self.string()
        try:
            return raw.decode()
        except UnicodeDecodeError:
            refuse(f"a {what} is not UTF-8: {raw[:40]!r}")

    def value(self, key: str) -> object:
        kind = self.number(UINT32)
        if kind == STRING:
            return self.string().decode("utf-8", "replace")
        if kind == ARRAY:
            return self._array(key)
        if kind not in SCALARS:
            refuse(f"metadata {key!r} has the unknown type {kind}")
        return self.number(kind)

    def _array(self, key: str) -> Array:
        kind, count = self.number(UINT32), self.number(UINT64)
        start = self.position
        if kind == STRING:
            self._skip_strings(count)
        elif kind in SCALARS:
            self.skip(count * SCALARS[kind].size)
        else:
            refuse(f"metadata {key!r} is an array of the unsupported type {kind}")
        return Array(kind, count, self.data[start : self.position])

    def _skip_strings(self, count: int) -> None:
        # The hot spot: a vocabulary has 32,000 strings or more.
        data, position, length_at = self.data, self.position, SCALARS[UINT64].unpack_from
        try:
            for _ in range(count):
                position += 8 + length_at(data, position)[0]
        except (struct.error, OverflowError):
            position = len(data) + 1
        self.skip(position - self.position)


def parse_header(path: Path, data: mmap.mmap | bytes, file_size: int) -> GGUF:
    """Parse the header in `data` (the whole file, or its first bytes).

    Every tensor is inside `file_size`. Raises `HeaderCut` if the header continues after `data`.
    """
    cursor = _Cursor(data)
    version = cursor.number(UINT32)
    if version >> 16:
        refuse("is a big-endian GGUF file, which the engines cannot read", CONVERT)
    if version not in (2, 3):
        refuse(f"has GGUF version {version}; versions 2 and 3 are supported", CONVERT)
    tensor_count, entry_count = cursor.number(UINT64), cursor.number(UINT64)
    if max(tensor_count, entry_count) > _MAX_ENTRIES:
        refuse(f"declares {tensor_count} tensors and {entry_count} metadata entries")
    metadata: dict[str, object] = {}
    entries: dict[str, bytes] = {}
    for _ in range(entry_count):
        start = cursor.position
        key = cursor.name("metadata key")
        if key in metadata:
            refuse(f"has the metadata key {key!r} twice")
        metadata[key] = cursor.value(key)
        entries[key] = data[start : cursor.position]
    header = GGUF(path, version, metadata, entries, (), file_size)
    try:
        tensors = _parse_tensors(cursor, tensor_count, _alignment(metadata, entries))
        tensors = _with_unknown_sizes(tensors, file_size)
        _check_extents(tensors, file_size)
    except HeaderCut:
        raise
    except ModelUnusable:  # models for videos have tensors that language models cannot have
        if not is_adapter(header):
            refuse_other_kind(header, complete=False)
        raise
    return replace(header, tensors=tensors)


def _alignment(metadata: Mapping[str, object], entries: Mapping[str, bytes]) -> int:
    key = "general.alignment"
    alignment = metadata.get(key, 32)
    # llama.cpp aborts on any type but UINT32. The type follows the key and its 8-byte length.
    stored_as_uint32 = key not in entries or entries[key][8 + len(key)] == UINT32
    if not (isinstance(alignment, int) and stored_as_uint32 and alignment.bit_count() == 1):
        refuse(f"has an impossible {key!r}: {alignment!r}")
    if alignment < _MIN_ALIGNMENT:
        refuse(f"has a {key!r} of {alignment}, which is too small for the engines", CONVERT)
    return alignment


def _parse_tensors(cursor: _Cursor, count: int, alignment: int) -> tuple[Tensor, ...]:
    tensors: dict[str, Tensor] = {}
    for _ in range(count):
        tensor = _parse_tensor(cursor, alignment)
        if tensor.name in tensors:
            refuse(f"has the tensor {tensor.name!r} twice")
        tensors[tensor.name] = tensor
    start = cursor.position + -cursor.position % alignment
    return tuple(replace(each, offset=start + each.offset) for each in tensors.values())


def _parse_tensor(cursor: _Cursor, alignment: int) -> Tensor:
    """Read the description of one tensor; its offset counts from the start of the tensor data."""
    name = cursor.name("tensor name")
    if not 0 < len(name.encode()) <= _MAX_NAME_BYTES:
        if kind := kind_of_tensor(name):
            refuse(f"is {kind.name}", kind.advice)
        refuse(f"has a tensor with a name of {len(name)} characters")
    dimensions = cursor.number(UINT32)
    if not 1 <= dimensions <= 4:
        refuse(f"tensor {name!r} has {dimensions} dimensions")
    shape = tuple(cursor.number(UINT64) for _ in range(dimensions))
    kind, offset = cursor.number(UINT32), cursor.number(UINT64)
    if kind not in TENSOR_TYPES and not max(TENSOR_TYPES) < kind < _MAX_TYPE:
        refuse(f"tensor {name!r} has the unknown type {kind}", CONVERT)
    _, block, block_bytes = TENSOR_TYPES.get(kind, _UNKNOWN_TYPE)
    if not 0 < math.prod(shape) < 1 << 62 or shape[0] % block:
        refuse(f"tensor {name!r} has an impossible shape: {shape}")
    if offset % alignment:
        refuse(f"tensor {name!r} is not aligned to {alignment} bytes")
    return Tensor(name, shape, kind, offset, math.prod(shape) // block * block_bytes)


def _with_unknown_sizes(tensors: tuple[Tensor, ...], file_size: int) -> tuple[Tensor, ...]:
    """`tensors`, those of unknown types with the size up to the next one, or to the file's end.

    That is up to 31 bytes too much: the next tensor is aligned.
    """
    if all(each.type in TENSOR_TYPES for each in tensors):
        return tensors
    starts = [*sorted({each.offset for each in tensors}), file_size]
    next_start = dict(pairwise(starts))
    return tuple(
        each
        if each.type in TENSOR_TYPES
        else replace(each, size=max(0, next_start[each.offset] - each.offset))
        for each in tensors
    )


def _check_extents(tensors: tuple[Tensor, ...], file_size: int) -> None:
    """Refuse tensors that overlap, or lie outside the file."""
    end, previous = 0, -1
    for tensor in sorted(tensors, key=lambda each: each.offset):
        if tensor.offset < end or tensor.offset == previous:
            refuse(f"tensor {tensor.name!r} overlaps another")
        previous = tensor.offset
        end = tensor.offset + tensor.size
    if end > file_size:
        refuse(f"is truncated: it has {file_size} bytes and needs {end}")
