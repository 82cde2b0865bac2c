"""`models.gguf.checks`: bad headers are refused, and the engines survive accepted files."""

from __future__ import annotations

import os
import random
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from support import bare_engines
from support.gguf_parts import (
    GGUFParts,
    assert_refused,
    entry,
    mutate,
    number,
    numbers,
    strings,
    text,
    words,
)

from mistral_cli.errors import ModelUnusable
from mistral_cli.models.gguf import GGUF, read_gguf, types

# name: (how to damage a good file, a part of the message)
ARCHITECTURE = "general.architecture"
TOKENS = "tokenizer.ggml.tokens"
DAMAGE: dict[str, tuple[Callable[[GGUFParts], object], str]] = {
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
    "adapter": (lambda d: d.put(words("general.type", "adapter")), "is a LoRA adapter"),
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
        "has no tensor",
    ),
    "no norm": (
        lambda d: d.change("blk.1.ffn_norm.weight", name="blk.1.ffn_norm"),
        "has no tensor 'blk.1.ffn_norm.weight'",
    ),
    "fewer layers than counted": (
        lambda d: d.put(number("llama.block_count", 3)),
        r"has no tensor 'blk.2",
    ),
    "no epsilon": (
        lambda d: d.entries.pop("llama.attention.layer_norm_rms_epsilon"),
        "has no metadata 'llama.attention.layer_norm_rms_epsilon'",
    ),
    "epsilon an integer": (
        lambda d: d.put(number("llama.attention.layer_norm_rms_epsilon", 1)),
        "rms_epsilon' is not of the type FLOAT32",
    ),
    "rope base a double": (
        lambda d: d.put(entry("llama.rope.freq_base", 12, struct.pack("<d", 1e4))),
        "freq_base' is not of the type FLOAT32",
    ),
    "an architecture that nobody knows": (
        lambda d: d.put(words(ARCHITECTURE, "gpt9")),
        "has the architecture 'gpt9' .*, but its metadata is for 'llama'",
    ),
    "architecture in capitals": (
        lambda d: d.put(words(ARCHITECTURE, "LLAMA")),
        "has the architecture 'LLAMA' .*, but its metadata is for 'llama'",
    ),
    "another architecture": (
        lambda d: d.put(words(ARCHITECTURE, "mamba")),
        "has the architecture 'mamba' .*, but its metadata is for 'llama'",
    ),
    "SentencePiece without scores": (
        lambda d: d.entries.pop("tokenizer.ggml.scores"),
        "'tokenizer.ggml.model' is 'llama', which does not fit .* no 'tokenizer.ggml.scores'",
    ),
    "SentencePiece without a byte": (
        lambda d: d.entries.update(
            {TOKENS: d.entries[TOKENS].replace(b"<0x0A>", b"<0xXX>")},
            **{"tokenizer.ggml.token_type": numbers("tokenizer.ggml.token_type", [1] * 300)},
        ),
        "'tokenizer.ggml.model' is 'llama', which does not fit .* no token '<0x0A>'",
    ),
    "rope base 0": (
        lambda d: d.put(entry("llama.rope.freq_base", 6, struct.pack("<f", 0.0))),
        "freq_base' has an impossible value: 0",
    ),
    "layers in 64 bits": (
        lambda d: d.put(number("llama.block_count", 2, types.UINT64)),
        "block_count' is not of the type UINT32",
    ),
    "short embedding": (lambda d: d.change("token_embd.weight", shape=(32, 299)), "has shape"),
    "narrow embedding": (lambda d: d.change("token_embd.weight", shape=(16, 300)), "has shape"),
    "wrong attention": (lambda d: d.change("blk.0.attn_q.weight", shape=(32, 16)), "has shape"),
    "wrong norm": (lambda d: d.change("blk.1.ffn_norm.weight", shape=(16,)), "has shape"),
    "quantized norm": (lambda d: d.change("output_norm.weight", type=8), "the type Q8_0"),
    "integer weights": (lambda d: d.change("output.weight", type=24), "the type I8"),
    "5 dimensions": (lambda d: d.change("output.weight", shape=(1,) * 5), "5 dimensions"),
    "0 dimensions": (lambda d: d.change("output.weight", shape=()), "0 dimensions"),
    "dimension of 0": (lambda d: d.change("output.weight", shape=(32, 0)), "impossible shape"),
    "overflow": (
        lambda d: d.change("output.weight", shape=(1 << 32, 1 << 32)),
        "impossible shape",
    ),
    "unknown tensor type": (lambda d: d.change("output.weight", type=999), "unknown type 999"),
    "removed tensor type": (lambda d: d.change("output.weight", type=4), "unknown type 4"),
    "partial block": (lambda d: d.change("output.weight", type=12), "impossible shape"),
    "misaligned": (lambda d: d.change("output.weight", offset=16), "not aligned"),
    "overlap": (lambda d: d.change("output.weight", offset=32), "overlaps"),
    "outside": (lambda d: d.change("output.weight", offset=1 << 40), "is truncated"),
    "far outside": (lambda d: d.change("output.weight", offset=(1 << 64) - 32), "is truncated"),
    "gap": (
        lambda d: (
            d.change("output.weight", offset=d.tensors[-1].offset + 32),
            setattr(d, "tail", bytes(32)),
        ),
        "'output.weight' does not follow",
    ),
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
DAMAGE |= {
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
    DAMAGE |= {
        f"no {_key}": (lambda d, key=_key: d.entries.pop(f"llama.{key}"), "has no metadata"),  # type: ignore[misc]
        f"{_key} 0": (lambda d, key=_key: d.put(number(f"llama.{key}", 0)), "impossible value"),  # type: ignore[misc]
        f"{_key} huge": (
            lambda d, key=_key: d.put(number(f"llama.{key}", 0xFFFFFFFF)),  # type: ignore[misc]
            "impossible value",
        ),
        f"{_key} text": (lambda d, key=_key: d.put(words(f"llama.{key}", "8")), "impossible value"),  # type: ignore[misc]
    }


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE.keys())
def test_refuses(
    damage: Callable[[GGUFParts], object], message: str, tiny_file: Path, tmp_path: Path
) -> None:
    parts = GGUFParts(tiny_file)
    damage(parts)
    assert_refused(tmp_path / "m.gguf", parts.build(), message)


