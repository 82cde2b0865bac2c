"""ctransformers 0.2.27: llama.cpp of September 2023, frozen, with CUDA from PyPI alone.

Only its C functions are used. The library's own tokenize, generate and stream overflow
buffers, lose non-ASCII text, repeat one random draw and evaluate a token too many.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Generator, Sequence
from ctypes import c_int
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mistral_cli.engines import cuda
from mistral_cli.engines.background import BackgroundStreams, Emit
from mistral_cli.engines.base import (
    Engine,
    Event,
    LoadOptions,
    PromptProgress,
    Request,
    for_native_code,
)
from mistral_cli.engines.ctransformers_library import variant, wrong_processor
from mistral_cli.engines.ctransformers_limits import (
    load_failure,
    missing_bytes,
    no_kernels,
    unreadable,
)
from mistral_cli.engines.decoding import decode, token_limit
from mistral_cli.engines.loading import interruptible
from mistral_cli.errors import EngineFailed
from mistral_cli.memory import CPU_BATCH_IN_2023, GPU_BATCH, Memory, needed_in_2023

if TYPE_CHECKING:
    from mistral_cli.engines.constraint import Constraint, Mask
    from mistral_cli.engines.gpu import Gpu
    from mistral_cli.engines.sampler import Logits, Sampler
    from mistral_cli.gguf import GGUF

_MAX_THREADS = 256  # 513 hang


class CTransformers(Engine):
    """A model in ctransformers' native library."""

    name = "ctransformers"
    max_parallel = 1
    gpu_failure_ends_process = True

    @classmethod
    def missing(cls) -> str | None:
        """See Engine."""
        spec = importlib.util.find_spec("ctransformers")
        if spec is None:
            return "the package ctransformers is not installed (pip install ctransformers)"
        return wrong_processor(Path(next(iter(spec.submodule_search_locations or ("",)))))

    @classmethod
    def unsupported(cls, model: GGUF) -> str | None:
        """See Engine."""
        return unreadable(model)

    @classmethod
    def unsupported_on_gpu(cls, model: GGUF) -> str | None:
        """See Engine."""
        return no_kernels(model)

    @classmethod
    def no_gpu(cls) -> str | None:
        """See Engine."""
        return cls.missing() or cuda.unusable_by_ctransformers()

    @classmethod
    def gpus(cls) -> tuple[Gpu, ...]:
        """See Engine."""
        return cuda.ask().gpus

    @classmethod
    def loads_gpu_driver(cls) -> bool:
        """See Engine."""
        return cuda.driver_is_there()

    @classmethod
    def memory(
        cls,
        model: GGUF,
        context_length: int,
        gpu_layers: int,
        parallel: int = 1,  # noqa: ARG003
    ) -> Memory:
        """See Engine."""
        return needed_in_2023(model, context_length, gpu_layers)

    def __init__(self, model: GGUF, options: LoadOptions) -> None:
        """See Engine."""
        self._model = model
        self._background = BackgroundStreams()
        self._llguidance: Any = None
        self._native: _Native | None = _Native(model, options)
        self._context_length = int(self._native.llm.context_length)
        self._gpu_layers = options.gpu_layers

    @property
    def gpu_layers(self) -> int:
        """See Engine: the library keeps to itself what it did."""
        return self._gpu_layers

    @property
    def context_length(self) -> int:
        """See Engine."""
        return self._context_length

    def tokenize(self, text: str) -> list[int]:
        """See Engine."""
        return self._opened().tokenize(text)

    def stream(self, request: Request) -> Generator[Event, None, None]:
        """See Engine."""
        # The thread holds the model, so that close() frees nothing under its evaluation.
        native, limit = self._opened(), token_limit(request, self._context_length)
        return self._background.run(lambda emit, _: self._complete(native, request, limit, emit))

    def close(self) -> None:
        """See Engine."""
        self._background.stop()
        self._native = None

    def _opened(self) -> _Native:
        if self._native is None:
            raise _engine_failed("the model is closed")
        return self._native

    def _complete(self, native: _Native, request: Request, limit: int, emit: Emit) -> None:
        from mistral_cli.engines.sampler import Sampler

        constraint = self._constraint(native, request)
        if native.read_prompt(request.prompt_token_ids, emit):
            drawing = _Drawing(native, Sampler(request.sampling))
            ends = () if request.ignore_eos else (self._model.eos_id, self._model.eot_id)
            decode(drawing, limit=limit, ends=ends, constraint=constraint, emit=emit)

    def _constraint(self, native: _Native, request: Request) -> Constraint | None:
        if request.grammar is None:
            return None
        from mistral_cli.engines.constraint import Constraint, llguidance_tokenizer

        if self._llguidance is None:
            self._llguidance = llguidance_tokenizer(
                self._model, native.tokenize, native.token_bytes
            )
        return Constraint(self._llguidance, request.grammar, native.vocabulary_size)


