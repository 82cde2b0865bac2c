"""One set of settings, as parameters for xllamacpp and as flags for llama-server."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mistral_cli.engines.llama_cpp.server_settings import ServerSettings
from mistral_cli.engines.protocol import (
    ListenAddress,
    LoadOptions,
    LoraAdapter,
    SpeculativeConfig,
)
from mistral_cli.models.gguf import read_gguf

OPTIONS = LoadOptions(512, threads=3, parallel=2)
PRIVATE = ListenAddress(Path("/private/s.sock"), "key")


@pytest.fixture
def settings(mistral: Path) -> Any:
    def settings(**changes: Any) -> ServerSettings:
        return ServerSettings.of(read_gguf(mistral), replace(OPTIONS, **changes), PRIVATE)

    return settings


def values(settings: ServerSettings) -> dict[str, str]:
    """The flags that have a value."""
    flags = settings.flags()
    pairs = itertools.pairwise(flags)
    return {name: value for name, value in pairs if not value.startswith("--")}


def test_both_say_the_same(settings: Any, mistral: Path) -> None:
    xllamacpp = pytest.importorskip("xllamacpp")
    for layers in (0, 2):
        each = settings(gpu_layers=layers, states=Path("/states"))
        params, flags = each.parameters(xllamacpp), values(each)
        assert flags["--model"] == params.model.path == str(mistral)
        assert flags["--ctx-size"] == str(params.n_ctx) == "1024"
        assert flags["--parallel"] == str(params.n_parallel) == "2"
        assert flags["--gpu-layers"] == str(params.n_gpu_layers) == str(layers)
        assert flags["--batch-size"] == str(params.n_batch) == ("512" if layers else "128")
        assert flags["--ubatch-size"] == str(params.n_ubatch)
        assert flags["--threads"] == str(params.cpuparams.n_threads) == "3"
        assert flags["--threads-http"] == str(params.n_threads_http) == "4"
        assert flags["--slot-save-path"] == params.slot_save_path == "/states/"
        # On this socket alone, and never on TCP.
        assert [flags["--host"]] == list(params.hostnames) == ["/private/s.sock"]
        assert "--port" not in flags
        assert flags["--chat-template"] == params.chat_template == "chatml"
        assert (flags["--fit"], params.fit_params) == ("off", False)
        assert (flags["--cache-ram"], params.cache_ram_mib) == ("0", 0)
        assert ("--device" in flags) == (not layers) == (params.main_gpu == -1)


@pytest.mark.parametrize("repack", [False, True])
def test_the_weights_are_repacked_on_request(settings: Any, repack: bool) -> None:
    xllamacpp = pytest.importorskip("xllamacpp")
    each = settings(repack=repack)
    assert ("--repack" in each.flags()) == repack == (not each.parameters(xllamacpp).no_extra_bufts)


def test_the_key_is_not_on_the_command_line(settings: Any) -> None:
    assert "key" not in " ".join(settings().flags()).replace("--no-kv", "")


def test_speculative_decoding(settings: Any, mistral: Path) -> None:
    xllamacpp = pytest.importorskip("xllamacpp")
    assert "--spec-type" not in settings().flags()
    for config, kind in (
        (SpeculativeConfig(), "ngram-simple"),
        (SpeculativeConfig(mistral), "draft-simple"),
    ):
        each = settings(speculative=config)
        assert values(each)["--spec-type"] == kind
        assert len(each.parameters(xllamacpp).speculative.types) == 1
    assert values(each)["--spec-draft-model"] == str(mistral)


def test_adapters_may_have_commas_and_quotes_in_their_names(settings: Any) -> None:
    each = settings(adapters=(LoraAdapter(Path('/a,"b".gguf')), LoraAdapter(Path("/c.gguf"))))
    assert values(each)["--lora"] == '"/a,""b"".gguf","/c.gguf"'