@pytest.mark.parametrize("merges", [[b"zzz"] * 3, [b"a b c", b" ", b""], [b"th zq"] * 2000])
def test_refuses_merges_of_other_tokens(
    merges: list[bytes], tiny_tekken_file: Path, tmp_path: Path
) -> None:
    parts = GGUFParts(tiny_tekken_file)
    parts.put(strings("tokenizer.ggml.merges", merges))
    assert_refused(tmp_path / "m.gguf", parts.build(), "only 0 of the first .* merges")


def test_refuses_a_byte_level_vocabulary_as_sentencepiece(
    tiny_tekken_file: Path, tmp_path: Path
) -> None:
    parts = GGUFParts(tiny_tekken_file)
    parts.put(words("tokenizer.ggml.model", "llama"))
    path, fault = tmp_path / "m.gguf", "'tokenizer.ggml.model' is 'llama', which does not fit"
    assert_refused(path, parts.build(), f"{fault}.*scores")
    floats = numbers("tokenizer.ggml.scores", [0] * len(read_gguf(tiny_tekken_file).tokens), 6)
    parts.put(floats)
    assert_refused(path, parts.build(), f"{fault}.*no token '<0x")


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
@pytest.mark.parametrize("place", [0, 13, 31])
@pytest.mark.parametrize("tensor", ["output_norm.weight", "blk.1.ffn_norm.weight"])
def test_refuses_norms_that_are_no_numbers(
    tensor: str, place: int, value: float, tiny_file: Path, tmp_path: Path
) -> None:
    parts = GGUFParts(tiny_file)
    start = next(each.offset for each in parts.tensors if each.name == tensor) + 4 * place
    parts.data = parts.data[:start] + struct.pack("<f", value) + parts.data[start + 4 :]
    assert_refused(tmp_path / "m.gguf", parts.build(), f"tensor '{tensor}' is damaged")


