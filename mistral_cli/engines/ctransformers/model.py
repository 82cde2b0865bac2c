"""A model in ctransformers' native library, called through its C functions alone.

The library's own tokenize, generate and stream overflow buffers, lose non-ASCII text, repeat the
same random number and evaluate one token too many.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from ctypes import c_int
from typing import TYPE_CHECKING, Any

from mistral_cli.engines.ctransformers.limits import load_log, missing_bytes, variant
from mistral_cli.engines.hardware.memory import CPU_BATCH_IN_2023, GPU_BATCH
from mistral_cli.engines.load_failure import load_failure
from mistral_cli.engines.not_a_number import not_a_number
from mistral_cli.engines.protocol import LoadOptions, for_native_code
from mistral_cli.engines.types import PrefillProgress
from mistral_cli.errors import EngineFailed
from mistral_cli.system.signals import native_load

if TYPE_CHECKING:
    from mistral_cli.engines.decoding.sampler import Logits
    from mistral_cli.engines.decoding.streams import Emit
    from mistral_cli.models.gguf import GGUF

_MAX_THREADS = 256  # 513 hang


class LoadedModel:
    """The loaded model; it is freed with the last reference."""

    def __init__(self, model: GGUF, options: LoadOptions) -> None:
        import ctransformers.llm as library

        self._threads = threads_for(model, options)
        self._model, self._gpu_layers = model, options.gpu_layers
        self._missing_bytes = missing_bytes(model)
        # More than 512 ends the process.
        self._batch = GPU_BATCH if options.gpu_layers else CPU_BATCH_IN_2023
        library_name = variant(options.gpu_layers)
        config = library.Config(
            context_length=options.context_length, gpu_layers=layers_as_it_counts(model, options)
        )
        try:
            with native_load():
                self.llm: Any = library.LLM(
                    os.fspath(model.path), "gguf", config=config, lib=library_name
                )
        except RuntimeError as error:  # "Failed to create LLM", whatever the reason
            native = library.load_library(library_name, gpu=options.gpu_layers > 0)
            log = load_log(native, model.path)
            raise load_failure("ctransformers", model, log, "no reason given") from error
        except (OSError, ValueError) as error:
            raise engine_failed(f"ctransformers cannot load the model: {error}") from error
        self.vocabulary_size = int(self.llm.vocab_size)

    def tokenize(self, text: str) -> list[int]:
        """Token ids of `text`, without BOS."""
        data = for_native_code(text)
        if not self._missing_bytes.isdisjoint(data):
            data = b"".join(map(self._tokenizable, data.decode("utf-8")))
        # The library's own buffer has room for a token per character, but a byte can be a token.
        # A space becomes "▁", which has 3 bytes and maybe no token of its own.
        buffer = (c_int * (len(data) + 2 * data.count(b" ") + 18))()
        count = self.llm.ctransformers_llm_tokenize(data, False, buffer)
        return list(buffer[:count])

    def _tokenizable(self, character: str) -> bytes:
        data = character.encode("utf-8")
        return data if self._missing_bytes.isdisjoint(data) else "\ufffd".encode()

    def token_bytes(self, token: int) -> bytes:
        """What the library writes for `token`."""
        return bytes(self.llm.ctransformers_llm_detokenize(token))

    def prefill(self, prompt: Sequence[int], emit: Emit) -> bool:
        """Evaluate what is not in the KV cache yet. Returns False when the reader has left."""
        rest = self._unread(prompt)
        for start in range(0, len(rest), self._batch):
            done = len(prompt) - len(rest) + start
            if not emit(PrefillProgress(done, len(prompt))):
                return False
            self.evaluate(rest[start : start + self._batch])
        return emit(PrefillProgress(len(prompt), len(prompt)))

    def _unread(self, prompt: Sequence[int]) -> list[int]:
        """The part of `prompt` after the complete batches that are in the KV cache.

        In batches cut elsewhere the same tokens round differently, so that earlier requests
        would change the text.
        """
        rest = self.llm.prepare_inputs_for_generation(list(prompt), reset=True)
        read = (len(prompt) - len(rest)) // self._batch * self._batch
        self.llm._context = self.llm._context[:read]
        return list(prompt[read:])

    def evaluate(self, tokens: Sequence[int]) -> None:
        """Append `tokens` to the context."""
        try:
            self.llm.eval(tokens, batch_size=self._batch, threads=self._threads)
        except RuntimeError as error:
            raise engine_failed(f"ctransformers failed: {error}") from error

    def evaluate_after(self, prompt: int, tokens: Sequence[int]) -> None:
        """Evaluate `tokens` after the first `prompt` tokens of the context, and forget the rest."""
        self.llm._context = self.llm._context[:prompt]
        if tokens:
            self.evaluate(tokens)

    def logits(self) -> Logits:
        """The logits of the next token: a view, good until the next evaluation."""
        import numpy as np

        pointer = self.llm.ctransformers_llm_logits_data()
        logits = np.ctypeslib.as_array(pointer, shape=(self.vocabulary_size,))
        if np.isnan(logits).any():
            raise not_a_number(self._model, self._gpu_layers)
        return logits


def layers_as_it_counts(model: GGUF, options: LoadOptions) -> int:
    """Layers as this llama.cpp counts them: the two halves of the KV cache come last."""
    whole = options.gpu_layers > model.block_count
    return options.gpu_layers + 2 if whole else options.gpu_layers


def threads_for(model: GGUF, options: LoadOptions) -> int:
    """CPU threads: one if the GPU computes all layers.

    The others would spin, and keep that one from feeding the GPU. Measured on an H100 beside
    16 busy cores, a 7B in Q4_K_M: 138 tokens a second with 1 thread, 3.4 with 8.
    """
    return 1 if options.gpu_layers > model.block_count else min(options.threads, _MAX_THREADS)


def engine_failed(message: str) -> EngineFailed:
    """The error for a failure of the library, with a next step."""
    return EngineFailed(message, hint="Try another --engine, or another model file.")