class _Native:
    """The loaded model; it is freed with the last reference."""

    def __init__(self, model: GGUF, options: LoadOptions) -> None:
        import ctransformers.llm as library

        self._threads = _threads(model, options)
        self._missing_bytes = missing_bytes(model)
        # More than 512 ends the process.
        self._batch = GPU_BATCH if options.gpu_layers else CPU_BATCH_IN_2023
        library_name = variant(options.gpu_layers)
        config = library.Config(
            context_length=options.context_length, gpu_layers=_as_it_counts(model, options)
        )
        try:
            with interruptible():
                self.llm: Any = library.LLM(
                    os.fspath(model.path), "gguf", config=config, lib=library_name
                )
        except RuntimeError as error:  # "Failed to create LLM", whatever the reason
            native = library.load_library(library_name, gpu=options.gpu_layers > 0)
            reason = load_failure(native, model.path)
            raise _engine_failed(f"ctransformers cannot load the model: {reason}") from error
        except (OSError, ValueError) as error:
            raise _engine_failed(f"ctransformers cannot load the model: {error}") from error
        self.vocabulary_size = int(self.llm.vocab_size)

    def tokenize(self, text: str) -> list[int]:
        """Token ids of `text`, without BOS."""
        data = for_native_code(text)
        if not self._missing_bytes.isdisjoint(data):
            data = b"".join(map(self._tokenizable, data.decode("utf-8")))
        # The library's own buffer has a place a character, but a byte can be a token.
        buffer = (c_int * (len(data) + 18))()
        count = self.llm.ctransformers_llm_tokenize(data, False, buffer)
        return list(buffer[:count])

    def _tokenizable(self, character: str) -> bytes:
        data = character.encode("utf-8")
        return data if self._missing_bytes.isdisjoint(data) else "\ufffd".encode()

    def token_bytes(self, token: int) -> bytes:
        """What the library writes for `token`."""
        return bytes(self.llm.ctransformers_llm_detokenize(token))

    def read_prompt(self, prompt: Sequence[int], emit: Emit) -> bool:
        """Evaluate what is not in the KV cache yet; False when nobody waits any more."""
        rest = self._unread(prompt)
        for start in range(0, len(rest), self._batch):
            done = len(prompt) - len(rest) + start
            if not emit(PromptProgress(done, len(prompt))):
                return False
            self.evaluate(rest[start : start + self._batch])
        return emit(PromptProgress(len(prompt), len(prompt)))

    def _unread(self, prompt: Sequence[int]) -> list[int]:
        """What comes after the whole batches that the KV cache has of `prompt`.

        Cut into other batches the same tokens are rounded otherwise, and what was asked before
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
            raise _engine_failed(f"ctransformers failed: {error}") from error

    def logits(self) -> Logits:
        """The logits of the next token: a view, good until the next evaluation."""
        import numpy as np

        pointer = self.llm.ctransformers_llm_logits_data()
        logits = np.ctypeslib.as_array(pointer, shape=(self.vocabulary_size,))
        if np.isnan(logits).any():
            raise _engine_failed("the model computes no numbers (NaN): its weights are damaged")
        return logits


@dataclass(frozen=True)
class _Drawing:
    """The model and one request's sampler, as `decode` drives them."""

    native: _Native
    sampler: Sampler

    def draw(self, allowed: Mask | None) -> int:
        return self.sampler.draw(self.native.logits(), self.native.llm._context, allowed)

    def extend(self, tokens: Sequence[int]) -> None:
        self.native.evaluate(tokens)

    def token_bytes(self, token: int) -> bytes:
        return self.native.token_bytes(token)


def _as_it_counts(model: GGUF, options: LoadOptions) -> int:
    """Layers as this llama.cpp counts them: the two halves of the KV cache come last."""
    whole = options.gpu_layers > model.block_count
    return options.gpu_layers + 2 if whole else options.gpu_layers


def _threads(model: GGUF, options: LoadOptions) -> int:
    """CPU threads: one where the GPU computes all layers.

    The others would spin, and keep that one from feeding the GPU. Measured on an H100 beside
    16 busy cores, a 7B in Q4_K_M: 138 tokens a second with 1 thread, 3.4 with 8.
    """
    return 1 if options.gpu_layers > model.block_count else min(options.threads, _MAX_THREADS)


def _engine_failed(message: str) -> EngineFailed:
    return EngineFailed(message, hint="Try --engine llama.cpp, or another model file.")