def test_accepts_norms_of_the_greatest_numbers(tiny_file: Path, tmp_path: Path) -> None:
    parts = GGUFParts(tiny_file)
    start = next(each.offset for each in parts.tensors if each.name == "output_norm.weight")
    parts.data = parts.data[:start] + struct.pack("<8f", *[3.4e38] * 8) + parts.data[start + 32 :]
    (tmp_path / "m.gguf").write_bytes(parts.build())
    read_gguf(tmp_path / "m.gguf")


def test_a_tensor_type_newer_than_this_program_is_left_to_the_engine(
    tiny_file: Path, tmp_path: Path
) -> None:
    """Its size is that up to the next tensor, for estimates of memory."""
    parts = GGUFParts(tiny_file)
    del parts.entries["general.file_type"]
    sizes = {tensor.name: tensor.size for tensor in parts.tensors}
    for tensor in parts.tensors:
        if len(tensor.shape) > 1:
            parts.change(tensor.name, type=99)
    (tmp_path / "m.gguf").write_bytes(parts.build())
    model = read_gguf(tmp_path / "m.gguf")
    assert {tensor.name: tensor.size for tensor in model.tensors} == sizes
    assert (model.unknown_types, model.quantization) == ((99,), "unknown (tensor type 99)")
    assert {each.name: each.type_name for each in model.tensors}["output.weight"] == "99"


def test_tensors_of_an_unknown_type_must_be_inside_the_file(
    tiny_file: Path, tmp_path: Path
) -> None:
    parts = GGUFParts(tiny_file)
    parts.change("output.weight", type=99, offset=parts.tensors[0].offset)
    assert_refused(tmp_path / "m.gguf", parts.build(), "overlaps another")
    parts.change("output.weight", offset=1 << 30)
    assert_refused(tmp_path / "m.gguf", parts.build(), "is truncated")


def with_architecture(parts: GGUFParts, name: str, *missing: str) -> GGUFParts:
    """The parts with other keys, without the hyperparameters that are `missing`."""
    keys = [key for key in parts.entries if key.startswith("llama.")]
    for key in keys:
        raw, short = parts.entries.pop(key), key.removeprefix("llama.")
        if short not in missing:
            parts.entries[f"{name}.{short}"] = text(f"{name}.{short}") + raw[8 + len(key) :]
    parts.put(words(ARCHITECTURE, name))
    return parts


def test_a_file_of_an_unknown_architecture_is_not_called_damaged(
    tiny_file: Path, tmp_path: Path
) -> None:
    for missing, problem in (
        ("context_length", "has no metadata 'parakeet.context_length'"),
        ("attention.head_count", "has no metadata 'parakeet.attention.head_count'"),
    ):
        parts = with_architecture(GGUFParts(tiny_file), "parakeet", missing)
        expected = f"'parakeet', which this program does not know, and {problem}"
        hint = assert_refused(tmp_path / "m.gguf", parts.build(), expected)
        assert "damaged" not in hint
    parts = with_architecture(GGUFParts(tiny_file), "qwen3", "context_length")
    assert "damaged" in assert_refused(tmp_path / "m.gguf", parts.build(), "m.gguf: has no")


