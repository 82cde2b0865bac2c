"""Measures how fast engines load and run a model here; every run is a process of its own."""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mistral_cli.engines.hardware.memory import read_for_a_token
from mistral_cli.engines.isolated.session import open_in_process
from mistral_cli.engines.protocol import LoadOptions
from mistral_cli.engines.repacking import repack_pays
from mistral_cli.engines.selection import (
    EngineRequirements,
    EngineSelection,
    fit_gpu_layers,
    select_engine,
)
from mistral_cli.engines.types import Finish, PrefillProgress, Request, Sampling
from mistral_cli.errors import EngineFailed, UsageError
from mistral_cli.system.machine import available_memory, resident_peak, usable_cores

if TYPE_CHECKING:
    from mistral_cli.engines.gpu_layers import GpuLayers
    from mistral_cli.engines.isolated.session import IsolatedSession
    from mistral_cli.models.gguf import GGUF
    from mistral_cli.system.reporter import Reporter

_GREEDY = Sampling(temperature=0.0, top_k=0, top_p=1.0, repetition_penalty=1.0, seed=0)
_NORMAL_TOKEN = 1
_READ_SIZE = 2**24  # bytes
_SPARE_TOKENS = 8  # of context, besides prompt and answer

_BANDWIDTH_BYTES, _BANDWIDTH_MEMORY_SHARE = 2**30, 4
_BANDWIDTH_PASSES = 8


@dataclass(frozen=True)
class Workload:
    """The work of a run: read a prompt, then write `new_tokens` after another prompt.

    With `cold` the model file is not in the page cache when a run begins.
    """

    prompt_tokens: int
    new_tokens: int
    repetitions: int
    cold: bool

    @property
    def context_length(self) -> int:
        """The tokens of context that the work needs."""
        return max(self.prompt_tokens, self.new_tokens) + _SPARE_TOKENS


@dataclass(frozen=True)
class Candidate:
    """An engine and the options that it opens the model with."""

    selection: EngineSelection
    load: LoadOptions

    @property
    def name(self) -> str:
        """The engine's name."""
        return self.selection.backend.name


@dataclass(frozen=True)
class BenchRun:
    """The measurements of one run: seconds, tokens per second and peak resident bytes.

    The load ends when the first token is computed, because mapped weights are only read then.
    `first_token_seconds` is how long a one-off call waits: the load and the prompt together.
    `memory` is None if it is unknown.
    """

    load_seconds: float
    first_token_seconds: float
    prompt_tokens_per_second: float
    generated_tokens_per_second: float
    memory: int | None


@dataclass(frozen=True)
class CandidateRuns:
    """All runs of one candidate."""

    candidate: Candidate
    runs: tuple[BenchRun, ...]

    def median(self, measure: str) -> float | None:
        """The median of a field of `BenchRun`, or None if a run lacks it."""
        values = [getattr(run, measure) for run in self.runs]
        return None if None in values else float(statistics.median(values))


@dataclass(frozen=True)
class Benchmark:
    """All measurements; `bandwidth` is the speed of this machine's memory, in bytes/s."""

    model: GGUF
    workload: Workload
    bandwidth: float
    results: tuple[CandidateRuns, ...]

    def bandwidth_share(self, result: CandidateRuns) -> float | None:
        """Bytes of weights per token x tokens/s / bandwidth; None if a GPU has layers."""
        speed = result.median("generated_tokens_per_second")
        if speed is None or result.candidate.load.gpu_layers:
            return None
        return read_for_a_token(self.model) * speed / self.bandwidth


def select_candidates(
    engines: Sequence[str],
    model: GGUF,
    workload: Workload,
    *,
    gpu_layers: GpuLayers,
    threads: int | None,
    repack: bool | None,
    reporter: Reporter,
) -> list[Candidate]:
    """A candidate for each engine name; `threads` None means all usable cores.

    `repack` None repacks the weights if a call with as many tokens would. Raises UsageError, and
    ModelUnusable if an engine cannot run `model`.
    """
    context = workload.context_length
    if context > model.context_length:
        raise UsageError(
            f"the model was trained with {model.context_length} tokens of context, but this "
            f"benchmark needs {context}",
            hint="Use a smaller -p/--prompt-tokens and -n/--new-tokens.",
        )
    candidates = []
    for name in engines:
        selection = fit_gpu_layers(
            select_engine(EngineRequirements(name, gpu_layers), model), model, context
        )
        if selection.warning:
            reporter.warn(selection.warning)
        load = LoadOptions(context, threads or usable_cores(), selection.gpu_layers)
        load = replace(load, repack=_repack(selection, model, workload, repack))
        candidates.append(Candidate(selection, load))
    return candidates


def _repack(
    selection: EngineSelection, model: GGUF, workload: Workload, requested: bool | None
) -> bool:
    backend = selection.backend
    if not backend.repacking or selection.gpu_layers:
        if requested:
            message = f"{backend.name} cannot repack the weights here"
            raise UsageError(message, hint="Drop --repack.")
        return False
    if requested is not None:
        return requested
    memory = backend.memory(model, workload.context_length, 0)
    tokens = workload.prompt_tokens, workload.new_tokens
    return repack_pays(backend.repacking, model, *tokens, memory)[0]


