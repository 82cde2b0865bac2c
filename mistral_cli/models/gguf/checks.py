"""Refuses a header that could crash native code, or that no engine can use."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Mapping, Sequence, Set
from itertools import pairwise
from typing import NoReturn

from mistral_cli.errors import ModelUnusable
from mistral_cli.models.gguf.kinds import other_kind
from mistral_cli.models.gguf.known import ARCHITECTURES
from mistral_cli.models.gguf.model import GGUF, Array
from mistral_cli.models.gguf.types import (
    BYTE_TOKEN,
    FLOAT32,
    INT32,
    NOT_FOR_WEIGHTS,
    SAMPLING_PREFIX,
    STRING,
    TENSOR_TYPES,
    UINT32,
)

# Next steps for the user.
DAMAGED = "The file is damaged or incomplete: download it again."
CONVERT = "Use another GGUF of this model, or convert it again with a current llama.cpp."
ANOTHER = "Use a model in GGUF format: a file whose name ends in .gguf."
_NEWER = "Update this program (pip install --upgrade mistral-cli), or use another model."
_NOT_TEXT = "It may be no language model, or newer than this program: use an instruct model."

# llama.cpp aborts or hangs on some files with other tokenizers, so those need checks of their own.
_TOKENIZERS = {"llama", "gpt2", "gemma4"}
_MAX_TOKENS = 1 << 21
# The bytes of UTF-8, without NUL: llama.cpp throws at a text with one that has no token.
_UTF8_BYTES = (*range(0x01, 0xC0), *range(0xC2, 0xF5))
# Merges to look at. The results of all are tokens in published vocabularies; of half in those for
# ctransformers, whose tokens are raw bytes and whose merges are in GPT-2's spelling.
_MERGES = 1000
_MAX_EXPERTS = 1024  # llama.cpp aborts above this
_LIMITS = {  # hyperparameters that every model has, with limits that no trained model reaches
    "block_count": 512,
    "context_length": 1 << 27,
    "embedding_length": 1 << 18,
    "attention.head_count": 1 << 12,
    "feed_forward_length": 1 << 20,
}
# The architectures whose tensors we know: Llama and Mistral.
_LLAMA = {"llama", "mistral3"}
_SCALING = "rope.scaling.type"
_REALS = {  # with the range of what models are trained with; llama.cpp requires the first
    "attention.layer_norm_rms_epsilon": (0.0, 0.1),
    "rope.freq_base": (1.0, 1e12),
    "rope.scaling.factor": (0.0, 1e6),
}
_SAME_IN_ALL_LAYERS = {"block_count", "context_length", "embedding_length"}
# Zero in the files of Mamba and RWKV, whose layers have tensors with these in their names.
_ZERO_IF_RECURRENT = {"attention.head_count", "feed_forward_length"}
_RECURRENT = (".ssm_", ".time_mix_", ".shortconv.")
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


def refuse(problem: str, hint: str = DAMAGED) -> NoReturn:
    """Raise `ModelUnusable`."""
    raise ModelUnusable(problem, hint=hint)


def _check_kind(model: GGUF) -> None:
    """Refuse a file that is not a whole model, and values of the wrong type."""
    for key, expected in _TYPES.items():
        if key in model.metadata and type(model.metadata[key]) is not expected:
            refuse(f"metadata {key!r} is not of type {expected.__name__}")
    refuse_other_kind(model)
    kind = model.metadata.get("general.type", "model")
    if kind != "model":
        refuse(f"has the GGUF type {str(kind)[:40]!r}, not a model", ANOTHER)
    if not model.metadata.get("general.architecture"):
        refuse("does not name its architecture: 'general.architecture' is missing or empty")


def refuse_other_kind(header: GGUF, *, complete: bool = True) -> None:
    """Refuse a file that is known not to be a language model; `complete` as in `other_kind`."""
    if kind := other_kind(header, complete=complete):
        refuse(f"is {kind.name}", kind.advice)


def _check_architecture(model: GGUF) -> None:
    """Refuse hyperparameters that are all of another architecture."""
    suffix = f".{next(iter(_LIMITS))}"
    named = [key.removesuffix(suffix) for key in model.metadata if key.endswith(suffix)]
    if named and model.architecture not in named:
        problem = f"has the architecture {model.architecture[:40]!r} ('general.architecture'), but"
        other = named[0][:40]
        refuse(f"{problem} its metadata is for {other!r} ({other}{suffix})", CONVERT)


def _check_hyperparameters(model: GGUF) -> None:
    for key, limit in _LIMITS.items():
        _check_counts(model, key, limit)
    _check_attention(model)
    for key, value in model.metadata.items():
        if key.startswith(SAMPLING_PREFIX):  # only a proposal: `engines.sampling` checks it
            continue
        negative_epsilon = key.endswith("epsilon") and isinstance(value, float) and value < 0
        if negative_epsilon or (isinstance(value, float) and not math.isfinite(value)):
            refuse(f"metadata {key!r} is {value}")
    _check_reals(model)
    for key, limit in (
        ("nextn_predict_layers", model.block_count),
        ("embedding_length_out", 1 << 18),
    ):
        if not _is_count(model.hparam(key, 0), limit, 0):
            refuse(f"metadata '{model.architecture}.{key}' has an impossible value")
    scaling = model.hparam(_SCALING, "none")
    if scaling not in _ROPE_SCALINGS:
        refuse(f"has the unknown RoPE scaling {_shown(scaling)} {_keys(model, _SCALING)}", CONVERT)
    _check_experts(model)


def _check_reals(model: GGUF) -> None:
    """Refuse real hyperparameters that are missing, absurd, or of another type than FLOAT32."""
    for key, (low, high) in _REALS.items():
        name, value = f"{model.architecture}.{key}", model.hparam(key)
        if value is None:
            if model.architecture in _LLAMA and key == next(iter(_REALS)):
                refuse(f"has no metadata {name!r}")
            continue
        if not isinstance(value, float) or model.stored_type(name) != FLOAT32:
            refuse(f"metadata {name!r} is not of the type FLOAT32", CONVERT)
        if not low <= value <= high:
            refuse(f"metadata {name!r} has an impossible value: {value:g}")


def _check_experts(model: GGUF) -> None:
    """Refuse numbers of experts on which llama.cpp asserts; without experts, all must be zero."""
    names = "expert_count", "expert_used_count"
    experts, used = (model.hparam(name, 0) for name in names)
    if not (_is_count(experts, _MAX_EXPERTS, 0) and _is_count(used, experts, min(experts, 1))):
        refuse(f"uses {_shown(used)} of {_shown(experts)} experts {_keys(model, *names)}")
    names = "expert_group_count", "expert_group_used_count"
    groups, used = (model.hparam(name, 0) for name in names)
    divides = _is_count(groups, experts, 0) and (groups == 0 or experts % groups == 0)
    if not (divides and _is_count(used, groups, 0)):
        of = f"{_shown(used)} of {_shown(groups)} groups of experts"
        refuse(f"uses {of} {_keys(model, *names)}")


def _shown(value: object) -> str:
    """Return a value of any type, short enough for a message."""
    is_list = isinstance(value, Array | tuple)
    return "a list" if is_list else repr(value)[:40]


def _keys(model: GGUF, *keys: str) -> str:
    """Return the names of hyperparameters as a message ends with them."""
    return f"(metadata {', '.join(f'{model.architecture}.{key}' for key in keys)})"


def _is_count(value: object, limit: int, minimum: int = 1) -> bool:
    return type(value) is int and minimum <= value <= limit


def _check_counts(model: GGUF, key: str, limit: int) -> None:
    """Refuse a hyperparameter that is missing, absurd, or neither a number nor one per layer."""
    value = model.hparam(key)
    if value is None:
        refuse(f"has no metadata '{model.architecture}.{key}'")
    if isinstance(value, tuple) and key not in _SAME_IN_ALL_LAYERS:
        # Some architectures have layers without attention, so zeros are possible.
        valid = len(value) == model.block_count and any(value)
        valid = valid and all(_is_count(item, limit, 0) for item in value)
    else:
        may_be_zero = value == 0 and key in _ZERO_IF_RECURRENT and is_recurrent(model)
        valid = may_be_zero or _is_count(value, limit)
        if valid and model.stored_type(f"{model.architecture}.{key}") not in {UINT32, INT32}:
            refuse(f"metadata '{model.architecture}.{key}' is not of the type UINT32", CONVERT)
    if not valid:
        refuse(f"metadata '{model.architecture}.{key}' has an impossible value")


def is_recurrent(model: GGUF) -> bool:
    """Whether a layer keeps a state of all tokens so far, in place of one key for each."""
    if model.architecture in _LLAMA:
        return False
    return any(part in tensor.name for tensor in model.tensors for part in _RECURRENT)


def _check_attention(model: GGUF) -> None:
    if model.hparam("attention.head_count") == 0:  # Mamba and RWKV have no attention
        return
    heads, embedding = model.per_layer("attention.head_count"), model.hparam("embedding_length")
    if model.hparam("attention.head_count_kv") is not None:
        _check_counts(model, "attention.head_count_kv", max(heads))
    if any(kv and count % kv for count, kv in zip(heads, model.kv_heads, strict=True)):
        keys = _keys(model, "attention.head_count", "attention.head_count_kv")
        refuse(f"has a number of attention heads that is not a multiple of its KV heads {keys}")
    if model.hparam("attention.key_length") is None and embedding % max(heads):
        keys = _keys(model, "attention.head_count", "embedding_length")
        refuse(f"has {max(heads)} attention heads, which do not divide {embedding} {keys}")
    if not all(_is_count(size, embedding) for size in model.head_sizes):
        keys = _keys(model, "attention.key_length", "attention.value_length")
        refuse(f"has attention heads of an impossible size {keys}")
    rotated, size = model.hparam("rope.dimension_count", 2), model.head_sizes[0]
    fewest = 0 if model.hparam("attention.key_length_mla") else 2  # GLM 5's have no RoPE
    if not _is_count(rotated, size, fewest) or rotated % 2:
        keys = _keys(model, "rope.dimension_count")
        refuse(f"rotates {_shown(rotated)} dimensions of attention heads of size {size} {keys}")


def _check_vocabulary(model: GGUF) -> None:
    tokens = model.metadata.get("tokenizer.ggml.tokens")
    if model.metadata.get("tokenizer.ggml.model", "llama") not in _TOKENIZERS:
        tokenizer = model.tokenizer_model[:40]
        problem = f"the tokenizer {tokenizer!r} ('tokenizer.ggml.model')"
        refuse(f"has {problem}, which this program does not know", _NEWER)
    if "tokenizer.ggml.model" not in model.metadata or not isinstance(tokens, Array):
        key = "tokens" if "tokenizer.ggml.model" in model.metadata else "model"
        refuse(f"has no vocabulary: the metadata 'tokenizer.ggml.{key}' is missing", CONVERT)
    if tokens.item_type != STRING or not 1 <= tokens.count <= _MAX_TOKENS:
        problem = f"an impossible vocabulary of {tokens.count} tokens"
        refuse(f"has {problem} ('tokenizer.ggml.tokens')")
    for key, kinds in (("scores", {FLOAT32}), ("token_type", {INT32, UINT32})):
        array = model.metadata.get(f"tokenizer.ggml.{key}", Array(min(kinds), tokens.count, b""))
        valid = isinstance(array, Array) and array.item_type in kinds
        if not (valid and isinstance(array, Array) and array.count == tokens.count):
            refuse(f"does not have one value of 'tokenizer.ggml.{key}' for each token")
    merges = model.metadata.get("tokenizer.ggml.merges")
    valid = isinstance(merges, Array) and merges.item_type == STRING
    needs_merges = model.tokenizer_model in {"gpt2", "gemma4"} and not _is_kimi(model)
    if not valid and (merges is not None or needs_merges):
        refuse("has no valid 'tokenizer.ggml.merges', which its vocabulary needs", CONVERT)
    for key, value in model.metadata.items():
        special = key.startswith("tokenizer.ggml.") and key.endswith("_token_id")
        if special and not _is_count(value, tokens.count - 1, 0):
            refuse(f"metadata {key!r} is {_shown(value)}, outside the vocabulary of {tokens.count}")
    _check_tokens(model)


def _is_kimi(model: GGUF) -> bool:
    """Whether llama.cpp merges by the tokens' ids, as for Kimi K2."""
    return model.metadata.get("tokenizer.ggml.pre") == "kimi-k2"


