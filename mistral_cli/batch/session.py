"""The open model of a batch, which is opened again if a row needs a longer context."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from mistral_cli.batch.capacity import shared_prefix
from mistral_cli.errors import MistralCliError
from mistral_cli.generation.chunking import TokenBudget
from mistral_cli.generation.planner import fix_context
from mistral_cli.generation.session import ActiveSession, Executor, open_planned

if TYPE_CHECKING:
    from mistral_cli.batch.capacity import BatchPlan
    from mistral_cli.batch.prompts import RowPrompts, WorkItem
    from mistral_cli.engines.isolated.handle import EngineProcess
    from mistral_cli.system.reporter import Reporter

_GROWTH = 2  # so that rows of growing length open the model a few times only


class BatchSession:
    """The open model, for several threads. A context manager.

    A thread works inside `using`. To `grow`, all wait until the rows in progress are done, and
    then the model is opened with a longer context, up to the longest allowed.
    """

    def __init__(
        self,
        prompts: RowPrompts,
        plan: BatchPlan,
        first: Sequence[WorkItem],
        reporter: Reporter,
        process: EngineProcess | None = None,
    ) -> None:
        """Open the model; the `first` rows show what all prompts begin with."""
        self._prompts, self._plan, self._reporter = prompts, plan, reporter
        self._changed = threading.Condition()
        self._users, self._is_growing = 0, False
        self._refusal: MistralCliError | None = None
        self._resources = ExitStack()
        self._open(plan, process)
        active = self._active
        executor = Executor(active.planner, active.ask, status=reporter.status, score=active.score)
        prompts.task.strategy.begin(executor, reporter)
        prefix = shared_prefix(prompts, active.planner, first)
        self._share(prefix)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    @contextmanager
    def using(self) -> Iterator[ActiveSession]:
        """Yield the open model, which stays open meanwhile."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_growing)
            self._users += 1
            active = self._active
        try:
            yield active
        finally:
            with self._changed:
                self._users -= 1
                if self._is_growing:
                    self._changed.notify_all()

    @property
    def current(self) -> ActiveSession:
        """The model as it was opened last."""
        return self._active

    def grow(self, context_length: int) -> None:
        """Open the model with a context of so many tokens at least. Not inside `using`.

        Raises the error of a model that cannot be opened with it; it is open as before then.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._is_growing)
            if context_length <= self._active.planner.load.context_length:
                return
            if self._refusal:
                raise self._refusal
            self._is_growing = True
            self._changed.wait_for(lambda: not self._users)
        try:
            self._reopen(context_length)
        finally:
            with self._changed:
                self._is_growing = False
                self._changed.notify_all()

    def _reopen(self, context_length: int) -> None:
        planner, reporter = self._active.planner, self._reporter
        now = planner.load.context_length
        wanted = min(max(context_length, _GROWTH * now), planner.config.longest)
        reporter.note(
            f"a row needs a context of {context_length:,} tokens: opening the model again"
        )
        self._resources.close()
        try:
            longer = fix_context(self._plan.planner, [TokenBudget(wanted)], reporter)
            self._open(replace(self._plan, planner=longer))
        except MistralCliError as error:
            self._refusal = error
            self._open(self._plan)
            raise
        finally:
            if planner.shared_prefix is not None:
                self._share(planner.shared_prefix)

    def _open(self, plan: BatchPlan, process: EngineProcess | None = None) -> None:
        from mistral_cli.engines.isolated.handle import EngineProcess

        if process is None and not plan.planner.config.selection.backend.remote:
            process = EngineProcess()
            self._resources.callback(process.close)
        try:
            opening = open_planned(plan.planner, plan.parallel, self._reporter, process=process)
            self._active = self._resources.enter_context(opening)
        except BaseException:
            self._resources.close()
            raise
        self._plan = plan
        self._reporter.clear_status()

    def _share(self, prefix: tuple[int, ...]) -> None:
        """Let the prompt cache keep what all prompts begin with."""
        self._active.planner = replace(self._active.planner, shared_prefix=prefix)
