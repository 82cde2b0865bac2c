"""What runs on a node: one model, open in a process of its own, that answers rows.

The driver, which reads rows and writes results, is elsewhere, so that everything here arrives as
pickles and leaves as pickles. Nothing here imports Ray.
"""

from __future__ import annotations

import contextlib
import io
import socket
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from mistral_cli import __version__
from mistral_cli.batch.capacity import BatchPlan
from mistral_cli.batch.session import BatchSession
from mistral_cli.batch.worker import Worker
from mistral_cli.engines.isolated.handle import EngineProcess
from mistral_cli.engines.isolated.messages import RemoteError
from mistral_cli.engines.parallelism import slots_for
from mistral_cli.engines.selection import fit_gpu_layers, select_engine
from mistral_cli.errors import MistralCliError, ModelUnusable, UsageError
from mistral_cli.models.checksums import cached_sha256, model_digest
from mistral_cli.models.gguf import read_gguf
from mistral_cli.models.lock import hold_lock
from mistral_cli.models.references import resolve_reference
from mistral_cli.system.config import Config, cache_dir
from mistral_cli.system.machine import free_cores, threads_for, usable_cores
from mistral_cli.system.reporter import Reporter
from mistral_cli.system.threads import drain

if TYPE_CHECKING:
    from mistral_cli.batch.formats import Record
    from mistral_cli.batch.prompts import RowPrompts, WorkItem
    from mistral_cli.generation.config import RunConfig
    from mistral_cli.generation.planner import RequestPlanner

_POLL_SECONDS = 0.5  # until an actor that finishes nothing shows that it is alive


@dataclass(frozen=True)
class ActorJob:
    """What each actor of a batch has to know.

    `planner` is the driver's, and `reference` names the model whose file has `digest`. `first` are
    some rows, which show what all prompts begin with. With `slots` None each actor chooses the
    number for its machine, for prompts of `prompt_tokens`. `threads` is what the user asked for.
    `timeout` is the limit for a row, in seconds.
    """

    prompts: RowPrompts
    planner: RequestPlanner
    first: tuple[WorkItem, ...]
    settings: Config
    reference: str
    digest: str
    slots: int | None
    prompt_tokens: int
    threads: int | None
    timeout: float | None
    exact: bool
    offline: bool
    version: str = __version__


