"""Read and check the header of a GGUF file (format: ggml's `docs/gguf.md`).

Inference engines are native code that trusts its input: a damaged header ends the process without
a Python exception. So no file reaches an engine before `read` has accepted it. Only the header is
looked at, never the weights, which takes milliseconds whatever the size of the model.
"""

from __future__ import annotations

import math
import mmap
import os
import stat
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from mistral_cli.errors import ModelUnusable

UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY, UINT64 = 4, 5, 6, 7, 8, 9, 10
_SCALARS = {
    0: struct.Struct("<B"),
    1: struct.Struct("<b"),
    2: struct.Struct("<H"),
    3: struct.Struct("<h"),
    UINT32: struct.Struct("<I"),
    INT32: struct.Struct("<i"),
    FLOAT32: struct.Struct("<f"),
    BOOL: struct.Struct("<?"),
    UINT64: struct.Struct("<Q"),
    11: struct.Struct("<q"),
    12: struct.Struct("<d"),
}

# ggml's tensor types: id -> (name, elements per block, bytes per block).
TENSOR_TYPES: Mapping[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 40),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
}
# Types that exist only inside computations: no engine can multiply with a weight stored so.
_NOT_FOR_WEIGHTS = {"Q8_1", "Q8_K", "I8", "I16", "I32", "I64", "F64"}

# llama.cpp's LLAMA_FTYPE_MOSTLY_* names by the value of `general.file_type`.
_FILE_TYPES: Mapping[object, str] = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    19: "IQ2_XXS",
    20: "IQ2_XS",
    21: "Q2_K_S",
    22: "IQ3_XS",
    23: "IQ3_XXS",
    24: "IQ1_S",
    25: "IQ4_NL",
    26: "IQ3_S",
    27: "IQ3_M",
    28: "IQ2_S",
    29: "IQ2_M",
    30: "IQ4_XS",
    31: "IQ1_M",
    32: "BF16",
    36: "TQ1_0",
    37: "TQ2_0",
    38: "MXFP4_MOE",
    39: "NVFP4",
    40: "Q1_0",
}

# BPE vocabularies for which llama.cpp puts BOS first without being told to (`llama-vocab.cpp`).
_BOS_BY_DEFAULT = {
    *("falcon-h1", "falcon3", "jina-v5-nano", "lfm2", "llama-bpe", "llama-v3", "llama3"),
    *("midm-2.0", "pixtral", "tekken"),
}

_DAMAGED = "The file is damaged or incomplete: download it again."
_CONVERT = "Use another GGUF of this model, or convert it again with a current llama.cpp."
_ANOTHER = "Give a model in GGUF format: a single file that ends in .gguf."


def _refuse(problem: str, hint: str = _DAMAGED) -> NoReturn:
    raise ModelUnusable(problem, hint=hint)


@dataclass(frozen=True)
class Array:
    """An array in the metadata, decoded only when asked for: vocabularies are large."""

    item_type: int
    count: int
    data: bytes = field(repr=False)

    def numbers(self) -> tuple[Any, ...]:
        """Return the items of an array of numbers or booleans."""
        return struct.unpack(f"<{self.count}{_SCALARS[self.item_type].format[-1]}", self.data)

    def strings(self) -> list[bytes]:
        """Return the items of an array of strings."""
        items, position, length_at = [], 0, _SCALARS[UINT64].unpack_from
        for _ in range(self.count):
            start = position + 8
            position = start + length_at(self.data, position)[0]
            items.append(self.data[start:position])
        return items


@dataclass(frozen=True)
class Tensor:
    """One tensor: `shape` as ggml counts it (row length first), `offset` and `size` in bytes.

    `offset` counts from the start of the file.
    """

    name: str
    shape: tuple[int, ...]
    type: int
    offset: int
    size: int

    @property
    def type_name(self) -> str:
        """Its ggml type, such as `Q4_K`."""
        return TENSOR_TYPES[self.type][0]

    @property
    def elements(self) -> int:
        """The number of weights in it."""
        return math.prod(self.shape)


