"""How fast engines load and run a model here: every run in a process of its own."""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mistral_cli.diagnostics.bandwidth import memory_bandwidth
from mistral_cli.engines.hardware.memory import read_for_a_token
from mistral_cli.engines.isolated.session import IsolatedSession, open_in_process
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
from mistral_cli.system.machine import resident_peak, usable_cores

if TYPE_CHECKING:
    from mistral_cli.engines.options import GpuLayers
    from mistral_cli.models.gguf import GGUF

_GREEDY = Sampling(temperature=0.0, top_k=0, top_p=1.0, repetition_penalty=1.0, seed=0)
_NORMAL_TOKEN = 1
_CHUNK = 2**24  # bytes
_SPARE = 8  # tokens of context besides prompt and answer

Say = Callable[[str], None]


@dataclass(frozen=True)
class Workload:
    """What is measured: reading `prompt_tokens`, then writing `new_tokens` after another prompt.

    With `cold` the file is not in the page cache when a run begins.
    """

    prompt_tokens: int
    new_tokens: int
    repetitions: int
    cold: bool

    @property
    def context_length(self) -> int:
        """Tokens of context that it takes."""
        return max(self.prompt_tokens, self.new_tokens) + _SPARE


@dataclass(frozen=True)
class Contestant:
    """An engine, and how it opens the model."""

    selection: EngineSelection
    load: LoadOptions

    @property
    def name(self) -> str:
        """The engine's."""
        return self.selection.backend.name


@dataclass(frozen=True)
class Run:
    """One run: seconds, tokens a second, and bytes resident at the peak (None: not known).

    The load lasts until a first token is computed: mapped weights only come into memory then.
    `first_token_seconds` is what a one-off call waits: the load and the prompt together.
    """

    load_seconds: float
    first_token_seconds: float
    prompt_tokens_per_second: float
    generated_tokens_per_second: float
    memory: int | None


@dataclass(frozen=True)
class Result:
    """All runs of one contestant."""

    contestant: Contestant
    runs: tuple[Run, ...]

    def median(self, measure: str) -> float | None:
        """The median of a field of `Run`; None where it is not known."""
        values = [getattr(run, measure) for run in self.runs]
        return None if None in values else float(statistics.median(values))


@dataclass(frozen=True)
class Benchmark:
    """What was measured; `bandwidth` is what this machine reads of its memory, in bytes/s."""

    model: GGUF
    workload: Workload
    bandwidth: float
    results: tuple[Result, ...]

    def bandwidth_share(self, result: Result) -> float | None:
        """Bytes of weights read for a token x tokens/s / bandwidth; None with layers on a GPU."""
        speed = result.median("generated_tokens_per_second")
        if speed is None or result.contestant.load.gpu_layers:
            return None
        return read_for_a_token(self.model) * speed / self.bandwidth


def contestants(
    engines: Sequence[str],
    model: GGUF,
    workload: Workload,
    *,
    gpu_layers: GpuLayers,
    threads: int | None,
    repack: bool | None,
    warn: Say,
) -> list[Contestant]:
    """The engines by name, with all usable cores unless `threads` says otherwise.

    `repack` None rearranges the weights where a call with as many tokens would. Raises
    UsageError, ModelUnusable where one cannot run `model`.
    """
    context = workload.context_length
    if context > model.context_length:
        raise UsageError(
            f"the model was trained with {model.context_length} tokens of context, and this "
            f"takes {context}",
            hint="Use a smaller -p/--prompt-tokens and -n/--new-tokens.",
        )
    found = []
    for name in engines:
        selection = fit_gpu_layers(
            select_engine(EngineRequirements(name, gpu_layers), model), model, context
        )
        if selection.warning:
            warn(selection.warning)
        load = LoadOptions(context, threads or usable_cores(), selection.gpu_layers)
        load = replace(load, repack=_repack(selection, model, workload, repack))
        found.append(Contestant(selection, load))
    return found