def _check_tokenizer(model: GGUF, tokens: Set[bytes]) -> None:
    """Refuse `tokens` that were made for another tokenizer than the one that the file names."""
    name = "'tokenizer.ggml.model'"
    if model.tokenizer_model == "llama":
        fit = f"is {model.tokenizer_model!r}, which does not fit its vocabulary"
        if "tokenizer.ggml.scores" not in model.metadata:
            refuse(f"metadata {name} {fit}: it has no 'tokenizer.ggml.scores'", CONVERT)
        lacking = (b for b in _UTF8_BYTES if not tokens & {b"<0x%02X>" % b, bytes([b])})
        if (byte := next(lacking, None)) is not None:
            refuse(f"metadata {name} {fit}: it has no token '<0x{byte:02X}>'", CONVERT)
        return
    merges = model.metadata.get("tokenizer.ggml.merges")
    if not isinstance(merges, Array) or not merges.count:
        return
    first = Array(STRING, min(merges.count, _MERGES), merges.data).strings()
    known = sum(merge.replace(b" ", b"", 1) in tokens for merge in first)
    if known < len(first) / 4:
        problem = f"{known} of the first {len(first)} merges make a token of its vocabulary"
        refuse(f"only {problem} ('tokenizer.ggml.merges')", CONVERT)


