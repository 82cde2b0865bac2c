"""ctransformers 0.2.27: llama.cpp of September 2023, frozen, with CUDA from PyPI alone.

Only its C functions are used. The library's own tokenize, generate and stream overflow
buffers, lose non-ASCII text, repeat one random draw and evaluate a token too many.
"""

from __future__ import annotations

import codecs
import importlib.util
import os
import platform
from collections.abc import Iterator, Sequence
from ctypes import c_int
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import cuda
from ..errors import EngineFailed
from ..gguf import GGUF
from .background import BackgroundStream, Emit
from .base import (
    Engine,
    Event,
    Finish,
    FinishReason,
    LoadOptions,
    Piece,
    PromptProgress,
    Request,
)

if TYPE_CHECKING:
    from .constraint import Constraint

_BATCH = 32
_MAX_THREADS = 256  # 513 hang

# F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 and Q2_K to Q6_K: what September 2023 knew.
_KNOWN_TYPES = frozenset({0, 1, 2, 3, 6, 7, 8, 10, 11, 12, 13, 14})

_LAYER_TENSORS = (
    *("attn_norm", "attn_q", "attn_k", "attn_v", "attn_output"),
    *("ffn_norm", "ffn_gate", "ffn_up", "ffn_down"),
)


class CTransformers(Engine):
    """A model in ctransformers' native library."""

    name = "ctransformers"

    @classmethod
    def missing(cls) -> str | None:
        """See Engine."""
        if importlib.util.find_spec("ctransformers") is None:
            return "the package ctransformers is not installed (pip install ctransformers)"
        return None

    @classmethod
    def unsupported(cls, model: GGUF) -> str | None:
        """See Engine. What it cannot read would end the process, not raise."""
        if model.architecture != "llama":
            return f"it reads the llama architecture only, not {model.architecture!r}"
        lacking = [
            what
            for what, there in (
                ("tokenizer scores", "tokenizer.ggml.scores" in model.metadata),
                ("token types", model.token_types is not None),
                ("an output.weight of its own", _has_tensor(model, "output.weight")),
            )
            if not there
        ]
        if lacking:
            return f"it needs {', '.join(lacking)}, which this file lacks"
        unknown = {t.type_name for t in model.tensors if t.type not in _KNOWN_TYPES}
        if unknown:
            return f"it is older than the tensor type {', '.join(sorted(unknown))}"
        if extra := _unexpected_tensors(model):
            return f"it does not know the tensor {extra[0]}"
        return None

    @classmethod
    def no_gpu(cls) -> str | None:
        """See Engine."""
        return cls.missing() or cuda.unusable_by_ctransformers()

    def __init__(self, model: GGUF, options: LoadOptions) -> None:
        """See Engine."""
        import ctransformers.llm as library

        self._model = model
        self._threads = min(options.threads, _MAX_THREADS)
        self._background = BackgroundStream()
        self._llguidance: Any = None
        config = library.Config(
            context_length=options.context_length, gpu_layers=options.gpu_layers
        )
        try:
            self._llm: Any = library.LLM(
                os.fspath(model.path), "gguf", config=config, lib=_variant(options.gpu_layers)
            )
        except (RuntimeError, OSError, ValueError) as error:
            raise _engine_failed(f"ctransformers cannot load the model: {error}") from error
        self._vocabulary_size = int(self._llm.vocab_size)

    @property
    def context_length(self) -> int:
        """See Engine."""
        return int(self._llm.context_length)

    def tokenize(self, text: str) -> list[int]:
        """See Engine."""
        data = text.replace("\0", "\ufffd").encode("utf-8", "replace")
        # The library's own buffer has a place a character, but a byte can be a token.
        buffer = (c_int * (len(data) + 18))()
        count = self._llm.ctransformers_llm_tokenize(data, False, buffer)
        return list(buffer[:count])

    def stream(self, request: Request) -> Iterator[Event]:
        """See Engine."""
        return self._background.run(lambda emit: self._complete(request, emit))

    def close(self) -> None:
        """See Engine."""
        # Freeing the model under a running evaluation would crash: the process ends instead.
        if not self._background.busy:
            self._llm = None

    def _complete(self, request: Request, emit: Emit) -> None:
        from .sampler import Sampler

        prompt = list(request.prompt_token_ids)
        if not self._evaluate_prompt(prompt, emit):
            return
        sampler, constraint = Sampler(request.sampling), self._constraint(request)
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        reason: FinishReason = "length"
        count = 0
        pending: list[int] = []
        while count < request.max_tokens:
            if pending:
                self._evaluate(pending)
            allowed = constraint.allowed() if constraint else None
            token = sampler.draw(self._logits(), self._llm._context, allowed)
            count += 1
            if self._ends(token):
                reason = "stop"
                break
            pending = [token]
            if constraint:
                constraint.consume(token)
                pending += constraint.forced()[: request.max_tokens - count]
                count += len(pending) - 1
            if not emit(Piece(decode(b"".join(map(self._token_bytes, pending))))):
                return
            if constraint and constraint.finished:
                reason = "stop"
                break
        emit(Finish(reason, count))

    def _evaluate_prompt(self, prompt: list[int], emit: Emit) -> bool:
        """Evaluate what is not in the KV cache yet; False when nobody waits any more."""
        rest = list(self._llm.prepare_inputs_for_generation(prompt, reset=True))
        for start in range(0, len(rest), _BATCH):
            done = len(prompt) - len(rest) + start
            if not emit(PromptProgress(done, len(prompt))):
                return False
            self._evaluate(rest[start : start + _BATCH])
        return emit(PromptProgress(len(prompt), len(prompt)))

    def _evaluate(self, tokens: Sequence[int]) -> None:
        try:
            self._llm.eval(tokens, batch_size=_BATCH, threads=self._threads)
        except RuntimeError as error:
            raise _engine_failed(f"ctransformers failed: {error}") from error

    def _logits(self) -> Any:
        import numpy as np

        pointer = self._llm.ctransformers_llm_logits_data()
        logits = np.ctypeslib.as_array(pointer, shape=(self._vocabulary_size,))
        if np.isnan(logits).any():
            raise _engine_failed("the model computes no numbers (NaN): its weights are damaged")
        return logits

    def _constraint(self, request: Request) -> Constraint | None:
        if request.grammar is None:
            return None
        from .constraint import Constraint, llguidance_tokenizer

        if self._llguidance is None:
            self._llguidance = llguidance_tokenizer(self._model, self.tokenize, self._token_bytes)
        return Constraint(self._llguidance, request.grammar, self._vocabulary_size)

    def _token_bytes(self, token: int) -> bytes:
        return bytes(self._llm.ctransformers_llm_detokenize(token))

    def _ends(self, token: int) -> bool:
        return token in (self._model.eos_id, self._model.eot_id)


def _variant(gpu_layers: int) -> str | None:
    """Which of the packaged libraries to load; None leaves it to the package.

    The package asks py-cpuinfo, which takes over a second.
    """
    if gpu_layers > 0:
        return "cuda" if platform.system() == "Linux" else None
    try:
        cpu = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    flags = set(next((line for line in cpu.splitlines() if line.startswith("flags")), "").split())
    if {"avx2", "fma", "f16c"} <= flags:
        return "avx2"
    return "avx" if {"avx", "f16c"} <= flags else "basic"


def _has_tensor(model: GGUF, name: str) -> bool:
    return any(tensor.name == name for tensor in model.tensors)


def _unexpected_tensors(model: GGUF) -> list[str]:
    known = {"token_embd.weight", "output_norm.weight", "output.weight"}
    known |= {f"blk.{i}.{n}.weight" for i in range(model.block_count) for n in _LAYER_TENSORS}
    return sorted({tensor.name for tensor in model.tensors} - known)


def _engine_failed(message: str) -> EngineFailed:
    return EngineFailed(message, hint="Try --engine llama.cpp, or another model file.")
