"""An open model at work: opened with its prompt cache, asked by several threads at once."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from queue import SimpleQueue
from typing import TYPE_CHECKING

from mistral_cli.engines.loader import open_session
from mistral_cli.generation.answer import Answer, Result, collect, cut_warning, until_stop
from mistral_cli.generation.checkpoint import PartialAnswers
from mistral_cli.generation.prompt_cache.cache import PromptCache, states_folder
from mistral_cli.serving.client import ServedSession
from mistral_cli.system.threads import drain, start_workers

if TYPE_CHECKING:
    from mistral_cli.engines.isolated.handle import EngineProcess
    from mistral_cli.engines.protocol import Session
    from mistral_cli.engines.types import PrefillProgress, Request
    from mistral_cli.generation.planner import PreparedRequest, RequestPlanner
    from mistral_cli.system.reporter import Reporter

OnText = Callable[[str], None]
Ask = Callable[["Request", Sequence[str], OnText], Answer]
"""Run a request until one of the stop texts, hand on the text as it comes, return the answer."""


def ignore(_: str) -> None:
    """Ignore text as it streams: the whole answer is enough."""


@dataclass
class ActiveSession:
    """A session with the planner for it and its prompt cache.

    `planner` tokenizes with the session and knows the GPU layers that it really has.
    """

    planner: RequestPlanner
    session: Session
    cache: PromptCache
    load_seconds: float
    on_progress: Callable[[PrefillProgress], None] = lambda _: None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, request: Request, stop: Sequence[str], on_text: OnText) -> Answer:
        """See Ask. The first answer reports the seconds that the load took."""
        return collect(
            until_stop(self.session.stream(self.cache.prepared(request)), stop),
            prompt_tokens=len(request.prompt_token_ids),
            load_seconds=self._take_load_seconds(),
            on_progress=self.on_progress,
            on_text=on_text,
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
    """Open the model of `planner` for so many `parallel` streams, with its prompt cache.

    While it loads, the cache looks for the prefixes of the `upcoming` requests. With `process`
    the model is opened there, isolated from this process. Raises what opening raises.
    """
    config, started = planner.config, time.perf_counter()
    with contextlib.ExitStack() as resources:
        states = None
        if not config.served:  # whose slots keep what they have read by themselves
            folder = states_folder(config.selection, config.cache_limit, parallel, reporter.info)
            states = resources.enter_context(folder)
        planner = planner.with_load(parallel=parallel, states=states)
        cache = _prompt_cache(planner, reporter)
        cache.look_ahead(upcoming)
        session = resources.enter_context(_open(planner, reporter, process))
        seconds = time.perf_counter() - started
        if session.gpu_layers != planner.load.gpu_layers:  # fewer fitted than were planned
            planner = planner.with_load(gpu_layers=session.gpu_layers)
            cache = _prompt_cache(planner, reporter)
        planner = replace(planner, tokenize=session.tokenize)
        try:
            yield ActiveSession(planner, session, cache, seconds)
        finally:  # after Ctrl-C too: what was prefilled for minutes is there for another question
            cache.keep()


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
    """Runs prepared requests on a session: several at once, with checkpoints.

    `ask` must be safe for `parallel` threads. `status` shows a person what is being done.
    `partial` has the answers that an earlier, interrupted run got.
    """

    planner: RequestPlanner
    ask: Ask
    parallel: int = 1
    status: Callable[[str], None] = ignore
    partial: PartialAnswers = field(default_factory=PartialAnswers)

    def answer(self, prepared: PreparedRequest, on_text: OnText = ignore) -> Answer:
        """The answer to one request."""
        return self.ask(prepared.request, prepared.stop, on_text)

    def answers(
        self,
        requests: Sequence[PreparedRequest],
        answer: Callable[[PreparedRequest], Answer] | None = None,
    ) -> Iterator[Answer]:
        """The answers to all requests, in their order; each is kept as a checkpoint.

        `answer` gets the answer to one of them, in place of the plain `answer` method.
        """
        ask = answer or self.answer

        def kept(prepared: PreparedRequest) -> Answer:
            if found := self.partial.get(prepared):
                return found
            new = ask(prepared)
            self.partial.put(prepared, new)
            return new

        threads = min(self.parallel, len(requests))
        if threads <= 1:
            return map(kept, requests)
        return _in_threads(kept, requests, threads)

    def result(self, prepared: PreparedRequest, answer: Answer) -> Result:
        """The result of one request about a whole text, with a warning if it was cut."""
        return Result(self.planner, prepared, answer, warnings=cut_warning(prepared, answer))


def _in_threads(
    answer: Callable[[PreparedRequest], Answer], requests: Sequence[PreparedRequest], threads: int
) -> Iterator[Answer]:
    """The answers in the order of their requests. An error ends the work that has not begun."""
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
                    which, found = outcome
                    if isinstance(found, BaseException):
                        raise found
                    early[which] = found
            yield early.pop(index)
    finally:
        drain(todo)
