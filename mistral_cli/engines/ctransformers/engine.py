"""ctransformers 0.2.27: the llama.cpp of September 2023, frozen, with CUDA from PyPI alone."""

from __future__ import annotations

import importlib.util
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mistral_cli.engines.ctransformers.limits import (
    RUNTIME_COMMAND,
    no_cuda,
    no_kernels,
    too_weak,
    unreadable,
    unreadable_built_in,
    wrong_processor,
)
from mistral_cli.engines.ctransformers.model import LoadedModel, engine_failed
from mistral_cli.engines.decoding.loop import decode, token_limit
from mistral_cli.engines.decoding.score import check_score, score
from mistral_cli.engines.decoding.streams import Emit, ThreadedStreams
from mistral_cli.engines.hardware import cuda
from mistral_cli.engines.hardware.memory import Memory, needed_in_2023
from mistral_cli.engines.protocol import Backend, GpuFix, LoadOptions, Session
from mistral_cli.models.gguf.plain_text import tokenize_plain

if TYPE_CHECKING:
    from mistral_cli.engines.decoding.constraint import Constraint, Mask
    from mistral_cli.engines.decoding.sampler import Sampler
    from mistral_cli.engines.hardware.cuda import Driver
    from mistral_cli.engines.hardware.gpu import Gpu
    from mistral_cli.engines.types import Event, Request, ScoreRequest
    from mistral_cli.models.catalog import BuiltInModel
    from mistral_cli.models.gguf import GGUF


class CTransformers(Backend):
    """The ctransformers package, whose library is the llama.cpp of September 2023."""

    name = "ctransformers"
    package = "ctransformers"
    max_parallel = 1
    gpu_failure_ends_process = True

    def missing(self) -> str | None:
        """The package is not installed, or its library is for another processor."""
        spec = importlib.util.find_spec("ctransformers")
        if spec is None:
            return "the package ctransformers is not installed (pip install ctransformers)"
        return wrong_processor(Path(next(iter(spec.submodule_search_locations or ("",)))))

    def unsupported(self, model: GGUF) -> str | None:
        """What in the file would end the process."""
        return unreadable(model)

    def unsupported_built_in(self, entry: BuiltInModel) -> str | None:
        """What would end the process, as far as the dimensions tell."""
        return unreadable_built_in(entry.dimensions)

    def unsupported_on_gpu(self, model: GGUF) -> str | None:
        """The CUDA library cannot multiply every type of matrix."""
        return no_kernels(model)

    def no_gpu(self) -> str | None:
        """What would make the CUDA library end the process."""
        return self.missing() or no_cuda()

    def gpus(self) -> tuple[Gpu, ...]:
        """All GPUs that the CUDA driver shows."""
        return cuda.query_driver().gpus

    def loads_gpu_driver(self) -> bool:
        """It asks NVIDIA's driver, where there is one."""
        return cuda.driver_is_there()

    def gpu_fix(self, driver: Driver) -> GpuFix | None:
        """A newer driver or the CUDA 12 libraries."""
        if self.missing() or too_weak(driver):
            return None
        return GpuFix(driver_version=525) if driver.too_old else GpuFix(RUNTIME_COMMAND)

    def memory(
        self,
        model: GGUF,
        context_length: int,
        gpu_layers: int,
        parallel: int = 1,  # noqa: ARG002
    ) -> Memory:
        """The memory that the llama.cpp of 2023 takes."""
        return needed_in_2023(model, context_length, gpu_layers)

    def open(self, model: GGUF, options: LoadOptions) -> Session:
        """Load the model into the library."""
        return CTransformersSession(model, options)


class CTransformersSession(Session):
    """A model loaded by ctransformers' library, driven token by token."""

    def __init__(self, model: GGUF, options: LoadOptions) -> None:
        self._model = model
        self._background = ThreadedStreams()
        self._llguidance: Any = None
        self._native: LoadedModel | None = LoadedModel(model, options)
        self._context_length = int(self._native.llm.context_length)
        self._gpu_layers = options.gpu_layers

    @property
    def gpu_layers(self) -> int:
        """The layers requested: the library does not report what it did."""
        return self._gpu_layers

    @property
    def context_length(self) -> int:
        """The context as the library reports it."""
        return self._context_length

    def tokenize(self, text: str) -> list[int]:
        """Token ids from the library's own tokenizer."""
        return tokenize_plain(self._model, text, self._opened().tokenize)

    def stream(self, request: Request) -> Generator[Event, None, None]:
        """Run the decoding loop in a thread."""
        # The thread holds the model, so that close() frees nothing under its evaluation.
        native, limit = self._opened(), token_limit(request, self._context_length)
        return self._background.run(lambda emit, _: self._complete(native, request, limit, emit))

    def score(self, request: ScoreRequest) -> Generator[Event, None, None]:
        """Walk the trie in a thread."""
        native = self._opened()
        check_score(request, self._context_length)

        def work(emit: Emit, _: int) -> None:
            if native.prefill(request.prompt_token_ids, emit):
                score(_NextTokens(native, len(request.prompt_token_ids)), request, emit)

        return self._background.run(work)

    def close(self) -> None:
        """Stop the stream and drop the model, which the last reference frees."""
        self._background.stop()
        self._native = None

    def _opened(self) -> LoadedModel:
        if self._native is None:
            raise engine_failed("the model is closed")
        return self._native

    def _complete(self, native: LoadedModel, request: Request, limit: int, emit: Emit) -> None:
        from mistral_cli.engines.decoding.sampler import Sampler

        constraint = self._constraint(native, request)
        if native.prefill(request.prompt_token_ids, emit):
            decoder = _Decoder(native, Sampler(request.sampling))
            ends = () if request.ignore_eos else (self._model.eos_id, self._model.eot_id)
            decode(
                decoder,
                limit=limit,
                ends=ends,
                constraint=constraint,
                emit=emit,
                markers=dict(request.thinking.tokens) if request.thinking else {},
                loose=request.loose,
            )

    def _constraint(self, native: LoadedModel, request: Request) -> Constraint | None:
        if request.grammar is None:
            return None
        from mistral_cli.engines.decoding.constraint import (
            Constraint,
            llguidance_tokenizer,
        )

        if self._llguidance is None:
            self._llguidance = llguidance_tokenizer(
                self._model,
                lambda text: tokenize_plain(self._model, text, native.tokenize),
                native.token_bytes,
            )
        return Constraint(
            self._llguidance, request.grammar, native.vocabulary_size, request.written
        )


@dataclass(frozen=True)
class _NextTokens:
    """The model after a prompt of so many tokens, as `score` asks it."""

    native: LoadedModel
    prompt: int

    def logprobs(self, path: Sequence[int], tokens: Sequence[int]) -> list[float]:
        import numpy as np

        # The prompt's own logits are there already, and `score` asks for them first.
        self.native.evaluate_after(self.prompt, path)
        logits = self.native.logits().astype(np.float64)
        logits -= logits.max()
        total = np.log(np.exp(logits).sum())
        return [float(logits[token] - total) for token in tokens]


@dataclass(frozen=True)
class _Decoder:
    """The model and the sampler of one request, as `decode` drives them."""

    native: LoadedModel
    sampler: Sampler

    def sample(self, allowed: Mask | None) -> int:
        return self.sampler.sample(self.native.logits(), self.native.llm._context, allowed)

    def extend(self, tokens: Sequence[int]) -> None:
        self.native.evaluate(tokens)

    def token_bytes(self, token: int) -> bytes:
        return self.native.token_bytes(token)
