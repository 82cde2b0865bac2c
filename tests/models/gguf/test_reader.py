"""`models.gguf`: what it reads, what it refuses, and that engines survive what it accepts."""

from __future__ import annotations

import http.client
import json
import os
import random
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf as reference
import pytest
from synthetic.models import write_mistral, write_tekken

from mistral_cli.errors import ModelUnusable
from mistral_cli.models import gguf
from mistral_cli.models.gguf import types

TINY: dict[str, Any] = {
    "vocabulary": 300,
    "embedding": 32,
    "heads": 2,
    "kv_heads": 1,
    "feed_forward": 32,
}


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    extra: dict[str, Any] = {
        "general.alignment": 32,
        "general.type": "model",
        "llama.rope.scaling.type": "none",
        "llama.expert_count": 0,
        "llama.attention.key_length": 16,
        "llama.attention.value_length": 16,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_space_prefix": True,
        "tokenizer.ggml.eot_token_id": 2,
    }
    return write_mistral(tmp_path_factory.mktemp("tiny") / "tiny.gguf", metadata=extra, **TINY)


@pytest.fixture(scope="session")
def tiny_tekken_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tekken(tmp_path_factory.mktemp("tiny") / "tekken.gguf", vocabulary=1400)


# --- taking a file apart and putting it together again, wrong ----------------------------------


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


class Prompt:
    """The parts of a GGUF file, to be changed and built."""

    def __init__(self, source: Path) -> None:
        model = gguf.read_gguf(source)
        self.entries = dict(model.entries)
        start = min(tensor.offset for tensor in model.tensors)
        self.tensors = [replace(each, offset=each.offset - start) for each in model.tensors]
        self.data = source.read_bytes()[start:]
        self.version = 3
        self.tail = b""

    def build(self) -> bytes:
        header = struct.pack("<4sIQQ", b"GGUF", self.version, len(self.tensors), len(self.entries))
        header += b"".join(self.entries.values())
        for tensor in self.tensors:
            shape = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
            header += text(tensor.name) + shape + struct.pack("<IQ", tensor.type, tensor.offset)
        return header + bytes(-len(header) % 32) + self.data + self.tail

    def put(self, raw: bytes) -> None:
        """Add a metadata entry, or replace the one of its key."""
        length = struct.unpack_from("<Q", raw)[0]
        self.entries[raw[8 : 8 + length].decode("utf-8", "replace")] = raw

    def change(self, tensor: str, **values: Any) -> None:
        """Change the description of one tensor."""
        self.tensors = [
            replace(each, **values) if each.name == tensor else each for each in self.tensors
        ]


