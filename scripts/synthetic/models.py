"""Write GGUF files for tests and benchmarks: Mistral's own vocabularies, random weights."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import gguf
import mistral_common
import numpy as np
from mistral_common.tokens.tokenizers.tekken import Tekkenizer
from numpy.typing import NDArray
from sentencepiece import SentencePieceProcessor

Version = Literal["v1", "v2", "v3", "v7"]

_DATA = Path(mistral_common.__file__).parent / "data"
_SENTENCEPIECE = {
    "v1": "tokenizer.model.v1",
    "v2": "mistral_instruct_tokenizer_240216.model.v2",
    "v3": "mistral_instruct_tokenizer_240323.model.v3",
    "v7": "mistral_instruct_tokenizer_241114.model.v7",
}
_TEKKEN = "tekken_240911.json"

_CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% else %}"
    "{{ ' ' + message['content'] + eos_token }}{% endif %}{% endfor %}"
)

_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6


def write_mistral(
    path: Path,
    version: Version = "v1",
    *,
    layers: int = 2,
    embedding: int = 64,
    heads: int = 4,
    kv_heads: int = 2,
    feed_forward: int = 128,
    context_length: int = 512,
    seed: int = 0,
    quantization: str = "F32",
    vocabulary: int | None = None,
    metadata: Mapping[str, Any] | None = None,
    gguf_version: int = 2,
) -> Path:
    """Write a model that both engines load, and return `path`.

    Its greedy output is varied, the same every time, and never a control or byte token.
    `quantization` is a ggml type: F32, F16, Q4_0, Q8_0, ... or Q4_K (for sizes in multiples of
    256), or the mixture Q4_K_M. `vocabulary` keeps only the first tokens. `metadata` adds entries
    or replaces them.
    """
    pieces = SentencePieceProcessor(model_file=str(_DATA / _SENTENCEPIECE[version]))
    size = vocabulary or pieces.vocab_size()
    types = [_sentencepiece_type(pieces, token) for token in range(size)]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(f"Tiny Mistral {version}")
    _add_hyperparameters(writer, layers, embedding, heads, kv_heads, feed_forward, context_length)
    writer.add_file_type(gguf.LlamaFileType[_FILE_TYPES.get(quantization, "ALL_F32")])
    writer.add_tokenizer_model("llama")
    writer.add_token_list([pieces.id_to_piece(token).encode() for token in range(size)])
    writer.add_token_scores([pieces.get_score(token) for token in range(size)])
    writer.add_token_types(types)
    _add_special_ids(writer)
    writer.add_chat_template(_CHAT_TEMPLATE)
    _add_metadata(writer, metadata or {})
    kv_width = embedding // heads * kv_heads
    weights = _Weights(writer, quantization, seed)
    weights.add_all(layers, embedding, kv_width, feed_forward, types)
    return _finish(writer, path, gguf_version)


def write_tekken(path: Path, *, seed: int = 0, vocabulary: int | None = None) -> Path:
    """Write a model with Mistral's Tekken vocabulary (BPE), which only llama.cpp loads.

    `vocabulary` keeps only the first tokens; 1,000 of them are control tokens.
    """
    tekken = json.loads((_DATA / _TEKKEN).read_text("utf-8"))
    size = vocabulary or tekken["config"]["default_vocab_size"]
    specials = _tekken_specials(tekken["config"]["default_num_special_tokens"])
    ranked = [base64.b64decode(token["token_bytes"]) for token in tekken["vocab"]]
    ranked = ranked[: size - len(specials)]
    types = [_CONTROL] * len(specials) + [_NORMAL] * len(ranked)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("Tiny Mistral tekken")
    _add_hyperparameters(writer, 1, 32, 2, 1, 32, 512)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("tekken")
    writer.add_token_list([text.encode() for text in specials + [_spell(raw) for raw in ranked]])
    writer.add_token_types(types)
    writer.add_token_merges(list(_merges(ranked)))
    _add_special_ids(writer)
    _Weights(writer, "Q8_0", seed).add_all(1, 32, 16, 32, types)
    return _finish(writer, path, 3)


def write_smollm2_for_ctransformers(source: Path, destination: Path) -> Path:
    """Rewrite a SmolLM2 GGUF so that ctransformers loads it and prints it correctly.

    The llama.cpp in ctransformers, of September 2023, needs scores, a separate output matrix, and
    tokens that are raw bytes instead of GPT-2's spelling of them. The merges stay as they are.
    """
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(destination, "llama")
    replaced = {"general.architecture", "tokenizer.ggml.tokens", "tokenizer.ggml.pre"}
    for key, entry in reader.fields.items():
        kind, item = entry.types[0], entry.types[-1]
        if not key.startswith("GGUF.") and key not in replaced:
            item_type = item if kind == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(key, entry.contents(), kind, sub_type=item_type)
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    types = reader.fields["tokenizer.ggml.token_type"].contents()
    raw = [
        _unspell(text) if kind == _NORMAL else text.encode()
        for text, kind in zip(tokens, types, strict=True)
    ]
    writer.add_token_list(raw)
    writer.add_token_scores([0.0] * len(raw))
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    tensors.setdefault("output.weight", tensors["token_embd.weight"])
    for name, tensor in tensors.items():
        writer.add_tensor(name, np.array(tensor.data), raw_dtype=tensor.tensor_type)
    return _finish(writer, destination, 3)


def write_smollm2_in_f32(source: Path, destination: Path) -> Path:
    """Copy a GGUF file with its weights as 32-bit floats."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(destination, "llama")
    for key, entry in reader.fields.items():
        kind, item = entry.types[0], entry.types[-1]
        if not key.startswith("GGUF.") and key not in ("general.architecture", "general.file_type"):
            item_type = item if kind == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(key, entry.contents(), kind, sub_type=item_type)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, gguf.quants.dequantize(tensor.data, tensor.tensor_type))
    return _finish(writer, destination, 3)


