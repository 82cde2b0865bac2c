"""What answers are made with: an engine's ear, as many at once as it hears, and a memory."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mistral_cli.engines.types import Request
from mistral_cli.generation.answer import Answer
from mistral_cli.generation.checkpoint import PartialAnswers

if TYPE_CHECKING:
    from mistral_cli.generation.planner import Plan, Planner

OnText = Callable[[str], None]
Ask = Callable[[Request, Sequence[str], OnText], Answer]
"""Run a request that ends before any of the stop texts, hand on the text, return the whole."""


def silent(_: str) -> None:
    """Take a text that nobody wants to see as it comes."""


@dataclass
class Executor:
    """Puts plans to an engine. `say` tells a person what is being done.

    `ask` must be safe for use by `parallel` threads at once. `kept` has the answers to parts
    that an earlier, interrupted run had got.
    """

    planner: Planner
    ask: Ask
    parallel: int = 1
    say: Callable[[str], None] = silent
    kept: PartialAnswers = field(default_factory=PartialAnswers)

    def asking(self, plan: Plan) -> Callable[[Request, OnText], Answer]:
        """How to put requests about `plan`, which end where its answers do."""
        return lambda request, on_text: self.ask(request, plan.stop, on_text)

    def answer(self, plan: Plan, on_text: OnText = silent) -> Answer:
        """The answer to one plan."""
        return self.ask(plan.request, plan.stop, on_text)

    def answer_part(self, plan: Plan) -> Answer:
        """The answer to one of several plans, which is kept until the whole is there."""
        if found := self.kept.get(plan):
            return found
        answer = self.answer(plan)
        self.kept.put(plan, answer)
        return answer

    def answers(
        self, plans: Sequence[Plan], one: Callable[[Plan], Answer] | None = None
    ) -> Iterator[Answer]:
        """The answers to all of them, in their order, several being asked at once."""
        one = one or self.answer_part
        if min(self.parallel, len(plans)) <= 1:
            yield from map(one, plans)
            return
        yield from _in_threads(one, plans, min(self.parallel, len(plans)))


def _in_threads(
    one: Callable[[Plan], Answer], plans: Sequence[Plan], threads: int
) -> Iterator[Answer]:
    # Not a ThreadPoolExecutor: leaving it waits for what is under way, Ctrl-C or not.
    todo: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[int, Answer | BaseException]] = queue.SimpleQueue()

    def work() -> None:
        while (index := todo.get()) is not None:
            try:
                done.put((index, one(plans[index])))
            except BaseException as error:
                done.put((index, error))

    for index in range(len(plans)):
        todo.put(index)
    for _ in range(threads):
        todo.put(None)
        threading.Thread(target=work, daemon=True).start()
    early: dict[int, Answer] = {}
    try:
        for index in range(len(plans)):
            while index not in early:
                which, answer = done.get()
                if isinstance(answer, BaseException):
                    raise answer
                early[which] = answer
            yield early.pop(index)
    finally:
        while not todo.empty():  # after an error: nobody wants the rest
            todo.get()
        for _ in range(threads):
            todo.put(None)