def refused(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    with pytest.raises(ModelUnusable, match=message) as caught:
        gguf.read_gguf(path)
    assert caught.value.hint
    assert "\n" not in caught.value.message


# --- reading -----------------------------------------------------------------------------------


def test_reads_what_mistral_files_say(tmp_path: Path) -> None:
    path = write_mistral(tmp_path / "m.gguf", "v3", context_length=4096, quantization="Q8_0")
    model = gguf.read_gguf(path)
    assert (model.architecture, model.name, model.version) == ("llama", "Tiny Mistral v3", 2)
    assert (model.context_length, model.block_count, model.quantization) == (4096, 2, "Q8_0")
    assert (model.bos_id, model.eos_id, model.eot_id, model.adds_bos) == (1, 2, None, True)
    assert model.tokenizer_model == "llama"
    assert len(model.tokens) == 32768
    assert model.tokens[3] == b"[INST]"
    assert model.token_types is not None
    assert model.token_types[:4] == (2, 3, 3, 3)
    assert model.chat_template is not None
    assert "[INST]" in model.chat_template
    assert model.hparam("attention.head_count") == 4
    assert model.hparam("no.such.key", 7) == 7
    assert model.parameters == sum(tensor.elements for tensor in model.tensors)
    assert model.file_size == path.stat().st_size
    # 2 layers, 2 KV heads of 16 + 16 numbers, 2 bytes each
    assert model.kv_bytes(100) == 2 * 2 * (16 + 16) * 2 * 100


def test_reads_tensors_as_the_reference_reader_does(tiny_file: Path) -> None:
    model, expected = gguf.read_gguf(tiny_file), reference.GGUFReader(tiny_file)
    assert [
        (each.name, each.shape, each.type_name, each.offset, each.size) for each in model.tensors
    ] == [
        (each.name, tuple(each.shape), each.tensor_type.name, each.data_offset, each.n_bytes)
        for each in expected.tensors
    ]


def test_knows_every_tensor_type() -> None:
    assert {
        int(kind): (kind.name, *sizes) for kind, sizes in reference.GGML_QUANT_SIZES.items()
    } == types.TENSOR_TYPES


@pytest.mark.parametrize("kind", list(reference.LlamaFileType))
def test_names_every_file_type(
    kind: reference.LlamaFileType, tiny_file: Path, tmp_path: Path
) -> None:
    draft = Prompt(tiny_file)
    draft.put(number("general.file_type", int(kind)))
    path = tmp_path / "m.gguf"
    path.write_bytes(draft.build())
    guessed = kind is reference.LlamaFileType.GUESSED
    expected = "F32" if guessed else kind.name.removeprefix("ALL_").removeprefix("MOSTLY_")
    assert gguf.read_gguf(path).quantization == expected


def test_reads_a_byte_level_vocabulary(tiny_tekken_file: Path) -> None:
    model = gguf.read_gguf(tiny_tekken_file)
    assert (model.tokenizer_model, model.adds_bos) == ("gpt2", True)
    assert model.tokens[17] == b"[SYSTEM_PROMPT]"
    assert model.kv_heads == (1,)


def test_counts_heads_per_layer(tiny_file: Path, tmp_path: Path) -> None:
    draft = Prompt(tiny_file)
    draft.put(numbers("llama.attention.head_count_kv", [1, 2]))
    draft.change("blk.1.attn_k.weight", shape=(32, 32), offset=0)
    draft.tensors = [each for each in draft.tensors if each.name.startswith("token_embd")]
    path = tmp_path / "m.gguf"
    path.write_bytes(draft.build())
    model = gguf.read_gguf(path)
    assert model.kv_heads == (1, 2)
    assert model.kv_bytes(10) == 3 * 32 * 2 * 10


# --- refusing ----------------------------------------------------------------------------------


def test_refuses_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, message in (
        (tmp_path / "absent.gguf", "No such file"),
        (tmp_path, "not a regular file"),
        (tmp_path / "pipe", "not a regular file"),
        (tmp_path / "nul\0.gguf", "cannot be read"),
    ):
        with pytest.raises(ModelUnusable, match=message):
            gguf.read_gguf(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"GGUF", "too short"),
        (b"GGUF" + bytes(19), "too short"),
        (b"\x08\x01\0\0\0\0\0\0" + b'{"__metadata__":{}}', "safetensors"),
        (b"PK\x03\x04" + bytes(60), "ZIP"),
        (b"\n<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "Git LFS pointer"),
        (b"tjgg" + bytes(60), "GGJT"),
        (b"lmgg" + bytes(60), "GGML"),
        (b"FUGG" + bytes(60), "not a GGUF file"),
        (struct.pack("<4sIQQ", b"GGUF", 1, 1, 1), "version 1"),
        (struct.pack("<4sIQQ", b"GGUF", 4, 1, 1), "version 4"),
        (struct.pack(">4sIQQ", b"GGUF", 3, 1, 1), "big-endian"),
        (struct.pack("<4sIQQ", b"GGUF", 3, 1 << 40, 1), "declares"),
        (struct.pack("<4sIQQ", b"GGUF", 3, 1, 1 << 63), "declares"),
        (struct.pack("<4sIQQ", b"GGUF", 3, 1, 1), "past the end"),
    ],
)
def test_refuses_other_formats(tmp_path: Path, content: bytes, message: str) -> None:
    refused(tmp_path / "m.gguf", content, message)


def test_refuses_every_truncation(tiny_file: Path, tmp_path: Path) -> None:
    content = tiny_file.read_bytes()
    header = min(tensor.offset for tensor in gguf.read_gguf(tiny_file).tensors)
    for length in [*range(0, header, 97), *range(header, len(content), 9973), len(content) - 33]:
        refused(tmp_path / "m.gguf", content[:length], ".")
    refused(
        tmp_path / "m.gguf",
        content[: len(content) - 100],
        rf"has \d+ bytes and needs {len(content)}",
    )