# --- metadata ----------------------------------------------------------------------------------

_FILE_TYPES = {"F16": "MOSTLY_F16", "Q4_K": "MOSTLY_Q4_K_M", "Q4_K_M": "MOSTLY_Q4_K_M"} | {
    name: f"MOSTLY_{name}" for name in ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "BF16")
}


def _add_hyperparameters(
    writer: gguf.GGUFWriter,
    layers: int,
    embedding: int,
    heads: int,
    kv_heads: int,
    feed_forward: int,
    context_length: int,
) -> None:
    writer.add_context_length(context_length)
    writer.add_embedding_length(embedding)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(feed_forward)
    writer.add_rope_dimension_count(embedding // heads)
    writer.add_rope_freq_base(10000.0)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_quantization_version(2)


def _add_special_ids(writer: gguf.GGUFWriter) -> None:
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def _add_metadata(writer: gguf.GGUFWriter, metadata: Mapping[str, Any]) -> None:
    kinds = {
        bool: gguf.GGUFValueType.BOOL,
        int: gguf.GGUFValueType.UINT32,
        float: gguf.GGUFValueType.FLOAT32,
        str: gguf.GGUFValueType.STRING,
    }
    for key, value in metadata.items():
        writer.kv_data[0].pop(key, None)
        writer.add_key_value(key, value, kinds[type(value)])


def _sentencepiece_type(pieces: SentencePieceProcessor, token: int) -> int:
    if pieces.is_unknown(token):
        return _UNKNOWN
    if pieces.is_control(token):
        return _CONTROL
    return _BYTE if pieces.is_byte(token) else _NORMAL


# --- byte-level BPE ----------------------------------------------------------------------------


def _byte_alphabet() -> str:
    """Return GPT-2's letter for each byte: a printable byte stays, others start at U+0100."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return "".join(chr(byte if byte in printable else next(others)) for byte in range(256))


_ALPHABET = _byte_alphabet()
_LETTERS = dict(enumerate(_ALPHABET))
_BYTES = {letter: byte for byte, letter in enumerate(_ALPHABET)}


def _spell(raw: bytes) -> str:
    return raw.decode("latin-1").translate(_LETTERS)


def _unspell(text: str) -> bytes:
    return bytes(_BYTES[letter] for letter in text)


def _tekken_specials(count: int) -> list[str]:
    named = [str(token["token_str"]) for token in Tekkenizer.DEPRECATED_SPECIAL_TOKENS]
    return named + [f"<SPECIAL_{token}>" for token in range(len(named), count)]


def _merges(ranked: list[bytes]) -> Iterator[str]:
    """Yield every way to join two tokens into a third, best first.

    Tekken ranks the results of merges, GGUF the merges themselves. All merges with the same
    result are neighbours here, so the order is the same.
    """
    spelled = {raw: _spell(raw) for raw in ranked}
    for token in ranked:
        for cut in range(1, len(token)):
            left, right = spelled.get(token[:cut]), spelled.get(token[cut:])
            if left and right:
                yield f"{left} {right}"


# --- weights -----------------------------------------------------------------------------------


class _Weights:
    """Adds random matrices, scaled so that every layer matters and the logits are far apart."""

    def __init__(self, writer: gguf.GGUFWriter, quantization: str, seed: int) -> None:
        self._writer = writer
        self._type = gguf.GGMLQuantizationType[quantization.removesuffix("_M")]
        self._mixed = quantization == "Q4_K_M"
        self._random = np.random.default_rng(seed)

    def add_all(
        self, layers: int, embedding: int, kv_width: int, feed_forward: int, types: list[int]
    ) -> None:
        # A zero row gives a logit of zero, so that the text never ends early and has no odd bytes.
        silent = np.array(types) != _NORMAL
        self._matrix("token_embd", len(types), embedding, embedding**0.5)
        for layer in range(layers):
            block = f"blk.{layer}."
            self._norm(f"{block}attn_norm", embedding)
            self._matrix(f"{block}attn_q", embedding, embedding)
            self._matrix(f"{block}attn_k", kv_width, embedding)
            better = self._mixed and _has_more_bits(layer, layers)
            self._matrix(f"{block}attn_v", kv_width, embedding, better=better)
            self._matrix(f"{block}attn_output", embedding, embedding)
            self._norm(f"{block}ffn_norm", embedding)
            self._matrix(f"{block}ffn_gate", feed_forward, embedding)
            self._matrix(f"{block}ffn_up", feed_forward, embedding)
            self._matrix(f"{block}ffn_down", embedding, feed_forward, better=better)
        self._norm("output_norm", embedding)
        self._matrix("output", len(types), embedding, 4.0, silent, better=self._mixed)

    def _norm(self, name: str, width: int) -> None:
        self._writer.add_tensor(f"{name}.weight", np.ones(width, np.float32))

    def _matrix(
        self,
        name: str,
        rows: int,
        columns: int,
        gain: float = 1.0,
        silent: NDArray[np.bool_] | None = None,
        better: bool = False,
    ) -> None:
        spread = gain / columns**0.5
        kind = gguf.GGMLQuantizationType.Q6_K if better else self._type
        if better:
            data = self._q6_k(rows, columns, spread)
        elif kind == gguf.GGMLQuantizationType.Q4_K:
            data = self._q4_k(rows, columns, spread)
        else:
            values = self._random.standard_normal((rows, columns), np.float32) * spread
            data = gguf.quants.quantize(values, self._type)
        if silent is not None:
            data[silent] = 0
        self._writer.add_tensor(f"{name}.weight", data, raw_dtype=kind)

    def _q4_k(self, rows: int, columns: int, spread: float) -> NDArray[np.uint8]:
        """Return random blocks (ggml's `block_q4_K`: two F16 scales, 12 + 128 packed bytes)."""
        blocks = self._random.integers(0, 256, (rows * columns // 256, 144), dtype=np.uint8)
        # Sub-scales average 31 and quants 7.5, so that a minimum 7 times the scale centres them.
        scales = np.array([spread / 170, 7 * spread / 170], np.float16)
        blocks[:, :4] = scales.view(np.uint8)
        return blocks.reshape(rows, columns // 256 * 144)

    def _q6_k(self, rows: int, columns: int, spread: float) -> NDArray[np.uint8]:
        """Return random blocks (ggml's `block_q6_K`: 192 packed bytes, 16 scales, an F16)."""
        blocks = self._random.integers(0, 256, (rows * columns // 256, 210), dtype=np.uint8)
        blocks[:, 192:208] = 16  # sub-scales
        # Quants lie between -32 and 31, 18.5 from zero in the quadratic mean.
        blocks[:, 208:] = np.array([spread / 18.5 / 16], np.float16).view(np.uint8)
        return blocks.reshape(rows, columns // 256 * 210)


def _has_more_bits(layer: int, layers: int) -> bool:
    """Whether llama.cpp's Q4_K_M has this layer's `attn_v` and `ffn_down` in Q6_K."""
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


def _finish(writer: gguf.GGUFWriter, path: Path, version: int) -> Path:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with path.open("r+b") as file:  # versions 2 and 3 differ only in this number
        file.seek(4)
        file.write(struct.pack("<I", version))
    return path
