"""Write a GGUF file whose greedy answer is a script, for any vocabulary and chat template.

A block without attention or feed-forward leaves each token's embedding as the state, and the output
matrix has a row for each step "after this token comes that one". So what follows depends on the
token before alone, and no token may come twice in a script.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mistral_cli.models.gguf import reread_gguf
from mistral_cli.models.gguf.types import ARRAY, FLOAT32, INT32, STRING, UINT32

_EMBEDDING = 64
_USER_DEFINED = 4
_F32, _F16 = 0, 1
_ALIGNMENT = 32


def write_scripted(
    path: Path,
    vocabulary: Path,
    template: str,
    script: Sequence[str],
    *,
    respelled: Mapping[int, str] | None = None,
) -> Path:
    """Write a model that continues a prompt that ends in `script[0]` with the rest, and return it.

    A token of the script is its text or `#ID`. `vocabulary` is a GGUF file with one; its entries
    are copied as bytes, which takes a tenth of the time of `gguf.GGUFWriter`. `respelled` gives
    tokens another text and the type USER_DEFINED.
    """
    old = reread_gguf(vocabulary)
    tokens, types = list(old.tokens), list(old.token_types or ())
    for token, text in (respelled or {}).items():
        tokens[token], types[token] = text.encode(), _USER_DEFINED
    chain = [_id_of(text, tokens) for text in script]
    assert len(set(chain[:-1])) == len(chain) - 1, "a token comes twice"
    entries = {key: raw for key, raw in old.entries.items() if key.startswith("tokenizer.")}
    entries |= dict(_metadata(tokens, types, template))
    tensors = dict(_tensors(chain, len(tokens)))
    infos, data = b"", b""
    for name, values in tensors.items():
        shape = values.shape[::-1]
        kind = _F16 if values.dtype == np.float16 else _F32
        infos += _text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        infos += struct.pack("<IQ", kind, len(data))
        data += _padded(values.tobytes())
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(entries))
    path.write_bytes(_padded(head + b"".join(entries.values()) + infos) + data)
    return path


def _id_of(text: str, tokens: Sequence[bytes]) -> int:
    if text.startswith("#") and text[1:].isdigit():
        return int(text[1:])
    sentencepiece = text.replace(" ", "\u2581").replace("\n", "<0x0A>")
    byte_level = text.replace(" ", "\u0120").replace("\n", "\u010a")
    spellings = (text.encode(), sentencepiece.encode(), byte_level.encode())
    return next(tokens.index(each) for each in spellings if each in tokens)


def _metadata(
    tokens: Sequence[bytes], types: Sequence[int], template: str
) -> Iterator[tuple[str, bytes]]:
    """The entries of the file that are not the old ones."""
    counts = {
        "block_count": 1,
        "context_length": 8192,
        "embedding_length": _EMBEDDING,
        "feed_forward_length": _EMBEDDING,
        "attention.head_count": 1,
        "attention.head_count_kv": 1,
        "rope.dimension_count": _EMBEDDING,
        "vocab_size": len(tokens),
    }
    yield _entry("general.architecture", STRING, _text("llama"))
    for name, count in counts.items():
        yield _entry(f"llama.{name}", UINT32, struct.pack("<I", count))
    yield _entry("llama.attention.layer_norm_rms_epsilon", FLOAT32, struct.pack("<f", 1e-5))
    yield _entry("tokenizer.chat_template", STRING, _text(template))
    texts = b"".join(struct.pack("<Q", len(text)) + text for text in tokens)
    head = struct.pack("<IQ", STRING, len(tokens))
    yield _entry("tokenizer.ggml.tokens", ARRAY, head + texts)
    numbers = struct.pack(f"<IQ{len(types)}i", INT32, len(types), *types)
    yield _entry("tokenizer.ggml.token_type", ARRAY, numbers)


def _tensors(chain: Sequence[int], vocabulary: int) -> Iterator[tuple[str, NDArray[Any]]]:
    random = np.random.default_rng(0)
    embedding = random.choice(np.array([-1.0, 1.0], np.float16), (vocabulary, _EMBEDDING))
    output = np.zeros((vocabulary, _EMBEDDING), np.float16)
    for before, after in pairwise(chain):
        output[after] += embedding[before] / 2
    yield "token_embd.weight", embedding
    yield "output.weight", output
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        yield f"{name}.weight", np.ones(_EMBEDDING, np.float32)
    for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        yield f"blk.0.{name}.weight", np.zeros((_EMBEDDING, _EMBEDDING), np.float16)


def _entry(key: str, kind: int, value: bytes) -> tuple[str, bytes]:
    return key, _text(key) + struct.pack("<I", kind) + value


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % _ALIGNMENT)