# name: (how to break a good file, what the message says)
ARCHITECTURE = "general.architecture"
TOKENS = "tokenizer.ggml.tokens"
BROKEN: dict[str, tuple[Callable[[Prompt], object], str]] = {
    "unknown metadata type": (lambda d: d.put(entry("x", 13, b"")), "unknown type 13"),
    "nested array": (
        lambda d: d.put(entry("x", 9, struct.pack("<IQ", 9, 0))),
        "array of the unsupported type 9",
    ),
    "unknown array type": (
        lambda d: d.put(entry("x", 9, struct.pack("<IQ", 77, 0))),
        "array of the unsupported type 77",
    ),
    "string outside": (lambda d: d.put(entry("x", 8, b"\xff" * 8)), "past the end"),
    "array outside": (
        lambda d: d.put(entry("x", 9, struct.pack("<IQ", 10, 1 << 61))),
        "past the end",
    ),
    "strings outside": (
        lambda d: d.put(entry("x", 9, struct.pack("<IQQ", 8, 1 << 60, 1 << 62))),
        "past the end",
    ),
    "key outside": (lambda d: d.entries.update(x=struct.pack("<Q", 1 << 50)), "past the end"),
    "bad key": (lambda d: d.entries.update(x=entry(b"\xff\xfe", 4, bytes(4))), "not UTF-8"),
    "duplicate key": (lambda d: d.entries.update(x=d.entries[ARCHITECTURE]), "twice"),
    "no architecture": (lambda d: d.entries.pop(ARCHITECTURE), "architecture"),
    "architecture a number": (lambda d: d.put(number(ARCHITECTURE, 1)), "type str"),
    "name a number": (lambda d: d.put(number("general.name", 1)), "type str"),
    "template a number": (lambda d: d.put(number("tokenizer.chat_template", 1)), "type str"),
    "BOS flag a number": (lambda d: d.put(number("tokenizer.ggml.add_bos_token", 1)), "type bool"),
    "adapter": (lambda d: d.put(words("general.type", "adapter")), "'adapter', not a model"),
    "split": (lambda d: d.put(number("split.count", 3)), "3 parts"),
    "no tensors": (lambda d: d.tensors.clear(), "no weights"),
    "alignment 0": (lambda d: d.put(number("general.alignment", 0)), "alignment"),
    "alignment 16": (lambda d: d.put(number("general.alignment", 16)), "too small"),
    "alignment 24": (lambda d: d.put(number("general.alignment", 24)), "alignment"),
    "alignment of another type": (
        lambda d: d.put(number("general.alignment", 32, types.UINT64)),
        "alignment",
    ),
    "alignment text": (lambda d: d.put(words("general.alignment", "32")), "alignment"),
    "no token list": (lambda d: d.entries.pop(TOKENS), "no vocabulary"),
    "no tokenizer": (lambda d: d.entries.pop("tokenizer.ggml.model"), "no vocabulary"),
    "empty token list": (lambda d: d.put(strings(TOKENS, [])), "vocabulary of 0 tokens"),
    "tokens numbers": (lambda d: d.put(numbers(TOKENS, [1] * 300)), "impossible vocabulary"),
    "few tokens": (lambda d: d.put(strings(TOKENS, [b"a"])), "for each token"),
    "few scores": (
        lambda d: d.put(numbers("tokenizer.ggml.scores", [0], types.FLOAT32)),
        "for each token",
    ),
    "scores integers": (lambda d: d.put(numbers("tokenizer.ggml.scores", [0] * 300)), "for each"),
    "few types": (lambda d: d.put(numbers("tokenizer.ggml.token_type", [1])), "for each token"),
    "types text": (lambda d: d.put(words("tokenizer.ggml.token_type", "1")), "for each token"),
    "bad byte token": (
        lambda d: d.put(numbers("tokenizer.ggml.token_type", [6] * 300)),
        "malformed byte token b'<unk>'",
    ),
    "duplicate token": (
        lambda d: d.put(strings(TOKENS, [b"<unk>"] * 300)),
        "some of them twice",
    ),
    "tokenizer": (lambda d: d.put(words("tokenizer.ggml.model", "rwkv")), "tokenizer 'rwkv'"),
    "no merges": (lambda d: d.put(words("tokenizer.ggml.model", "gpt2")), "merges"),
    "merges numbers": (lambda d: d.put(numbers("tokenizer.ggml.merges", [1])), "merges"),
    "no embedding": (
        lambda d: d.change("token_embd.weight", name="other.weight"),
        "lacks the tensor",
    ),
    "short embedding": (lambda d: d.change("token_embd.weight", shape=(32, 299)), "has shape"),
    "narrow embedding": (lambda d: d.change("token_embd.weight", shape=(16, 300)), "has shape"),
    "wrong attention": (lambda d: d.change("blk.0.attn_q.weight", shape=(32, 16)), "has shape"),
    "wrong norm": (lambda d: d.change("blk.1.ffn_norm.weight", shape=(16,)), "has shape"),
    "quantized norm": (lambda d: d.change("output_norm.weight", type=8), "of type Q8_0"),
    "integer weights": (lambda d: d.change("output.weight", type=24), "of type I8"),
    "5 dimensions": (lambda d: d.change("output.weight", shape=(1,) * 5), "5 dimensions"),
    "0 dimensions": (lambda d: d.change("output.weight", shape=()), "0 dimensions"),
    "dimension of 0": (lambda d: d.change("output.weight", shape=(32, 0)), "impossible shape"),
    "overflow": (
        lambda d: d.change("output.weight", shape=(1 << 32, 1 << 32)),
        "impossible shape",
    ),
    "unknown tensor type": (lambda d: d.change("output.weight", type=99), "unknown type 99"),
    "removed tensor type": (lambda d: d.change("output.weight", type=4), "unknown type 4"),
    "partial block": (lambda d: d.change("output.weight", type=12), "impossible shape"),
    "misaligned": (lambda d: d.change("output.weight", offset=16), "not aligned"),
    "overlap": (lambda d: d.change("output.weight", offset=32), "overlaps"),
    "outside": (lambda d: d.change("output.weight", offset=1 << 40), "is truncated"),
    "far outside": (lambda d: d.change("output.weight", offset=(1 << 64) - 32), "is truncated"),
    "duplicate tensor": (lambda d: d.change("output.weight", name="output_norm.weight"), "twice"),
    "long tensor name": (lambda d: d.change("output.weight", name="x" * 64), "64 characters"),
    "unnamed tensor": (lambda d: d.change("output.weight", name=""), "0 characters"),
    "heads not dividing": (
        lambda d: (
            d.entries.pop("llama.attention.key_length"),
            d.put(number("llama.attention.head_count", 3)),
        ),
        "do not divide",
    ),
    "KV heads not dividing": (
        lambda d: (
            d.put(number("llama.attention.head_count", 3)),
            d.put(number("llama.attention.head_count_kv", 2)),
        ),
        "KV heads",
    ),
    "rope too wide": (lambda d: d.put(number("llama.rope.dimension_count", 18)), "rotates 18"),
    "rope odd": (lambda d: d.put(number("llama.rope.dimension_count", 5)), "rotates 5"),
    "rope text": (lambda d: d.put(words("llama.rope.dimension_count", "16")), "rotates '16'"),
    "rope scaling": (lambda d: d.put(words("llama.rope.scaling.type", "odd")), "scaling 'odd'"),
    "epsilon NaN": (
        lambda d: d.put(
            entry("llama.attention.layer_norm_rms_epsilon", 6, struct.pack("<f", float("nan")))
        ),
        "is nan",
    ),
    "key length 0": (lambda d: d.put(number("llama.attention.key_length", 0)), "heads"),
    "experts": (lambda d: d.put(number("llama.expert_count", 9999)), "of 9999 experts"),
    "expert groups": (lambda d: d.put(number("llama.expert_group_count", 1)), "groups of experts"),
    "epsilon negative": (
        lambda d: d.put(
            entry("llama.attention.layer_norm_rms_epsilon", 6, struct.pack("<f", -1.0))
        ),
        "is -1.0",
    ),
    "more predicted layers than layers": (
        lambda d: d.put(number("llama.nextn_predict_layers", 3)),
        "impossible value",
    ),
    "output width": (
        lambda d: d.put(number("llama.embedding_length_out", 1 << 31)),
        "impossible value",
    ),
    "too few experts": (lambda d: d.put(number("llama.expert_used_count", 2)), "uses 2 of 0"),
    "layers short": (
        lambda d: d.put(numbers("llama.attention.head_count_kv", [1])),
        "impossible value",
    ),
}
BROKEN |= {
    f"{role} id outside": (
        lambda d, role=role: d.put(number(f"tokenizer.ggml.{role}_token_id", 300)),  # type: ignore[misc]
        "outside the vocabulary",
    )
    for role in ("bos", "eos", "eot", "unknown", "seperator", "padding", "fim_pre")
}
for _key in (
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "attention.head_count",
):
    BROKEN |= {
        f"no {_key}": (lambda d, key=_key: d.entries.pop(f"llama.{key}"), "lacks the metadata"),  # type: ignore[misc]
        f"{_key} 0": (lambda d, key=_key: d.put(number(f"llama.{key}", 0)), "impossible value"),  # type: ignore[misc]
        f"{_key} huge": (
            lambda d, key=_key: d.put(number(f"llama.{key}", 0xFFFFFFFF)),  # type: ignore[misc]
            "impossible value",
        ),
        f"{_key} text": (lambda d, key=_key: d.put(words(f"llama.{key}", "8")), "impossible value"),  # type: ignore[misc]
    }


