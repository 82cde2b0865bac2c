"""Take a GGUF file apart, change it or damage it, and put it together again."""

from __future__ import annotations

import random
import struct
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mistral_cli.errors import ModelUnusable
from mistral_cli.models.gguf import GGUF, Array, read_gguf, types
from mistral_cli.models.gguf.vocabulary import write_vocabulary_model


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def entry(key: str | bytes, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def number(key: str, value: int, kind: int = types.UINT32) -> bytes:
    return entry(key, kind, value.to_bytes(8 if kind == types.UINT64 else 4, "little"))


def words(key: str, value: str) -> bytes:
    return entry(key, types.STRING, text(value))


def strings(key: str, items: list[bytes]) -> bytes:
    head = struct.pack("<IQ", types.STRING, len(items))
    return entry(key, types.ARRAY, head + b"".join(map(text, items)))


def numbers(key: str, items: list[int], kind: int = types.INT32) -> bytes:
    return entry(key, types.ARRAY, struct.pack(f"<IQ{len(items)}i", kind, len(items), *items))


class GGUFParts:
    """The parts of a GGUF file, which a test changes and puts together again."""

    def __init__(self, source: Path) -> None:
        model = read_gguf(source)
        self.entries = dict(model.entries)
        start = min(tensor.offset for tensor in model.tensors)
        self.tensors = [replace(each, offset=each.offset - start) for each in model.tensors]
        self.data = source.read_bytes()[start:]
        self.version = 3
        self.tail = b""

    def build(self) -> bytes:
        """Return the content of the file."""
        header = struct.pack("<4sIQQ", b"GGUF", self.version, len(self.tensors), len(self.entries))
        header += b"".join(self.entries.values())
        for tensor in self.tensors:
            shape = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
            header += text(tensor.name) + shape + struct.pack("<IQ", tensor.type, tensor.offset)
        return header + bytes(-len(header) % 32) + self.data + self.tail

    def put(self, raw: bytes) -> None:
        """Add a metadata entry, or replace the one with the same key."""
        length = struct.unpack_from("<Q", raw)[0]
        self.entries[raw[8 : 8 + length].decode("utf-8", "replace")] = raw

    def change(self, tensor: str, **values: Any) -> None:
        """Change the description of one tensor."""
        self.tensors = [
            replace(each, **values) if each.name == tensor else each for each in self.tensors
        ]


def retyped(source: Path, path: Path, kind: int, marks: Collection[str], template: str) -> GGUF:
    """Write to `path` the vocabulary of `source`, where the tokens `marks` have the type `kind`.

    It has the chat template `template`, and weights of zero.
    """
    model = read_gguf(source)
    write_vocabulary_model(model, path)
    parts = GGUFParts(path)
    texts, kinds = {mark.encode() for mark in marks}, list(model.token_types or ())
    for token, text_of_token in enumerate(model.tokens):
        kinds[token] = kind if text_of_token in texts else kinds[token]
    parts.put(numbers("tokenizer.ggml.token_type", kinds))
    parts.put(words("tokenizer.chat_template", template))
    path.write_bytes(parts.build())
    return read_gguf(path)


def fields(model: GGUF) -> list[tuple[int, int]]:
    """Return the position and size of the numbers that give a header its structure."""
    numbers_at, position = [(4, 4), (8, 8), (16, 8)], 24
    for key, raw in model.entries.items():
        kind = position + 8 + len(key.encode())
        numbers_at += [(position, 8), (kind, 4), (kind + 4, 4)]
        if isinstance(model.metadata[key], Array):
            numbers_at += [(kind + 8, 8), (kind + 16, 8)]
        position += len(raw)
    for tensor in model.tensors:
        dimensions = position + 8 + len(tensor.name.encode())
        sizes = [dimensions + 4 + 8 * axis for axis in range(len(tensor.shape))]
        kind = sizes[-1] + 8
        numbers_at += [(position, 8), (dimensions, 4), (kind, 4), (kind, 4), (kind + 4, 8)]
        numbers_at += [(size, 8) for size in sizes]
        position = kind + 12
    return numbers_at


def mutate(source: Path, rng: random.Random) -> bytes:
    """Return the file with one to three errors in its header."""
    if rng.random() < 0.3:
        return rearrange(GGUFParts(source), rng)
    model, content = read_gguf(source), bytearray(source.read_bytes())
    header, numbers_at = min(tensor.offset for tensor in model.tensors), fields(model)
    for _ in range(rng.choice((1, 1, 2, 3))):
        at, size = rng.choice(numbers_at)
        old = int.from_bytes(content[at : at + size], "little")
        anywhere = rng.randrange(header)
        match rng.randrange(10):
            case 0:
                content[anywhere] ^= 1 << rng.randrange(8)
            case 1:
                length = rng.randrange(1, 16)
                content[anywhere : anywhere + length] = bytes(length)
            case 2 if rng.random() < 0.3:
                del content[rng.randrange(len(content)) :]
                break
            case _:
                huge = [1 << 31, (1 << 31) - 1, 1 << 63, (1 << 64) - 1, rng.getrandbits(64)]
                near = [old - 1, old + 1, old * 2, old // 2, rng.randrange(64), rng.randrange(64)]
                value = rng.choice([0, 1, *near, *near, *huge]) % (1 << 8 * size)
                content[at : at + size] = value.to_bytes(size, "little")
    return bytes(content)


def rearrange(parts: GGUFParts, rng: random.Random) -> bytes:
    """Swap, drop or exchange whole parts, so that the header itself stays readable."""
    one, other = rng.sample(list(parts.entries), 2)
    value = {key: parts.entries[key][8 + len(key) :] for key in (one, other)}
    first, second = rng.sample(range(len(parts.tensors)), 2)
    a, b = parts.tensors[first], parts.tensors[second]
    match rng.randrange(6):
        case 0:
            parts.entries[one] = text(one) + value[other]
        case 1:
            parts.entries[one], parts.entries[other] = (
                text(one) + value[other],
                text(other) + value[one],
            )
        case 2:
            del parts.entries[one]
        case 3:
            del parts.tensors[first]
        case 4:
            parts.tensors[first], parts.tensors[second] = (
                replace(a, name=b.name),
                replace(b, name=a.name),
            )
        case _:
            parts.tensors[first] = replace(a, type=rng.choice(list(types.TENSOR_TYPES)))
    return parts.build()


def assert_refused(path: Path, content: bytes, message: str) -> str:
    """Write `content` to `path`, check that `read_gguf` refuses it, and return the hint."""
    path.write_bytes(content)
    with pytest.raises(ModelUnusable, match=message) as caught:
        read_gguf(path)
    assert caught.value.hint
    assert "\n" not in caught.value.message
    return caught.value.hint