@dataclass(frozen=True, eq=False)
class GGUF:
    """The checked header of a GGUF file; `read` makes it.

    `metadata` holds numbers, booleans, text and `Array`s; `entries` the bytes of each metadata
    entry as it is in the file (key, type, value), to be copied unchanged; `file_size` is in bytes.
    """

    path: Path
    version: int
    metadata: Mapping[str, object] = field(repr=False)
    entries: Mapping[str, bytes] = field(repr=False)
    tensors: tuple[Tensor, ...] = field(repr=False)
    file_size: int

    @property
    def architecture(self) -> str:
        """The network's kind, such as `llama` (which Mistral 7B is)."""
        return str(self.metadata["general.architecture"])

    @property
    def name(self) -> str | None:
        """The name that the model's maker gave it."""
        name = self.metadata.get("general.name")
        return None if name is None else str(name)

    def hparam(self, key: str, default: Any = None) -> Any:
        """Return the value of `<architecture>.<key>`; an array of numbers as a tuple."""
        value = self.metadata.get(f"{self.architecture}.{key}", default)
        return value.numbers() if isinstance(value, Array) and value.item_type != STRING else value

    def per_layer(self, key: str, default: Any = None) -> tuple[int, ...]:
        """Return a hyperparameter that may be one number or one number per layer, per layer."""
        value = self.hparam(key, default)
        return value if isinstance(value, tuple) else (value,) * self.block_count

    @property
    def context_length(self) -> int:
        """The context that the model was trained with, in tokens."""
        return int(self.hparam("context_length"))

    @property
    def block_count(self) -> int:
        """The number of layers."""
        return int(self.hparam("block_count"))

    @property
    def parameters(self) -> int:
        """The number of weights in all tensors."""
        return sum(tensor.elements for tensor in self.tensors)

    @property
    def quantization(self) -> str:
        """The file's quantization as llama.cpp names it, such as `Q4_K_M`."""
        declared = _FILE_TYPES.get(self.metadata.get("general.file_type"))
        if declared:
            return declared
        stored: Counter[str] = Counter()
        for tensor in self.tensors:
            stored[tensor.type_name] += tensor.size
        return stored.most_common(1)[0][0]

    @property
    def head_sizes(self) -> tuple[int, int]:
        """The length of one attention head's key and of its value."""
        default = self.hparam("embedding_length") // max(self.per_layer("attention.head_count"))
        return (
            self.hparam("attention.key_length", default),
            self.hparam("attention.value_length", default),
        )

    @property
    def kv_heads(self) -> tuple[int, ...]:
        """The number of key and value heads of each layer."""
        return self.per_layer("attention.head_count_kv", self.hparam("attention.head_count"))

    def kv_bytes(self, context_length: int) -> int:
        """Return the bytes of an F16 key and value cache of `context_length` tokens."""
        return 2 * context_length * sum(self.kv_heads) * sum(self.head_sizes)

    @cached_property
    def tokens(self) -> Sequence[bytes]:
        """The vocabulary as stored: text with `▁` for "llama", GPT-2's byte alphabet for "gpt2"."""
        tokens = self.metadata["tokenizer.ggml.tokens"]
        assert isinstance(tokens, Array)
        return tokens.strings()

    @cached_property
    def token_types(self) -> Sequence[int] | None:
        """The kind of each token: 1 normal, 2 unknown, 3 control, 4 user-defined, 6 byte."""
        types = self.metadata.get("tokenizer.ggml.token_type")
        return types.numbers() if isinstance(types, Array) else None

    @property
    def tokenizer_model(self) -> str:
        """The tokenizer's algorithm: `llama` (SentencePiece), `gpt2` (byte-level BPE), ..."""
        return str(self.metadata["tokenizer.ggml.model"])

    def token_id(self, role: str) -> int | None:
        """Return the id of a special token: "bos", "eos", "eot", "unknown", "padding", ..."""
        value = self.metadata.get(f"tokenizer.ggml.{role}_token_id")
        return value if isinstance(value, int) else None

    @property
    def bos_id(self) -> int | None:
        """The token that starts a text."""
        return self.token_id("bos")

    @property
    def eos_id(self) -> int | None:
        """The token that ends a text."""
        return self.token_id("eos")

    @property
    def eot_id(self) -> int | None:
        """The token that ends a turn of a conversation, where it is not `eos_id`."""
        return self.token_id("eot")

    @property
    def adds_bos(self) -> bool:
        """Whether a text is to start with `bos_id`; llama.cpp's default if the file is silent."""
        default = (
            self.tokenizer_model == "llama"
            or self.metadata.get("tokenizer.ggml.pre") in _BOS_BY_DEFAULT
        )
        return bool(self.metadata.get("tokenizer.ggml.add_bos_token", default))

    @property
    def chat_template(self) -> str | None:
        """The Jinja template of a conversation."""
        template = self.metadata.get("tokenizer.chat_template")
        return None if template is None else str(template)