@pytest.mark.parametrize(("damage", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_refuses(
    damage: Callable[[Prompt], object], message: str, tiny_file: Path, tmp_path: Path
) -> None:
    draft = Prompt(tiny_file)
    damage(draft)
    refused(tmp_path / "m.gguf", draft.build(), message)


# --- mutants -----------------------------------------------------------------------------------

MUTANTS = 1500
TIME_LIMIT = 60  # seconds for all mutants together; they need about five


def fields(model: gguf.GGUF) -> list[tuple[int, int]]:
    """Return position and size of the numbers that give a header its structure."""
    places, position = [(4, 4), (8, 8), (16, 8)], 24
    for key, raw in model.entries.items():
        kind = position + 8 + len(key.encode())
        places += [(position, 8), (kind, 4), (kind + 4, 4)]
        if isinstance(model.metadata[key], gguf.Array):
            places += [(kind + 8, 8), (kind + 16, 8)]
        position += len(raw)
    for tensor in model.tensors:
        dimensions = position + 8 + len(tensor.name.encode())
        sizes = [dimensions + 4 + 8 * axis for axis in range(len(tensor.shape))]
        kind = sizes[-1] + 8
        places += [(position, 8), (dimensions, 4), (kind, 4), (kind, 4), (kind + 4, 8)]
        places += [(size, 8) for size in sizes]
        position = kind + 12
    return places


def mutate(source: Path, rng: random.Random) -> bytes:
    """Return the file with one to three things wrong in its header."""
    if rng.random() < 0.3:
        return rearrange(Prompt(source), rng)
    model, content = gguf.read_gguf(source), bytearray(source.read_bytes())
    header, places = min(tensor.offset for tensor in model.tensors), fields(model)
    for _ in range(rng.choice((1, 1, 2, 3))):
        place, size = rng.choice(places)
        old = int.from_bytes(content[place : place + size], "little")
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
                content[place : place + size] = value.to_bytes(size, "little")
    return bytes(content)


def rearrange(draft: Prompt, rng: random.Random) -> bytes:
    """Swap, drop or exchange whole parts, so that the header itself stays readable."""
    one, other = rng.sample(list(draft.entries), 2)
    value = {key: draft.entries[key][8 + len(key) :] for key in (one, other)}
    first, second = rng.sample(range(len(draft.tensors)), 2)
    a, b = draft.tensors[first], draft.tensors[second]
    match rng.randrange(6):
        case 0:
            draft.entries[one] = text(one) + value[other]
        case 1:
            draft.entries[one], draft.entries[other] = (
                text(one) + value[other],
                text(other) + value[one],
            )
        case 2:
            del draft.entries[one]
        case 3:
            del draft.tensors[first]
        case 4:
            draft.tensors[first], draft.tensors[second] = (
                replace(a, name=b.name),
                replace(b, name=a.name),
            )
        case _:
            draft.tensors[first] = replace(a, type=rng.choice(list(types.TENSOR_TYPES)))
    return draft.build()


def known_to_ctransformers(model: gguf.GGUF) -> bool:
    """Return whether the file is of the kind that ctransformers was made for."""
    needed = {"tokenizer.ggml.scores", "tokenizer.ggml.token_type"}
    old_types = {0, 1, 2, 3, 6, 7, 8, 10, 11, 12, 13, 14}
    return (
        model.architecture == "llama"
        and needed <= model.metadata.keys()
        and "output.weight" in {tensor.name for tensor in model.tensors}
        and {tensor.type for tensor in model.tensors} <= old_types
    )


@pytest.fixture(scope="session")
def accepted(
    tiny_file: Path, tiny_tekken_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[Path]:
    """Mutants that `read` accepts; it must refuse the others with `ModelUnusable`."""
    folder, rng = tmp_path_factory.mktemp("mutants"), random.Random(20)
    kept = []
    for index in range(MUTANTS):
        source = tiny_tekken_file if index % 4 == 0 else tiny_file
        path = folder / f"{index:04}.gguf"
        path.write_bytes(mutate(source, rng))
        try:
            gguf.read_gguf(path)
        except ModelUnusable:
            path.unlink()
        else:
            kept.append(path)
    return kept


def test_mutants_are_refused_or_read(accepted: list[Path]) -> None:
    assert MUTANTS // 20 < len(accepted) < MUTANTS // 2


@pytest.mark.parametrize("engine", ["ctransformers", "xllamacpp"])
def test_engines_run_an_unharmed_file(engine: str, tiny_file: Path) -> None:
    child = subprocess.run(
        [sys.executable, __file__, engine, str(tiny_file)],
        capture_output=True,
        timeout=TIME_LIMIT,
        check=True,
    )
    assert child.stdout.splitlines()[1:] == [b"done"]


def test_ctransformers_survives_mutants(accepted: list[Path]) -> None:
    paths = [path for path in accepted if known_to_ctransformers(gguf.read_gguf(path))]
    assert deaths("ctransformers", paths) == {}


def test_llama_cpp_survives_mutants(accepted: list[Path]) -> None:
    assert deaths("xllamacpp", accepted) == {}


def deaths(engine: str, paths: list[Path]) -> dict[str, str]:
    """Evaluate each file with an engine in a child process; return which files ended one, how."""
    found: dict[str, str] = {}
    while paths:
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            command = [sys.executable, __file__, engine, *map(str, paths)]
            env = os.environ | {"GGML_NO_BACKTRACE": "1"}
            try:
                code = subprocess.call(command, stdout=out, stderr=err, env=env, timeout=TIME_LIMIT)
            except subprocess.TimeoutExpired:
                code = -9
            out.seek(0)
            err.seek(0)
            begun = out.read().count(b"open ")
            reason = err.read().decode(errors="replace").strip().splitlines()[-2:]
        if code == 0:
            break
        found[paths[begun - 1].name] = f"{code}: {reason}"
        paths = paths[begun:]
    return found


# --- the child process -------------------------------------------------------------------------


def evaluate_with_ctransformers(path: Path) -> None:
    from ctypes import c_int

    from ctransformers.llm import LLM, Config

    try:
        llm = LLM(str(path), "gguf", config=Config(context_length=64, threads=1), lib="basic")
    except RuntimeError:
        print("refused by the engine")
        return
    data = "Hello \N{SLIGHTLY SMILING FACE}\n".encode()
    buffer = (c_int * (len(data) + 18))()
    count = llm.ctransformers_llm_tokenize(data, True, buffer)
    llm.eval(buffer[:count])
    for _ in range(4):
        token = llm.sample(top_k=1)
        llm.detokenize([token], decode=False)
        llm.eval([token])


def evaluate_with_xllamacpp(path: Path) -> None:
    import xllamacpp

    with tempfile.TemporaryDirectory() as folder:
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx = params.n_batch = params.n_ubatch = 64
        params.verbosity = -1
        params.warmup = params.ui = params.endpoint_slots = params.fit_params = False
        params.no_extra_bufts = True
        params.cpuparams.n_threads = params.n_threads_http = 1
        params.cache_ram_mib = 0
        params.hostnames = [f"{folder}/s.sock"]
        try:
            server = xllamacpp.Server(params)
        except RuntimeError:
            print("refused by the engine")
            return
        ids = ask(f"{folder}/s.sock", "Hello \N{SLIGHTLY SMILING FACE}\n")
        server.handle_completions({"prompt": [1, *ids], "max_tokens": 4, "temperature": 0})


def ask(listener: str, content: str) -> list[int]:
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(listener)
    connection.request("POST", "/tokenize", json.dumps({"content": content}))
    tokens: list[int] = json.loads(connection.getresponse().read()).get("tokens", [])
    connection.close()
    return tokens


if __name__ == "__main__":
    evaluate = {
        "ctransformers": evaluate_with_ctransformers,
        "xllamacpp": evaluate_with_xllamacpp,
    }[sys.argv[1]]
    for argument in sys.argv[2:]:
        print("open", argument, flush=True)
        evaluate(Path(argument))
        print("done", flush=True)
    os._exit(0)