def _check_tokens(model: GGUF) -> None:
    """Refuse tokens on which llama.cpp aborts: duplicates, malformed and missing byte tokens."""
    tokens: Sequence[bytes] = model.tokens
    if b"\0" in b"".join(tokens):  # llama.cpp reads them as C strings
        tokens = [each.partition(b"\0")[0] for each in tokens]
    # It gives each empty token a name of its own.
    distinct = set(tokens) - {b""}
    if len(distinct) + tokens.count(b"") != len(tokens):
        twice = next(each for each, count in Counter(tokens).items() if each and count > 1)
        problem = f"{len(tokens)} tokens, some of them twice, such as {twice[:40]!r}"
        refuse(f"has {problem} ('tokenizer.ggml.tokens')", CONVERT)
    _check_tokenizer(model, distinct)
    valid = {b"<0x%02X>" % byte for byte in range(256)}
    if BYTE_TOKEN not in (model.token_types or ()):
        return
    for token, kind in zip(model.tokens, model.token_types or (), strict=False):
        if kind == BYTE_TOKEN and token not in valid:
            refuse(f"has the malformed byte token {token[:40]!r} ('tokenizer.ggml.tokens')")


def _check_tensors(model: GGUF) -> None:
    """Refuse tensors that are missing, or do not fit the hyperparameters.

    All architectures have the embedding. The other tensors are known for Llama's only; for the
    rest, the engine reports what is wrong as it loads them.
    """
    tensors = {tensor.name: tensor for tensor in model.tensors}
    shapes = _llama_shapes(model) if model.architecture in _LLAMA else {}
    shapes["token_embd.weight"] = model.hparam("embedding_length"), len(model.tokens)
    for name, shape in shapes.items():
        tensor = tensors.get(name)
        if not tensor:
            if not _may_lack(name, model, tensors):
                refuse(f"has no tensor {name!r}")
            continue
        if tensor.shape != shape:
            refuse(f"tensor {name!r} has shape {tensor.shape}, expected {shape}")
        # Engines multiply by the norms directly, which works only with plain floats.
        wrong = tensor.type_name in NOT_FOR_WEIGHTS if len(tensor.shape) > 1 else tensor.type != 0
        if wrong:
            refuse(f"tensor {name!r} cannot have the type {tensor.type_name}", CONVERT)
    check_order(model)