def measure(
    model: GGUF,
    candidates: Sequence[Candidate],
    workload: Workload,
    reporter: Reporter,
) -> Benchmark:
    """Run `workload` on every candidate in turn and repeat, so that all meet the same conditions.

    Raises what `open_session` and its streams raise, also if an engine's process dies.
    """
    reporter.status("measuring the memory bandwidth …")
    bandwidth = memory_bandwidth(usable_cores())
    if not workload.cold:  # otherwise only the first run would read the file from the disk
        reporter.status("reading the model file …")
        _read_through(model)
    runs: list[list[BenchRun]] = [[] for _ in candidates]
    for number in range(1, workload.repetitions + 1):
        for candidate, finished in zip(candidates, runs, strict=True):
            subject = f"{candidate.name}, run {number} of {workload.repetitions}"
            finished.append(_run(model, candidate, workload, subject, reporter))
    results = tuple(
        CandidateRuns(candidate, tuple(finished))
        for candidate, finished in zip(candidates, runs, strict=True)
    )
    return Benchmark(model, workload, bandwidth, results)


def _run(
    model: GGUF, candidate: Candidate, workload: Workload, subject: str, reporter: Reporter
) -> BenchRun:
    if workload.cold:
        _drop_from_page_cache(model)
    reporter.status(f"{subject}: loading …")
    random_ids = _random_ids(model)
    with open_in_process(candidate.selection, model, candidate.load, reporter.warn) as session:
        first_token, _ = _time_stream(session, (next(random_ids),), 1)
        load_seconds = session.load_seconds + first_token
        reporter.status(f"{subject}: reading {workload.prompt_tokens} tokens …")
        prompt = tuple(next(random_ids) for _ in range(workload.prompt_tokens))
        prefill_seconds, _ = _time_stream(session, prompt, 1)
        reporter.status(f"{subject}: writing {workload.new_tokens} tokens …")
        first, last = _time_stream(session, (next(random_ids),), workload.new_tokens)
        return BenchRun(
            load_seconds,
            load_seconds + prefill_seconds,
            workload.prompt_tokens / prefill_seconds,
            (workload.new_tokens - 1) / (last - first),
            resident_peak(session.pid),
        )


def _time_stream(
    session: IsolatedSession, prompt: tuple[int, ...], new_tokens: int
) -> tuple[float, float]:
    """The seconds until the first token (after the prefill) and until the last one."""
    request = Request(prompt, new_tokens, _GREEDY, ignore_eos=True)
    started, first = time.perf_counter(), 0.0
    for event in session.stream(request):
        seconds = time.perf_counter() - started
        if not isinstance(event, PrefillProgress):
            first = first or seconds
        if isinstance(event, Finish) and event.completion_tokens == new_tokens:
            return first, seconds
    raise EngineFailed(
        f"the engine wrote fewer than the requested {new_tokens} tokens",
        hint="Try another --engine.",
    )


def _random_ids(model: GGUF) -> Iterator[int]:
    """Ordinary tokens at random, the same in every run."""
    generator = random.Random(0)
    types = model.token_types or (_NORMAL_TOKEN,) * len(model.tokens)
    ordinary = [token for token, kind in enumerate(types) if kind == _NORMAL_TOKEN]
    while True:
        yield generator.choice(ordinary)


def _read_through(model: GGUF) -> None:
    for path in model.files:
        with path.open("rb", buffering=0) as file:
            while file.read(_READ_SIZE):
                pass


def _drop_from_page_cache(model: GGUF) -> None:
    if not hasattr(os, "posix_fadvise"):
        raise UsageError("this system cannot drop a file from its page cache", hint="Drop --cold.")
    for path in model.files:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def memory_bandwidth(threads: int) -> float:
    """Measure the bytes per second that `threads` threads together read from memory, in order.

    This bounds the speed of generation on a CPU. Each thread takes the maximum of its part of an
    array much larger than any cache: NumPy does that with wide loads and without the GIL. The
    best of several passes counts, as in STREAM.
    """
    import numpy as np

    available = available_memory()
    size = _BANDWIDTH_BYTES
    if available is not None:
        size = min(size, available // _BANDWIDTH_MEMORY_SHARE)
    numbers = np.ones(size // 4, np.float32)
    parts = np.array_split(numbers, threads)
    with ThreadPoolExecutor(threads) as pool:
        return max(
            numbers.nbytes / _seconds_of_a_pass(pool, parts) for _ in range(_BANDWIDTH_PASSES)
        )


def _seconds_of_a_pass(pool: ThreadPoolExecutor, parts: Sequence[Any]) -> float:
    started = time.perf_counter()
    for maximum in pool.map(lambda part: part.max(), parts):
        assert maximum == 1
    return time.perf_counter() - started