def read(path: Path) -> GGUF:
    """Read and check the header of the file at `path`.

    What it returns can be given to an engine without danger to the process. Raises
    `ModelUnusable` for everything else, a file that cannot be opened included.
    """
    try:
        # A pipe would block at open, so look before.
        if not stat.S_ISREG(path.stat().st_mode):
            _refuse("is not a regular file", _ANOTHER)
        with path.open("rb") as file:
            _check_magic(file.read(64))
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                model = _parse(path, data)
        _check_kind(model)
        _check_hyperparameters(model)
        _check_vocabulary(model)
        _check_shapes(model)
    except ModelUnusable as error:
        raise ModelUnusable(f"{path}: {error.message}", hint=error.hint) from None
    except (OSError, ValueError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error
        hint = "Check the path and its permissions."
        raise ModelUnusable(f"{path}: cannot be read: {reason}", hint=hint) from error
    return model


# --- reading -----------------------------------------------------------------------------------

_MAGIC = b"GGUF"
_FIXED_PART = 24  # bytes: magic, version, number of tensors, number of metadata entries
_MOST_ENTRIES = 1 << 16  # of tensors, and of metadata entries; real models have hundreds
_MOST_NAME_BYTES = 63  # ggml's GGML_MAX_NAME, less its final NUL
_LEAST_ALIGNMENT = 32  # ggml computes on mapped weights in place, and aborts below this
_OTHER_FORMATS = {
    b"version https://git-lfs": ("is a Git LFS pointer, not the model", "Run `git lfs pull`."),
    b"<": ("is a web page, not a model", "Download the file itself, not the page that shows it."),
    b"PK\x03\x04": ("is a ZIP or PyTorch file, not GGUF", _ANOTHER),
    b"lmgg": ("is in GGML format, which came before GGUF", _CONVERT),
    b"tjgg": ("is in GGJT format, which came before GGUF", _CONVERT),
}


def _check_magic(start: bytes) -> None:
    if start[8:10] == b'{"':
        _refuse("is a safetensors file, not GGUF", _ANOTHER)
    for magic, (problem, hint) in _OTHER_FORMATS.items():
        if start.lstrip().startswith(magic):
            _refuse(problem, hint)
    if not start:
        _refuse("is empty")
    if not start.startswith(_MAGIC):
        _refuse("is not a GGUF file", _ANOTHER)
    if len(start) < _FIXED_PART:
        _refuse(f"is too short: {len(start)} bytes")


class _Cursor:
    """A position in the header; whatever runs past the end of the file is refused."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.position = len(_MAGIC)

    def skip(self, length: int) -> int:
        """Step over `length` bytes and return where they start."""
        start = self.position
        if length > len(self.data) - start:
            _refuse("the header runs past the end of the file")
        self.position = start + length
        return start

    def number(self, kind: int) -> Any:
        layout = _SCALARS[kind]
        return layout.unpack_from(self.data, self.skip(layout.size))[0]

    def string(self) -> bytes:
        start = self.skip(self.number(UINT64))
        return self.data[start : self.position]

    def name(self, what: str) -> str:
        raw = self.string()
        try:
            return raw.decode()
        except UnicodeDecodeError:
            _refuse(f"a {what} is not UTF-8: {raw[:40]!r}")

    def value(self, key: str) -> object:
        kind = self.number(UINT32)
        if kind == STRING:
            return self.string().decode("utf-8", "replace")
        if kind == ARRAY:
            return self._array(key)
        if kind not in _SCALARS:
            _refuse(f"metadata {key!r} has the unknown type {kind}")
        return self.number(kind)

    def _array(self, key: str) -> Array:
        kind, count = self.number(UINT32), self.number(UINT64)
        start = self.position
        if kind == STRING:
            self._skip_strings(count)
        elif kind in _SCALARS:
            self.skip(count * _SCALARS[kind].size)
        else:
            _refuse(f"metadata {key!r} is an array of the unsupported type {kind}")
        return Array(kind, count, self.data[start : self.position])

    def _skip_strings(self, count: int) -> None:
        # The hot spot: a vocabulary has 32,000 strings and more.
        data, position, length_at = self.data, self.position, _SCALARS[UINT64].unpack_from
        try:
            for _ in range(count):
                position += 8 + length_at(data, position)[0]
        except (struct.error, OverflowError):
            position = len(data) + 1
        self.skip(position - self.position)


def _parse(path: Path, data: mmap.mmap) -> GGUF:
    cursor = _Cursor(data)
    version = cursor.number(UINT32)
    if version >> 16:
        _refuse("is a big-endian GGUF file, which no engine reads here", _CONVERT)
    if version not in (2, 3):
        _refuse(f"is of GGUF version {version}; versions 2 and 3 are supported", _CONVERT)
    tensor_count, entry_count = cursor.number(UINT64), cursor.number(UINT64)
    if max(tensor_count, entry_count) > _MOST_ENTRIES:
        _refuse(f"declares {tensor_count} tensors and {entry_count} metadata entries")
    metadata: dict[str, object] = {}
    entries: dict[str, bytes] = {}
    for _ in range(entry_count):
        start = cursor.position
        key = cursor.name("metadata key")
        if key in metadata:
            _refuse(f"has the metadata key {key!r} twice")
        metadata[key] = cursor.value(key)
        entries[key] = data[start : cursor.position]
    alignment = _alignment(metadata, entries)
    tensors = _parse_tensors(cursor, tensor_count, alignment)
    _check_extents(tensors, len(data))
    return GGUF(path, version, metadata, entries, tensors, len(data))


def _alignment(metadata: Mapping[str, object], entries: Mapping[str, bytes]) -> int:
    key = "general.alignment"
    alignment = metadata.get(key, 32)
    # llama.cpp aborts on any type but UINT32; the type follows the key and its 8-byte length.
    stored_as_uint32 = key not in entries or entries[key][8 + len(key)] == UINT32
    if not (isinstance(alignment, int) and stored_as_uint32 and alignment.bit_count() == 1):
        _refuse(f"has the impossible alignment {alignment!r}")
    if alignment < _LEAST_ALIGNMENT:
        _refuse(f"has the alignment {alignment}, too small for the engines", _CONVERT)
    return alignment


def _parse_tensors(cursor: _Cursor, count: int, alignment: int) -> tuple[Tensor, ...]:
    tensors: dict[str, Tensor] = {}
    for _ in range(count):
        tensor = _parse_tensor(cursor, alignment)
        if tensor.name in tensors:
            _refuse(f"has the tensor {tensor.name!r} twice")
        tensors[tensor.name] = tensor
    start = cursor.position + -cursor.position % alignment
    return tuple(
        Tensor(each.name, each.shape, each.type, start + each.offset, each.size)
        for each in tensors.values()
    )


def _parse_tensor(cursor: _Cursor, alignment: int) -> Tensor:
    """Read one tensor's description; its offset counts from the start of the tensor data."""
    name = cursor.name("tensor name")
    if not 0 < len(name.encode()) <= _MOST_NAME_BYTES:
        _refuse(f"has a tensor with a name of {len(name)} characters")
    dimensions = cursor.number(UINT32)
    if not 1 <= dimensions <= 4:
        _refuse(f"tensor {name!r} has {dimensions} dimensions")
    shape = tuple(cursor.number(UINT64) for _ in range(dimensions))
    kind, offset = cursor.number(UINT32), cursor.number(UINT64)
    if kind not in TENSOR_TYPES:
        _refuse(f"tensor {name!r} has the unknown type {kind}", _CONVERT)
    _, block, block_bytes = TENSOR_TYPES[kind]
    if not 0 < math.prod(shape) < 1 << 62 or shape[0] % block:
        _refuse(f"tensor {name!r} has the impossible shape {shape}")
    if offset % alignment:
        _refuse(f"tensor {name!r} is not aligned to {alignment} bytes")
    return Tensor(name, shape, kind, offset, math.prod(shape) // block * block_bytes)


def _check_extents(tensors: tuple[Tensor, ...], file_size: int) -> None:
    end = 0
    for tensor in sorted(tensors, key=lambda each: each.offset):
        if tensor.offset < end:
            _refuse(f"tensor {tensor.name!r} overlaps another")
        end = tensor.offset + tensor.size
    if end > file_size:
        _refuse(f"is truncated: it has {file_size} bytes and needs {end}")


# --- checking ----------------------------------------------------------------------------------

# Others are not for generating text, and llama.cpp aborts or hangs on some files of theirs.
_TOKENIZERS = {"llama", "gpt2", "gemma4"}
_MOST_TOKENS = 1 << 21
_BYTE_TOKEN = 6  # in `tokenizer.ggml.token_type`
_MOST_EXPERTS = 256
_MOST = {  # hyperparameters that every model has, and values beyond anything trained
    "block_count": 512,
    "context_length": 1 << 27,
    "embedding_length": 1 << 18,
    "attention.head_count": 1 << 12,
    "feed_forward_length": 1 << 20,
}
_ONE_FOR_ALL_LAYERS = {"block_count", "context_length", "embedding_length"}
_ROPE_SCALINGS = {"none", "linear", "yarn", "longrope"}
_TYPES: Mapping[str, type] = {
    "general.architecture": str,
    "general.type": str,
    "general.name": str,
    "general.file_type": int,
    "split.count": int,
    "tokenizer.ggml.model": str,
    "tokenizer.ggml.pre": str,
    "tokenizer.ggml.add_bos_token": bool,
    "tokenizer.chat_template": str,
}


def _check_kind(model: GGUF) -> None:
    """Refuse a file that is no whole model, and values that are not of their key's type."""
    for key, expected in _TYPES.items():
        if key in model.metadata and type(model.metadata[key]) is not expected:
            _refuse(f"metadata {key!r} is not of type {expected.__name__}")
    parts = model.metadata.get("split.count", 1)
    if isinstance(parts, int) and parts > 1:
        _refuse(
            f"is one of {parts} parts of a split model",
            "Join them with `llama-gguf-split --merge`, or use a single-file GGUF.",
        )
    kind = model.metadata.get("general.type", "model")
    if kind != "model":
        _refuse(f"holds the GGUF type {kind!r}, not a model", "Give the base model's GGUF file.")
    if not model.metadata.get("general.architecture"):
        _refuse("does not say its architecture")
    if not model.tensors:
        _refuse("holds no weights", "This is a vocabulary only: give the model's GGUF file.")


def _check_hyperparameters(model: GGUF) -> None:
    for key, most in _MOST.items():
        _check_counts(model, key, most)
    _check_attention(model)
    for key, value in model.metadata.items():
        negative_epsilon = key.endswith("epsilon") and isinstance(value, float) and value < 0
        if negative_epsilon or (isinstance(value, float) and not math.isfinite(value)):
            _refuse(f"metadata {key!r} is {value}")
    for key, most in (
        ("nextn_predict_layers", model.block_count),
        ("embedding_length_out", 1 << 18),
    ):
        if not _is_count(model.hparam(key, 0), most, 0):
            _refuse(f"metadata '{model.architecture}.{key}' has an impossible value")
    if model.hparam("rope.scaling.type", "none") not in _ROPE_SCALINGS:
        _refuse(f"has the unknown RoPE scaling {model.hparam('rope.scaling.type')!r}", _CONVERT)
    _check_experts(model)


def _check_experts(model: GGUF) -> None:
    """Refuse counts of experts that llama.cpp asserts on; without experts all must be zero."""
    experts, used = model.hparam("expert_count", 0), model.hparam("expert_used_count", 0)
    if not (_is_count(experts, _MOST_EXPERTS, 0) and _is_count(used, experts, min(experts, 1))):
        _refuse(f"uses {used!r} of {experts!r} experts")
    groups, used = model.hparam("expert_group_count", 0), model.hparam("expert_group_used_count", 0)
    divides = _is_count(groups, experts, 0) and (groups == 0 or experts % groups == 0)
    if not (divides and _is_count(used, groups, 0)):
        _refuse(f"uses {used!r} of {groups!r} groups of experts")


def _is_count(value: object, most: int, least: int = 1) -> bool:
    return type(value) is int and least <= value <= most


def _check_counts(model: GGUF, key: str, most: int) -> None:
    """Refuse a hyperparameter that is missing, not a number (or one per layer), or absurd."""
    value = model.hparam(key)
    if value is None:
        _refuse(f"lacks the metadata '{model.architecture}.{key}'")
    if isinstance(value, tuple) and key not in _ONE_FOR_ALL_LAYERS:
        # Some architectures have layers without attention, so a zero is possible here.
        right = len(value) == model.block_count and any(value)
        right = right and all(_is_count(item, most, 0) for item in value)
    else:
        right = _is_count(value, most)
    if not right:
        _refuse(f"metadata '{model.architecture}.{key}' has an impossible value")


def _check_attention(model: GGUF) -> None:
    heads, embedding = model.per_layer("attention.head_count"), model.hparam("embedding_length")
    if model.hparam("attention.head_count_kv") is not None:
        _check_counts(model, "attention.head_count_kv", max(heads))
    if any(kv and count % kv for count, kv in zip(heads, model.kv_heads, strict=True)):
        _refuse("has a number of attention heads that its KV heads do not divide")
    if model.hparam("attention.key_length") is None and embedding % max(heads):
        _refuse(f"has {max(heads)} attention heads, which do not divide {embedding}")
    if not all(_is_count(size, embedding) for size in model.head_sizes):
        _refuse("has an impossible size of attention heads")
    rotated = model.hparam("rope.dimension_count", 2)
    if not _is_count(rotated, model.head_sizes[0]) or rotated % 2:
        _refuse(f"rotates {rotated!r} dimensions of attention heads of {model.head_sizes[0]}")


def _check_vocabulary(model: GGUF) -> None:
    tokens = model.metadata.get("tokenizer.ggml.tokens")
    if model.metadata.get("tokenizer.ggml.model", "llama") not in _TOKENIZERS:
        _refuse(f"has the unsupported tokenizer {model.tokenizer_model!r}", _CONVERT)
    if "tokenizer.ggml.model" not in model.metadata or not isinstance(tokens, Array):
        _refuse("has no vocabulary", _CONVERT)
    if tokens.item_type != STRING or not 1 <= tokens.count <= _MOST_TOKENS:
        _refuse(f"has an impossible vocabulary of {tokens.count} tokens")
    for key, kinds in (("scores", {FLOAT32}), ("token_type", {INT32, UINT32})):
        array = model.metadata.get(f"tokenizer.ggml.{key}", Array(min(kinds), tokens.count, b""))
        right = isinstance(array, Array) and array.item_type in kinds
        if not (right and isinstance(array, Array) and array.count == tokens.count):
            _refuse(f"does not have one of 'tokenizer.ggml.{key}' for each token")
    merges = model.metadata.get("tokenizer.ggml.merges")
    right = isinstance(merges, Array) and merges.item_type == STRING
    if not right and (merges is not None or model.tokenizer_model == "gpt2"):
        _refuse("has a vocabulary without the merges that it needs", _CONVERT)
    for key, value in model.metadata.items():
        special = key.startswith("tokenizer.ggml.") and key.endswith("_token_id")
        if special and not _is_count(value, tokens.count - 1, 0):
            _refuse(f"metadata {key!r} is {value!r}, outside the vocabulary of {tokens.count}")
    _check_tokens(model)


def _check_tokens(model: GGUF) -> None:
    """Refuse tokens that abort llama.cpp: the same one twice, and malformed byte tokens."""
    # It reads tokens as C strings, and gives those that are empty names of their own.
    tokens = [each.partition(b"\0")[0] if b"\0" in each else each for each in model.tokens]
    distinct = set(tokens) - {b""}
    if len(distinct) + tokens.count(b"") != len(tokens):
        _refuse(f"has {len(tokens)} tokens, some of them twice", _CONVERT)
    valid = {b"<0x%02X>" % byte for byte in range(256)}
    for token, kind in zip(model.tokens, model.token_types or (), strict=False):
        if kind == _BYTE_TOKEN and token not in valid:
            _refuse(f"has the malformed byte token {token[:40]!r}")


def _check_shapes(model: GGUF) -> None:
    """Refuse tensors that do not fit the hyperparameters.

    The embedding is common to all architectures; the rest is known for "llama", and an absent
    tensor is left to the engines, which say so themselves.
    """
    tensors = {tensor.name: tensor for tensor in model.tensors}
    shapes = _llama_shapes(model) if model.architecture == "llama" else {}
    embedding = (model.hparam("embedding_length"), len(model.tokens))
    shapes["token_embd.weight"] = embedding
    if "token_embd.weight" not in tensors:
        _refuse("lacks the tensor 'token_embd.weight'", _CONVERT)
    for name, shape in shapes.items():
        tensor = tensors.get(name)
        if not tensor:
            continue
        if tensor.shape != shape:
            _refuse(f"tensor {name!r} has shape {tensor.shape}, expected {shape}")
        # Engines multiply by the norms directly, which works with plain floats only.
        wrong = tensor.type_name in _NOT_FOR_WEIGHTS if len(tensor.shape) > 1 else tensor.type != 0
        if wrong:
            _refuse(f"tensor {name!r} cannot be of type {tensor.type_name}", _CONVERT)


def _llama_shapes(model: GGUF) -> dict[str, tuple[int, ...]]:
    width, (key, value) = model.hparam("embedding_length"), model.head_sizes
    shapes: dict[str, tuple[int, ...]] = {
        "output.weight": (width, len(model.tokens)),
        "output_norm.weight": (width,),
    }
    heads, inner = model.per_layer("attention.head_count"), model.per_layer("feed_forward_length")
    for layer in range(model.block_count):
        count, kv, wide = heads[layer], model.kv_heads[layer], inner[layer]
        parts: dict[str, tuple[int, ...]] = {
            "attn_norm": (width,),
            "attn_q": (width, count * key),
            "attn_k": (width, kv * key),
            "attn_v": (width, kv * value),
            "attn_output": (count * value, width),
            "ffn_norm": (width,),
            "ffn_gate": (width, wide),
            "ffn_up": (width, wide),
            "ffn_down": (wide, width),
        }
        shapes |= {f"blk.{layer}.{part}.weight": shape for part, shape in parts.items()}
    return shapes