def _may_lack(name: str, model: GGUF, tensors: Container[str]) -> bool:
    """Whether a Llama can do without that tensor, or has another in its place."""
    layer, _, part = name.rpartition(".weight")[0].rpartition(".")
    if part.startswith("ffn_") and part != "ffn_norm":
        return bool(model.hparam("expert_count", 0))
    if part in {"attn_q", "attn_k", "attn_v"}:
        return f"{layer}.attn_qkv.weight" in tensors
    return name == "output.weight"  # it shares the embedding's


def check_order(header: GGUF) -> None:
    """Refuse gaps between tensors, where another was lost: llama.cpp only reads files without.

    Of a model in several parts, only the first is looked at: each has its own alignment.
    """
    for before, after in pairwise(tensor for tensor in header.tensors if not tensor.part):
        end = before.offset + before.size
        if before.type in TENSOR_TYPES and after.offset != end + -end % header.alignment:
            refuse(f"the data of the tensor {after.name!r} does not follow {before.name!r}")


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


def check_model(model: GGUF) -> None:
    """Raise `ModelUnusable` unless an engine can load `model` without crashing."""
    _check_kind(model)
    _check_architecture(model)
    try:
        _check_hyperparameters(model)
        _check_vocabulary(model)
        _check_tensors(model)
    except ModelUnusable as error:
        if model.architecture in ARCHITECTURES:
            raise
        problem = f"has the architecture {model.architecture[:40]!r}, which this program does not"
        raise ModelUnusable(f"{problem} know, and {error.message}", hint=_NOT_TEXT) from None
