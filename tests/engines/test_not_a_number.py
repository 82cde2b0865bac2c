"""`engines.not_a_number`: damaged weights are named, whatever the engine makes of NaN."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import pytest
from support.gguf_parts import GGUFParts

from mistral_cli.engines.protocol import LoadOptions
from mistral_cli.engines.registry import backend
from mistral_cli.engines.types import Request, Sampling, ScoreRequest, TextDelta
from mistral_cli.errors import ModelUnusable
from mistral_cli.models.gguf import read_gguf, reread_gguf
from mistral_cli.models.gguf.types import TENSOR_TYPES
from mistral_cli.models.gguf.weights import _FLOATS, _SCALES, damaged_tensor

GREEDY = Sampling(temperature=0.0, top_k=1, top_p=1.0, repetition_penalty=1.0, seed=0)
RANDOM = Sampling(temperature=0.9, top_k=50, top_p=0.9, repetition_penalty=1.1, seed=1)


def poison(source: Path, path: Path, tensor: str, number: bytes, place: int = 0) -> Path:
    """Copy a model and overwrite bytes of a tensor."""
    parts = GGUFParts(source)
    start = next(each.offset for each in parts.tensors if each.name == tensor) + place
    parts.data = parts.data[:start] + number + parts.data[start + len(number) :]
    path.write_bytes(parts.build())
    return path


@pytest.mark.parametrize("engine", ["llama.cpp", "ctransformers"])
@pytest.mark.parametrize("sampling", [GREEDY, RANDOM], ids=["greedy", "random"])
@pytest.mark.parametrize("number", [math.nan, math.inf])
@pytest.mark.parametrize("tensor", ["output_norm.weight", "blk.0.ffn_down.weight"])
def test_the_damaged_tensor_is_named(
    engine: str, sampling: Sampling, number: float, tensor: str, mistral: Path, tmp_path: Path
) -> None:
    path = poison(mistral, tmp_path / "m.gguf", tensor, struct.pack("<f", number))
    # `read_gguf` refuses damaged norms already.
    with backend(engine).open(reread_gguf(path), LoadOptions(256, threads=1)) as session:
        for _ in range(2):  # the second request must not sample from NaN either
            with pytest.raises(ModelUnusable, match=f"NaN.*tensor '{tensor}' is damaged"):
                list(session.stream(Request((1, 300, 301), 3, sampling)))


@pytest.mark.parametrize("engine", ["llama.cpp", "ctransformers"])
@pytest.mark.parametrize("continuations", [((300,), (301,)), ((300, 301),)])
@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_nan_is_no_score(
    engine: str,
    continuations: tuple[tuple[int, ...], ...],
    number: float,
    mistral: Path,
    tmp_path: Path,
) -> None:
    weight = struct.pack("<f", number)
    path = poison(mistral, tmp_path / "m.gguf", "blk.0.ffn_down.weight", weight)
    with backend(engine).open(reread_gguf(path), LoadOptions(256, threads=1)) as session:
        for _ in range(2):
            with pytest.raises(ModelUnusable, match=r"NaN.*is damaged"):
                list(session.score(ScoreRequest((1, 300, 301), continuations)))


@pytest.mark.parametrize("stream", [True, False])
def test_the_probabilities_of_the_first_answer_stay_inside(mistral: Path, stream: bool) -> None:
    with backend("llama.cpp").open(read_gguf(mistral), LoadOptions(256, threads=1)) as session:
        answers = [
            [
                event
                for event in session.stream(Request((1, 300, 301), 5, GREEDY, stream=stream))
                if isinstance(event, TextDelta)
            ]
            for _ in range(2)
        ]
    assert answers[0] == answers[1]
    assert not any(event.logprobs for event in answers[0])


@pytest.mark.parametrize("name", sorted({*_SCALES, *_FLOATS}))
def test_finds_every_float_of_every_type(name: str, mistral: Path, tmp_path: Path) -> None:
    kind, (_, block, size) = next((k, v) for k, v in TENSOR_TYPES.items() if v[0] == name)
    parts = GGUFParts(mistral)
    last = parts.tensors.pop()  # of several blocks
    start, rows = last.offset, 4
    shape = (block * 2, rows) if block > 1 else (256, rows)
    blocks = shape[0] // block * rows
    parts.tensors.append(type(last)(last.name, shape, kind, start, blocks * size))
    infinity = {"F32": b"\0\0\x80\x7f", "BF16": b"\x80\x7f"}.get(name, b"\0\x7c")

    def write(*places: int) -> str | None:
        data = bytearray(blocks * size)
        for place in places:
            data[place : place + len(infinity)] = infinity
        parts.data = parts.data[:start] + bytes(data)
        (tmp_path / "m.gguf").write_bytes(parts.build())
        return damaged_tensor(reread_gguf(tmp_path / "m.gguf"))

    assert write() is None
    for place in _SCALES.get(name, (0,)):
        assert write((blocks - 1) * size + place) == last.name