@dataclass(frozen=True)
class ActorReady:
    """From an actor: its model is open."""

    host: str
    slots: int
    gpu_layers: int
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Finished:
    """From an actor: rows by their numbers, each with its record, or with the engine's death.

    `answers` has the tokens of each answer since the last message; with `in_chunks` some row was
    answered in chunks.
    """

    outcomes: list[tuple[int, Record | RemoteError]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    in_chunks: bool = False
    warnings: list[str] = field(default_factory=list)


class RowActor:
    """Answers the rows that `give` hands over; `take` returns what is finished.

    `share` is the number of actors on its node, which divide its cores. `most_slots` is the
    limit for a node that ran out of memory.
    """

    def __init__(self, job: ActorJob, share: int, most_slots: int | None) -> None:
        self._job, self._share, self._most_slots = job, share, most_slots
        self._reporter = Reporter(io.StringIO(), quiet=True)
        self._resources = contextlib.ExitStack()
        self._todo: SimpleQueue[tuple[int, WorkItem]] = SimpleQueue()
        self._done: SimpleQueue[tuple[int, Record | RemoteError]] = SimpleQueue()
        self._answers = SimpleQueue[int]()
        self._in_chunks = threading.Event()

    def open(self) -> ActorReady | RemoteError:
        """Find or download the model, and open it."""
        try:
            return self._open()
        except Exception as error:
            self._resources.close()
            return RemoteError.of(error)

    def give(self, rows: list[tuple[int, WorkItem]]) -> None:
        """Queue rows, each with its number."""
        for row in rows:
            self._todo.put(row)

    def take(self) -> Finished:
        """Wait until a row is finished, for half a second at most; return all that are."""
        outcomes: list[tuple[int, Record | RemoteError]] = []
        with contextlib.suppress(Empty):
            outcomes.append(self._done.get(timeout=_POLL_SECONDS))
            while True:
                outcomes.append(self._done.get_nowait())
        warnings, self._reporter.warnings = self._reporter.warnings, []
        return Finished(outcomes, drain(self._answers), self._in_chunks.is_set(), warnings)

    def close(self) -> None:
        """Close the model, and save its prompt cache."""
        self._resources.close()

    def _open(self) -> ActorReady:
        job = self._job
        if job.version != __version__:
            raise UsageError(
                f"mistral-cli is version {__version__} there, and {job.version} here",
                hint="Install the same version on every node.",
            )
        if job.offline:
            from mistral_cli.models.hub.api import go_offline

            go_offline()
        plan = self._plan(self._node_config())
        process = self._resources.enter_context(contextlib.closing(EngineProcess()))
        session = self._resources.enter_context(
            BatchSession(job.prompts, plan, job.first, self._reporter, process)
        )
        worker = Worker(
            job.prompts,
            session,
            job.timeout,
            job.exact,
            self._answers.put,
            self._in_chunks.set,
        )
        for _ in range(plan.parallel):
            threading.Thread(target=self._work, args=(worker,), daemon=True).start()
        warnings, self._reporter.warnings = tuple(self._reporter.warnings), []
        layers = session.current.session.gpu_layers
        return ActorReady(socket.gethostname(), plan.parallel, layers, warnings)

    def _node_config(self) -> RunConfig:
        """The driver's configuration with the model, the engine and the cores of this machine."""
        job, config = self._job, self._job.planner.config
        with hold_lock(cache_dir() / "ray-model.lock", "preparing the model", self._reporter):
            path = resolve_reference(job.reference, job.settings, self._reporter)
            model = read_gguf(path)
            digest = model_digest(model, self._reporter)
            for adapter in config.adapters:
                _check_adapter(adapter.path, adapter.digest, self._reporter)
        if digest != job.digest:
            raise ModelUnusable(
                f"{path} is not the file that {config.model_name} is here: its SHA-256 differs",
                hint="Use a reference with a revision, owner/repo/file.gguf@REVISION, or copy the "
                "file to every node.",
            )
        # By the name of the driver's engine, which the key of each row contains.
        requirements = replace(config.requirements, name=config.selection.backend.name)
        return replace(
            config,
            model=model,
            selection=select_engine(requirements, model),
            threads=job.threads or self._threads(),
            adapts_threads=config.adapts_threads and self._share == 1,
        )

    def _threads(self) -> int:
        """Its share of the cores, or what is free of it."""
        share = max(1, usable_cores() // self._share)
        return max(1, min(share, threads_for(free_cores(None))))

    def _plan(self, config: RunConfig) -> BatchPlan:
        """The driver's plan for the GPU and the memory of this machine."""
        job, context = self._job, self._job.planner.load.context_length
        selection = fit_gpu_layers(config.selection, config.model, context)
        config = replace(config, selection=selection)
        planner = replace(job.planner, config=config).with_load(
            threads=config.threads,
            adapts_threads=config.adapts_threads,
            gpu_layers=selection.gpu_layers,
            repack=job.planner.load.repack and not selection.gpu_layers,
        )
        prompts = [job.prompt_tokens]
        slots, _ = slots_for(
            job.slots, selection, config.model, context, selection.gpu_layers, prompts, more=True
        )
        return BatchPlan(planner, min(slots, self._most_slots or slots))

    def _work(self, worker: Worker) -> None:
        while True:
            number, item = self._todo.get()
            try:
                outcome: Record | RemoteError = worker.record(item)
            except MistralCliError as error:  # the engine's process died
                outcome = RemoteError.of(error)
            self._done.put((number, outcome))


def _check_adapter(path: Path, digest: str, reporter: Reporter) -> None:
    if not path.is_file() or cached_sha256(path, reporter) != digest:
        raise ModelUnusable(
            f"the adapter {path} is missing there, or is another file",
            hint="Copy it to the same path on every node.",
        )
