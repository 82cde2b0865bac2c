"""Open a model with its prompt cache, and run requests on it, several at once."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from queue import SimpleQueue
from typing import TYPE_CHECKING

from mistral_cli.engines.loader import open_session
from mistral_cli.engines.reasoning import SessionCalls, stream_answer
from mistral_cli.engines.stop_texts import until_stop
from mistral_cli.generation.answer import Answer, Result, collect, collect_scores, cut_warning
from mistral_cli.generation.checkpoint import PartialAnswers
from mistral_cli.generation.prompt_cache.cache import PromptCache, states_folder
from mistral_cli.generation.reasoning import refuse_unanswered
from mistral_cli.serving.client import ServedSession
from mistral_cli.system.threads import drain, start_workers

if TYPE_CHECKING:
    from mistral_cli.engines.isolated.handle import EngineProcess
    from mistral_cli.engines.protocol import Session
    from mistral_cli.engines.types import PrefillProgress, Request, ScoreRequest, Scores
    from mistral_cli.generation.planner import PreparedRequest, RequestPlanner
    from mistral_cli.models.gguf.plain_text import Tokenize
    from mistral_cli.system.reporter import Reporter

_REMEMBERED_TEXTS, _LONGEST_REMEMBERED = 64, 4000

OnText = Callable[[str], None]
Ask = Callable[["Request", Sequence[str], OnText], Answer]
"""Run a request until a stop text, pass on the text as it streams, and return the answer."""


Score = Callable[["ScoreRequest"], tuple[Answer, "Scores"]]
"""Score continuations, and return what that cost, as an answer without text."""


def ignore(_: str) -> None:
    """Ignore text as it streams: the whole answer is enough."""


def cannot_score(_: ScoreRequest) -> tuple[Answer, Scores]:
    """Stands where no request needs scores."""
    raise NotImplementedError


@dataclass
class ActiveSession:
    """An open session, with its planner and its prompt cache.

    `planner` tokenizes with the session, and has the number of GPU layers that were loaded.
    """

    planner: RequestPlanner
    session: Session
    cache: PromptCache
    load_seconds: float
    on_progress: Callable[[PrefillProgress], None] = lambda _: None
    on_reasoning: Callable[[str], None] = ignore
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, request: Request, stop: Sequence[str], on_text: OnText) -> Answer:
        """Run a request, as `Ask` describes. The first answer has the load time."""
        calls = SessionCalls(self.session.stream, self.session.tokenize)
        # A server's answer that nobody reads yet can be asked for again if it is interrupted.
        remote = self.planner.config.selection.backend.remote
        needed_at_once = stop or request.grammar or request.thinking or on_text is not ignore
        request = replace(request, stream=bool(needed_at_once) or not remote)
        answer = collect(
            until_stop(stream_answer(calls, self.cache.prepared(request)), stop),
            prompt_tokens=len(request.prompt_token_ids),
            load_seconds=self._take_load_seconds(),
            on_progress=self.on_progress,
            on_text=on_text,
            on_reasoning=self.on_reasoning,
        )
        return refuse_unanswered(answer)

    def score(self, request: ScoreRequest) -> tuple[Answer, Scores]:
        """Score continuations, as `Score` describes. The first answer has the load time."""
        return collect_scores(
            self.session.score(self.cache.prepared(request)),
            prompt_tokens=len(request.prompt_token_ids),
            load_seconds=self._take_load_seconds(),
            on_progress=self.on_progress,
        )

    def _take_load_seconds(self) -> float:
        with self._lock:
            seconds, self.load_seconds = self.load_seconds, 0.0
        return seconds


@contextlib.contextmanager
def open_planned(
    planner: RequestPlanner,
    parallel: int,
    reporter: Reporter,
    *,
    upcoming: Sequence[Request] = (),
    process: EngineProcess | None = None,
) -> Iterator[ActiveSession]:
    """Open the model of `planner` for `parallel` streams, with its prompt cache.

    While the model loads, the cache looks up the prefixes of the `upcoming` requests. With
    `process` the model is opened in that process. Raises the errors of `open_session`.
    """
    config, started = planner.config, time.perf_counter()
    with contextlib.ExitStack() as resources:
        states = None
        if not config.served:  # a server's slots keep their prefixes themselves
            folder = states_folder(config.selection, config.cache_limit, parallel, reporter.info)
            states = resources.enter_context(folder)
        planner = planner.with_load(parallel=parallel, states=states)
        cache = _prompt_cache(planner, reporter)
        cache.look_ahead(upcoming)
        session = resources.enter_context(_open(planner, reporter, process))
        seconds = time.perf_counter() - started
        if session.gpu_layers != planner.load.gpu_layers:  # fewer fit than planned
            planner = planner.with_load(gpu_layers=session.gpu_layers)
            cache = _prompt_cache(planner, reporter)
        planner = replace(planner, tokenize=_remembering(session.tokenize))
        try:
            yield ActiveSession(planner, session, cache, seconds)
        finally:  # after Ctrl-C too, since a prefill may have taken minutes
            cache.save()


def _remembering(tokenize: Tokenize) -> Tokenize:
    """`tokenize` that remembers short texts: a part of each prompt may be the same in all.

    It is asked in another process, which takes 0.1 ms.
    """
    remembered = lru_cache(_REMEMBERED_TEXTS)(lambda text: tuple(tokenize(text)))

    def tokens(text: str) -> list[int]:
        return list(remembered(text)) if len(text) <= _LONGEST_REMEMBERED else tokenize(text)

    return tokens


def _open(planner: RequestPlanner, reporter: Reporter, process: EngineProcess | None) -> Session:
    config = planner.config
    if config.served:
        return ServedSession(config.served, config.model, planner.load.parallel)
    reporter.status(f"loading {config.model_name} …")
    return open_session(config.selection, config.model, planner.load, reporter.warn, process)


def _prompt_cache(planner: RequestPlanner, reporter: Reporter) -> PromptCache:
    config = planner.config
    return PromptCache(
        config.model,
        config.model_name,
        config.selection,
        planner.load,
        config.cache_limit,
        reporter.info,
    )


@dataclass
class Executor:
    """Runs prepared requests on a session, several at once, with checkpoints.

    `ask` must be safe for `parallel` threads. `status` shows the current step to the user.
    `partial` has the answers of an earlier, interrupted run. `score` is like `ask`, for
    continuations.
    """

    planner: RequestPlanner
    ask: Ask
    parallel: int = 1
    status: Callable[[str], None] = ignore
    partial: PartialAnswers = field(default_factory=PartialAnswers)
    score: Score = cannot_score

    def answer(self, prepared: PreparedRequest, on_text: OnText = ignore) -> Answer:
        """Run one request."""
        return self.ask(prepared.request, prepared.stop, on_text)

    def answers(
        self,
        requests: Sequence[PreparedRequest],
        answer: Callable[[PreparedRequest], Answer] | None = None,
        is_final: Callable[[PreparedRequest, Answer], bool] = lambda *_: True,
    ) -> Iterator[Answer]:
        """The answers to all requests, in order. Each is saved as a checkpoint.

        `answer` runs one of the requests, instead of the method `answer`. An answer of an earlier
        run that is not `is_final` is requested again.
        """
        run = answer or self.answer

        def resume_or_run(prepared: PreparedRequest) -> Answer:
            earlier = self.partial.get(prepared)
            if earlier and is_final(prepared, earlier):
                return earlier
            new = run(prepared)
            self.partial.put(prepared, new)
            return new

        threads = min(self.parallel, len(requests))
        if threads <= 1:
            return map(resume_or_run, requests)
        return _in_threads(resume_or_run, requests, threads)

    def result(self, prepared: PreparedRequest, answer: Answer) -> Result:
        """The result of one request about a whole text, with a warning if the answer was cut."""
        return Result(self.planner, prepared, answer, warnings=cut_warning(prepared, answer))


def _in_threads(
    answer: Callable[[PreparedRequest], Answer], requests: Sequence[PreparedRequest], threads: int
) -> Iterator[Answer]:
    """The answers in the order of their requests. After an error no further request starts."""
    todo: SimpleQueue[int] = SimpleQueue()
    done: SimpleQueue[tuple[int, Answer | BaseException] | None] = SimpleQueue()
    for index in range(len(requests)):
        todo.put(index)
    start_workers(lambda index: answer(requests[index]), todo, done.put, threads)
    early: dict[int, Answer] = {}
    try:
        for index in range(len(requests)):
            while index not in early:
                if outcome := done.get():
                    number, answer_or_error = outcome
                    if isinstance(answer_or_error, BaseException):
                        raise answer_or_error
                    early[number] = answer_or_error
            yield early.pop(index)
    finally:
        drain(todo)
