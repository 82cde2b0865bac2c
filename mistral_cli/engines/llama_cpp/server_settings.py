"""The settings of a llama.cpp server: decided once, for xllamacpp's parameters or as flags."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mistral_cli.engines.hardware.memory import batch_of

if TYPE_CHECKING:
    from mistral_cli.engines.protocol import ListenAddress, LoadOptions, LoraAdapter
    from mistral_cli.models.gguf import GGUF

_MORE_HTTP_THREADS = 2
"""More than streams: for streams that were closed a moment ago, and for other requests."""

NGRAM_MATCH = 8
"""Prompt lookup: the last tokens that must have occurred before. With 12, fewer are found."""

NGRAM_DRAFT = 24
"""Prompt lookup: the most tokens to propose, at least `NGRAM_MATCH`.

They are checked in one batch. On 2 cores a batch of 16 takes the machine build as long as 5 single
tokens (a model with Mistral 7B's dimensions in Q4_K_M) or 7 (SmolLM2): shorter proposals gain less,
and longer ones lose more where they are wrong. SmolLM2 copied as fast with 48, and was slower where
it copied in part. From 64 tokens on llama.cpp's attention rounds differently once more.
"""

DRAFTED_TOKENS = 15
"""The most tokens that a draft model proposes; a batch of 8 takes as long as one of 16."""

_SET_BY_USER = (1 << 31) - 1
"""For llama.cpp's `user_sampling_config`, where each of 12 bits has it ignore a key of the file."""

_SAMPLING_FLAGS = {
    "--samplers": "penalties;dry;top_k;top_p;min_p;temperature",
    "--temp": "0.8",
    "--top-k": "40",
    "--top-p": "0.95",
    "--min-p": "0.05",
    "--xtc-probability": "0",
    "--xtc-threshold": "0.1",
    "--repeat-last-n": "64",
    "--repeat-penalty": "1",
    "--mirostat": "0",
    "--mirostat-lr": "0.1",
    "--mirostat-ent": "5",
}
"""The same for llama-server: its defaults, which requests replace.

llama.cpp takes what is not set from the file's `general.sampling.*`, and aborts if that is out of
range (`common_init_sampler_from_model` in its common/common.cpp). That happens at the load,
with the draft model's file too, so that no request could prevent it.
"""


@dataclass(frozen=True)
class ServerSettings:
    """What we set on a llama.cpp server, apart from how much it logs.

    Both renderings also switch these off: `fit` takes seconds, and would change the context
    length; the warm-up costs time; the prompt cache in memory would grow to 8 GiB; and nobody
    needs the web interface and the page about the slots. The chat template is a fixed one: prompts
    are sent as token ids, so a broken template in the file must not matter.
    """

    model: Path
    context_length: int
    slots: int
    gpu_layers: int
    batch: int
    threads: int
    repack: bool
    states: Path | None
    adapters: tuple[LoraAdapter, ...]
    lookup: bool
    draft: Path | None
    listening: ListenAddress

    @classmethod
    def of(cls, model: GGUF, options: LoadOptions, listening: ListenAddress) -> ServerSettings:
        """The settings to load `model` with."""
        speculative = options.speculative
        return cls(
            model=model.path,
            context_length=options.context_length * options.parallel,
            slots=options.parallel,
            gpu_layers=options.gpu_layers,
            batch=batch_of(options.gpu_layers),
            threads=options.threads,
            repack=options.repack,
            states=options.states,
            adapters=options.adapters,
            lookup=speculative is not None and speculative.draft is None,
            draft=speculative.draft if speculative else None,
            listening=listening,
        )

    @property
    def states_prefix(self) -> str:
        """The folder for states as llama.cpp wants it: it appends a file's name to this text."""
        return f"{self.states}/" if self.states else ""

    @property
    def host(self) -> str:
        """Where the server listens: by default on TCP, without a key, for every local user."""
        return os.fspath(self.listening.socket)

    @property
    def http_threads(self) -> int:
        """Threads that answer requests."""
        return self.slots + _MORE_HTTP_THREADS

    def parameters(self, library: Any) -> Any:
        """The settings for xllamacpp, the `library`."""
        params = library.CommonParams()
        params.model.path = os.fspath(self.model)
        params.lora_adapters = [
            library.CommonAdapterLoraInfo(os.fspath(each.path), each.scale)
            for each in self.adapters
        ]
        params.n_ctx = self.context_length
        params.n_parallel = self.slots
        params.n_gpu_layers = self.gpu_layers
        if not self.gpu_layers:  # otherwise a CUDA build still computes long prompts on the GPU
            params.split_mode = library.llama_split_mode.LLAMA_SPLIT_MODE_NONE
            params.main_gpu = -1
        params.n_batch = params.n_ubatch = self.batch
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = self.threads
        params.n_threads_http = self.http_threads
        params.no_extra_bufts = not self.repack
        params.slot_save_path = self.states_prefix
        params.fit_params = params.warmup = params.ui = params.endpoint_slots = False
        params.cache_ram_mib = 0
        params.endpoint_metrics = True
        params.sampling.user_sampling_config = _SET_BY_USER
        params.hostnames, params.api_keys = [self.host], [self.listening.api_key]
        params.chat_template = "chatml"
        self._set_speculative(params.speculative, library.common_speculative_type)
        return params

    def _set_speculative(self, speculative: Any, kinds: Any) -> None:
        if self.draft:
            speculative.types = [kinds.COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE]
            speculative.draft.mparams.path = os.fspath(self.draft)
            speculative.draft.n_max = DRAFTED_TOKENS
            speculative.draft.n_gpu_layers = -1 if self.gpu_layers else 0
            threads = speculative.draft.cpuparams, speculative.draft.cpuparams_batch
            threads[0].n_threads = threads[1].n_threads = self.threads
        elif self.lookup:
            speculative.types = [kinds.COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE]
            speculative.ngram_simple.size_n = NGRAM_MATCH
            speculative.ngram_simple.size_m = NGRAM_DRAFT

    def flags(self) -> list[str]:
        """The settings for llama-server.

        Two are missing: the key, because every user can see a command line, and the scales of
        adapters, because `--lora-scaled` does not take a path with a colon.
        """
        batch, threads = str(self.batch), str(self.threads)
        values = {
            "--model": os.fspath(self.model),
            "--ctx-size": str(self.context_length),
            "--parallel": str(self.slots),
            "--gpu-layers": str(self.gpu_layers),
            "--batch-size": batch,
            "--ubatch-size": batch,
            "--threads": threads,
            "--threads-batch": threads,
            "--threads-http": str(self.http_threads),
            "--fit": "off",
            "--cache-ram": "0",
            "--host": self.host,
            "--chat-template": "chatml",
        }
        if not self.gpu_layers:
            values["--device"] = "none"
        if self.states:
            values["--slot-save-path"] = self.states_prefix
        if self.adapters:
            values["--lora"] = ",".join(_quoted(each.path) for each in self.adapters)
        values |= _SAMPLING_FLAGS | self._speculative_flags()
        switches = ["--no-warmup", "--no-kv-unified", "--no-ui", "--no-slots", "--metrics"]
        switches.append("--repack" if self.repack else "--no-repack")
        return [*(part for pair in values.items() for part in pair), *switches]

    def _speculative_flags(self) -> dict[str, str]:
        if self.draft:
            flags = {
                "--spec-type": "draft-simple",
                "--spec-draft-model": os.fspath(self.draft),
                "--spec-draft-n-max": str(DRAFTED_TOKENS),
                "--spec-draft-ngl": "all" if self.gpu_layers else "0",
            }
            return flags if self.gpu_layers else {**flags, "--spec-draft-device": "none"}
        if self.lookup:
            return {
                "--spec-type": "ngram-simple",
                "--spec-ngram-simple-size-n": str(NGRAM_MATCH),
                "--spec-ngram-simple-size-m": str(NGRAM_DRAFT),
            }
        return {}


def _quoted(path: Path) -> str:
    """A path in a list with commas."""
    return '"' + os.fspath(path).replace('"', '""') + '"'
