"""Write a GGUF file whose greedy answer is a script, for any vocabulary and chat template.

A block without attention or feed-forward leaves each token's embedding as the state, and the output
matrix has a row for each step "after this token comes that one". So what follows depends on the
token before alone, and no token may come twice in a script.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import gguf
import numpy as np

_EMBEDDING = 64
_USER_DEFINED = 4


def write_scripted(
    path: Path,
    vocabulary: Path,
    template: str,
    script: Sequence[str],
    *,
    respelled: Mapping[int, str] | None = None,
) -> Path:
    """Write a model that continues a prompt that ends in `script[0]` with the rest, and return it.

    A token of the script is its text or `#ID`. `vocabulary` is a GGUF file with one. `respelled`
    gives tokens another text and the type USER_DEFINED.
    """
    old = gguf.GGUFReader(vocabulary)
    tokens: list[str] = old.fields["tokenizer.ggml.tokens"].contents()
    types: list[int] = old.fields["tokenizer.ggml.token_type"].contents()
    for token, text in (respelled or {}).items():
        tokens[token], types[token] = text, _USER_DEFINED
    chain = [_id_of(text, tokens) for text in script]
    assert len(set(chain[:-1])) == len(chain) - 1, "a token comes twice"
    random = np.random.default_rng(0)
    embedding = random.choice(np.array([-1.0, 1.0], np.float16), (len(tokens), _EMBEDDING))
    output = np.zeros((len(tokens), _EMBEDDING), np.float16)
    for before, after in pairwise(chain):
        output[after] += embedding[before] / 2
    writer = gguf.GGUFWriter(path, "llama")
    _add_shape(writer, len(tokens))
    for name, field in old.fields.items():
        if name.startswith("tokenizer.") and name != "tokenizer.chat_template":
            value = {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": types}.get(name)
            is_array = field.types[0] == gguf.GGUFValueType.ARRAY
            writer.add_key_value(
                name,
                field.contents() if value is None else value,
                field.types[0],
                sub_type=field.types[-1] if is_array else None,
            )
    writer.add_chat_template(template)
    writer.add_tensor("token_embd.weight", embedding)
    writer.add_tensor("output.weight", output)
    _add_empty_block(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _id_of(text: str, tokens: Sequence[str]) -> int:
    if text.startswith("#") and text[1:].isdigit():
        return int(text[1:])
    sentencepiece = text.replace(" ", "\u2581").replace("\n", "<0x0A>")
    byte_level = text.replace(" ", "\u0120").replace("\n", "\u010a")
    return next(tokens.index(each) for each in (text, sentencepiece, byte_level) if each in tokens)


def _add_shape(writer: gguf.GGUFWriter, vocabulary: int) -> None:
    writer.add_name("scripted")
    writer.add_block_count(1)
    writer.add_context_length(8192)
    writer.add_embedding_length(_EMBEDDING)
    writer.add_feed_forward_length(_EMBEDDING)
    writer.add_head_count(1)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(_EMBEDDING)
    writer.add_vocab_size(vocabulary)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)


def _add_empty_block(writer: gguf.GGUFWriter) -> None:
    ones = np.ones(_EMBEDDING, np.float32)
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", ones)
    zeros = np.zeros((_EMBEDDING, _EMBEDDING), np.float16)
    for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        writer.add_tensor(f"blk.0.{name}.weight", zeros)