@pytest.mark.parametrize(
    ("architecture", "part"), [("mamba", "ssm_in"), ("rwkv7", "time_mix_key"), ("qwen3", "attn_q")]
)
def test_only_recurrent_models_have_no_attention(
    architecture: str, part: str, tiny_file: Path, tmp_path: Path
) -> None:
    """The converters of Mamba and RWKV write zeros, as llama.cpp expects."""
    attention = [f"attention.{key}" for key in ("head_count_kv", "key_length", "value_length")]
    parts = with_architecture(GGUFParts(tiny_file), architecture, *attention)
    for key in ("attention.head_count", "feed_forward_length"):
        parts.put(number(f"{architecture}.{key}", 0))
    parts.change("blk.0.attn_q.weight", name=f"blk.0.{part}.weight")
    if architecture == "qwen3":
        assert_refused(tmp_path / "m.gguf", parts.build(), "head_count' has an impossible value")
        return
    (tmp_path / "m.gguf").write_bytes(parts.build())
    model = read_gguf(tmp_path / "m.gguf")
    assert (model.head_sizes, model.kv_bytes(100)) == ((0, 0), 0)


def test_a_latent_attention_may_have_no_rope(tiny_file: Path, tmp_path: Path) -> None:
    for latent in (True, False):
        parts = with_architecture(GGUFParts(tiny_file), "glm5-next")
        parts.put(number("glm5-next.rope.dimension_count", 0))
        if latent:
            parts.put(number("glm5-next.attention.key_length_mla", 16))
            (tmp_path / "m.gguf").write_bytes(parts.build())
            read_gguf(tmp_path / "m.gguf")
        else:
            assert_refused(tmp_path / "m.gguf", parts.build(), "rotates 0 dimensions")


def test_only_kimi_k2_needs_no_merges(tiny_tekken_file: Path, tmp_path: Path) -> None:
    for pre in ("kimi-k2", "tekken"):
        parts = GGUFParts(tiny_tekken_file)
        del parts.entries["tokenizer.ggml.merges"]
        parts.put(words("tokenizer.ggml.pre", pre))
        if pre == "tekken":
            assert_refused(tmp_path / "m.gguf", parts.build(), "no valid 'tokenizer.ggml.merges'")
        else:
            (tmp_path / "m.gguf").write_bytes(parts.build())
            read_gguf(tmp_path / "m.gguf")


# --- mutants -----------------------------------------------------------------------------------

MUTANTS = 1500
TIME_LIMIT = 60  # seconds for all mutants together; they take about five


def known_to_ctransformers(model: GGUF) -> bool:
    """True if ctransformers was written for files of this kind."""
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
    """The mutants that `read_gguf` accepts; it must refuse the others with `ModelUnusable`."""
    folder, rng = tmp_path_factory.mktemp("mutants"), random.Random(20)
    kept = []
    for index in range(MUTANTS):
        source = tiny_tekken_file if index % 4 == 0 else tiny_file
        path = folder / f"{index:04}.gguf"
        path.write_bytes(mutate(source, rng))
        try:
            read_gguf(path)
        except ModelUnusable:
            path.unlink()
        else:
            kept.append(path)
    return kept


def test_a_plausible_share_of_the_mutants_is_accepted(accepted: list[Path]) -> None:
    assert MUTANTS // 20 < len(accepted) < MUTANTS // 2


@pytest.mark.parametrize("engine", ["ctransformers", "xllamacpp"])
def test_the_engines_run_an_intact_file(engine: str, tiny_file: Path) -> None:
    child = subprocess.run(
        [sys.executable, bare_engines.__file__, engine, str(tiny_file)],
        capture_output=True,
        timeout=TIME_LIMIT,
        check=True,
    )
    assert child.stdout.splitlines()[1:] == [b"done"]


def test_ctransformers_survives_mutants(accepted: list[Path]) -> None:
    paths = [path for path in accepted if known_to_ctransformers(read_gguf(path))]
    assert crashes("ctransformers", paths) == {}


def test_llama_cpp_survives_mutants(accepted: list[Path]) -> None:
    assert crashes("xllamacpp", accepted) == {}


def crashes(engine: str, paths: list[Path]) -> dict[str, str]:
    """Evaluate each file in a child process; return how the process died, by file."""
    found: dict[str, str] = {}
    while paths:
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            command = [sys.executable, bare_engines.__file__, engine, *map(str, paths)]
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