def _repack(
    selection: EngineSelection, model: GGUF, workload: Workload, wanted: bool | None
) -> bool:
    engine = selection.backend
    if not engine.repacking or selection.gpu_layers:
        if wanted:
            message = f"{engine.name} does not rearrange weights here"
            raise UsageError(message, hint="Drop --repack.")
        return False
    if wanted is not None:
        return wanted
    memory = engine.memory(model, workload.context_length, 0)
    tokens = workload.prompt_tokens, workload.new_tokens
    return repack_pays(engine.repacking, model, *tokens, memory)[0]


def measure(
    model: GGUF, contestants: Sequence[Contestant], workload: Workload, say: Say, warn: Say
) -> Benchmark:
    """Run `workload` on every contestant in turn, and again, so that all see the same machine.

    `say` is told what is going on. Raises what `open_in_process` and its streams raise, also
    where an engine's process dies.
    """
    say("measuring the memory's bandwidth …")
    bandwidth = memory_bandwidth(usable_cores())
    if not workload.cold:  # else the first run alone would read the file from the disk
        say("reading the file …")
        _read_through(model)
    runs: list[list[Run]] = [[] for _ in contestants]
    for number in range(1, workload.repetitions + 1):
        for contestant, found in zip(contestants, runs, strict=True):
            tell = _about(say, f"{contestant.name}, run {number} of {workload.repetitions}")
            found.append(_run(model, contestant, workload, tell, warn))
    results = (Result(each, tuple(found)) for each, found in zip(contestants, runs, strict=True))
    return Benchmark(model, workload, bandwidth, tuple(results))


def _about(say: Say, subject: str) -> Say:
    return lambda what: say(f"{subject}: {what} …")


def _run(model: GGUF, contestant: Contestant, workload: Workload, say: Say, warn: Say) -> Run:
    if workload.cold:
        _drop_from_page_cache(model)
    say("loading")
    random_ids = _random_ids(model)
    with open_in_process(contestant.selection, model, contestant.load, warn) as engine:
        touched, _ = _times(engine, (next(random_ids),), 1)
        load_seconds = engine.load_seconds + touched
        say(f"reading {workload.prompt_tokens} tokens")
        prompt = tuple(next(random_ids) for _ in range(workload.prompt_tokens))
        read, _ = _times(engine, prompt, 1)
        say(f"writing {workload.new_tokens} tokens")
        first, last = _times(engine, (next(random_ids),), workload.new_tokens)
        return Run(
            load_seconds,
            load_seconds + read,
            workload.prompt_tokens / read,
            (workload.new_tokens - 1) / (last - first),
            resident_peak(engine.pid),
        )


def _times(
    engine: IsolatedSession, prompt: tuple[int, ...], new_tokens: int
) -> tuple[float, float]:
    """Seconds until the prompt is read and the first token drawn, and until the last is."""
    request = Request(prompt, new_tokens, _GREEDY, ignore_eos=True)
    started, first = time.perf_counter(), 0.0
    for event in engine.stream(request):
        seconds = time.perf_counter() - started
        if not isinstance(event, PrefillProgress):
            first = first or seconds
        if isinstance(event, Finish) and event.completion_tokens == new_tokens:
            return first, seconds
    raise EngineFailed(
        f"{new_tokens} tokens were asked for, and fewer came", hint="Try another --engine."
    )


def _random_ids(model: GGUF) -> Iterator[int]:
    """Ordinary tokens at random, the same ones in every run."""
    draw = random.Random(0)
    types = model.token_types or (_NORMAL_TOKEN,) * len(model.tokens)
    ordinary = [token for token, kind in enumerate(types) if kind == _NORMAL_TOKEN]
    while True:
        yield draw.choice(ordinary)


def _read_through(model: GGUF) -> None:
    with model.path.open("rb", buffering=0) as file:
        while file.read(_CHUNK):
            pass


def _drop_from_page_cache(model: GGUF) -> None:
    if not hasattr(os, "posix_fadvise"):
        raise UsageError("this system cannot drop a file from its page cache", hint="Drop --cold.")
    with model.path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
