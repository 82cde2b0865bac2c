"""One run of a batch: what is left to do → answers → results, and the summary at the end."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli.batch.capacity import plan_batch
from mistral_cli.batch.checks import FailedChecks, is_worse, kept_note
from mistral_cli.batch.failures import FailureCounts
from mistral_cli.batch.orphans import orphans_note
from mistral_cli.batch.pool import Pool, WorkerPool
from mistral_cli.batch.progress import BatchProgress
from mistral_cli.batch.report.page import write_report
from mistral_cli.batch.run_report import RunReport, StatusFile
from mistral_cli.batch.session import BatchSession
from mistral_cli.batch.sinks.open import Sink, lines_file
from mistral_cli.batch.worker import Worker
from mistral_cli.engines.isolated.handle import EngineProcess
from mistral_cli.errors import ExitCode, MistralCliError, RowsFailed, Stopped, UsageError
from mistral_cli.system.signals import StopRequested, on_stop, stop_error

if TYPE_CHECKING:
    from mistral_cli.batch.capacity import BatchPlan
    from mistral_cli.batch.estimate import BatchEstimate
    from mistral_cli.batch.formats import Record
    from mistral_cli.batch.highlights import RowHighlights
    from mistral_cli.batch.options import BatchOptions
    from mistral_cli.batch.prompts import RowPrompts, WorkItem
    from mistral_cli.batch.stream import WorkStream
    from mistral_cli.generation.config import RunConfig
    from mistral_cli.system.terminal import Terminal


_TICK_SECONDS = 0.02  # between two looks at what is due


@dataclass
class BatchRun:
    """One run of a batch. `done` and `failed` count its own rows, once they are on the disk.

    `retries_checks` is False for a command without `--only-failed-checks`.
    """

    prompts: RowPrompts
    config: RunConfig
    options: BatchOptions
    sink: Sink
    terminal: Terminal
    stream: WorkStream
    highlights: RowHighlights | None = None
    done: int = 0
    failed: int = 0
    retries_checks: bool = True
    progress: BatchProgress | None = None
    _status: StatusFile | None = None
    _group: list[Record] = field(default_factory=list)  # not written yet
    _written: int = 0  # what the sink had written when rows were counted last
    _checks: FailedChecks = field(default_factory=FailedChecks)
    _failures: FailureCounts = field(default_factory=FailureCounts)
    _kept: int = 0  # earlier answers that were better than new ones
    _kept_failures: int = 0
    _shown: list[Record] = field(default_factory=list)  # for a report about stdout
    _orphans: int = 0
    _pruned: bool = False
    _tick_at: float = 0.0

    def estimate(self) -> BatchEstimate:
        """What a run would process, and how long it may take."""
        from mistral_cli.batch.estimate import estimate_batch

        existing = self.sink.recent_records()
        return estimate_batch(
            self.prompts, self.config, self.stream, self.options, existing, self.terminal
        )

    def run(self) -> None:
        """Process the items. Raises RowsFailed if rows failed, now or in an earlier run."""
        self._status = self._open_status()
        try:
            self._run()
        except MistralCliError as error:
            self._end_status(error)
            raise
        self._end_status(None)

    def _open_status(self) -> StatusFile | None:
        """The file that `batch status` reads, if there are results to read."""
        options = self.options
        if not options.can_resume:
            return None
        report = RunReport(
            f"batch {self.prompts.task.name}",
            self.config.model_name,
            self.config.selection.backend.name,
            options.shard,
        )
        return StatusFile(lines_file(Path(options.output_dir or str(options.output))), report)

    def _update_status(self) -> None:
        if self._status:
            stream = self.stream
            rows = stream.rows if stream.ended else None
            self._status.update(stream.rows, rows, done_before=stream.done + stream.failed)

    def _end_status(self, error: MistralCliError | None) -> None:
        self._update_status()
        if self._status:
            exit_code = error.exit_code if error else ExitCode.SUCCESS
            self._status.end(exit_code, error.message if error else None)

    def _run(self) -> None:
        error: MistralCliError | None = None
        first = self.stream.head()
        self.stream.check_inputs()
        try:
            if first:
                self._process(first)
        except StopRequested as stopped:
            message = f"stopped: {self._tally}"
            error = stop_error(stopped.number, message, resume_hint(self.options))
        except MistralCliError as raised:
            error = raised
        if error is None and (failed := self.stream.failed + self.failed):
            of_all = f" of {self.stream.rows}" if self.stream.ended else ""
            error = RowsFailed(f"{failed}{of_all} rows failed", hint=_retry_hint(self.options))
        with on_stop(lambda _: None):  # the remaining steps are short
            self.stream.close()
            finish, summarize = partial(self._finish, error), partial(self._summarize, error)
            for step in (finish, summarize, self._report, self._write_highlights):
                try:
                    step()
                except MistralCliError as raised:
                    if error:
                        self.terminal.error(raised.message, raised.hint)
                    error = error or raised
        if error:
            raise error

    def _process(self, first: Sequence[WorkItem]) -> None:
        """Store the record of each item. Raises RowsFailed after too many failures."""
        limit, failures = self.options.max_failures, 0
        with closing(self._answers(first)) as records:
            try:
                for record in records:
                    failures += record["error"] is not None
                    self._add(record)
                    if limit and failures >= limit:
                        count = "1 failure" if failures == 1 else f"{failures} failures"
                        hint = resume_hint(self.options)
                        raise RowsFailed(f"stopped after {count}", hint=hint)
            finally:
                self._flush()

    def _answers(self, first: Sequence[WorkItem]) -> Generator[Record, None, None]:
        """Open the model and yield the record of each item as it is finished."""
        options, terminal = self.options, self.terminal
        with ExitStack() as resources:
            # The engine's process starts while the batch is planned.
            elsewhere = self.config.selection.backend.remote or options.ray
            process = None if elsewhere else resources.enter_context(closing(EngineProcess()))
            more = not self.stream.ended
            plan = plan_batch(self.prompts, self.config, first, options, terminal, more=more)
            self.progress = BatchProgress(terminal, self.stream, options.progress_every)
            open_pool = self._ray_pool if options.ray else self._local_pool
            pool = resources.enter_context(open_pool(plan, first, self.progress, process))
            with closing(pool.records(self.stream.items(), self._tick)) as records:
                yield from records
            self.progress.end()

    @contextmanager
    def _local_pool(
        self,
        plan: BatchPlan,
        first: Sequence[WorkItem],
        progress: BatchProgress,
        process: EngineProcess | None,
    ) -> Iterator[Pool]:
        """The threads of this process, and one open model."""
        with BatchSession(self.prompts, plan, first, self.terminal, process) as session:
            worker = Worker(
                self.prompts,
                session,
                self.options.timeout,
                self.options.raw,
                progress.count_answer,
                progress.count_chunks,
            )
            yield WorkerPool(worker.record, worker.failure, plan.parallel)

    @contextmanager
    def _ray_pool(
        self,
        plan: BatchPlan,
        first: Sequence[WorkItem],
        progress: BatchProgress,
        _: EngineProcess | None,
    ) -> Iterator[Pool]:
        """The actors of a Ray cluster."""
        from mistral_cli.batch.cluster.open import open_ray_pool

        options, terminal = self.options, self.terminal
        with open_ray_pool(self.prompts, plan.planner, first, options, progress, terminal) as pool:
            yield pool

    def _tick(self) -> None:
        if (now := time.monotonic()) < self._tick_at:
            return
        self._tick_at = now + _TICK_SECONDS
        if self.sink.is_flush_due:
            self._flush()
        self._update_status()
        if self.progress:
            self.progress.show()

    def _add(self, record: Record) -> None:
        """Add a record to the group to write next, unless the row's earlier one is better."""
        if self.options.only_failed_checks:
            earlier = self.sink.earlier(record["id"])
            if earlier is not None and is_worse(record, earlier):
                self.sink.forget(record["id"])
                self._kept += 1
                self._kept_failures += record["error"] is not None
                self._failures.add(record)
                self._count(earlier)
                return
        self.sink.add(record)
        self._group.append(record)
        if self.sink.is_flush_due:
            self._flush()

    def _flush(self) -> None:
        """Write the group, and count what is on the disk. Raises ResultsNotWritten."""
        try:
            self.sink.flush()
        finally:
            count = self.sink.written - self._written
            self._written = self.sink.written
            written, self._group = self._group[:count], self._group[count:]
            for record in written:
                self._count(record)

    def _count(self, record: Record) -> None:
        """Count a row that has its result."""
        failed = record["error"] is not None
        self.failed += failed
        self.done += not failed
        if self.progress:
            self.progress.count_row(self.stream.finished(record["id"]), failed=failed)
        if failed:
            self._failures.add(record)
        else:
            self._checks.add(record)
        if self.highlights:
            self.highlights.keep(record)
        if self.options.report and not self.options.can_resume:
            self._shown.append({**record, "text": None, "data": None, "citations": None})

    @property
    def _tally(self) -> str:
        stream, earlier = self.stream, self.stream.done
        done, failed = earlier + self.done, stream.failed + self.failed
        before = f", {earlier} of them in earlier runs" if earlier else ""
        if not stream.ended:
            return f"{done} rows done{before}, {failed} failed; the inputs were not read to the end"
        left = stream.rows - done - failed
        return (
            f"{done} of {stream.rows} rows done{before}, {failed} failed"
            f"{f', {left} left' if left else ''}"
        )

    def _finish(self, error: MistralCliError | None) -> None:
        self._orphans = self.stream.orphans
        problem = None
        try:
            self.stream.check_inputs()
        except UsageError as raised:
            problem = raised
        prune = self.options.prune and self.stream.ended and not problem
        self.sink.finish(
            ordered=self.options.ordered,
            present=self.stream.present,
            prune=prune,
            hurried=isinstance(error, Stopped),
        )
        self._pruned = prune
        if problem:
            raise problem

    def _summarize(self, error: MistralCliError | None) -> None:
        """Print the tally, unless `error` contains it, and the tables of checks and failures."""
        terminal = self.terminal
        terminal.clear_status()
        if not isinstance(error, Stopped):
            terminal.note(self._tally)
        if self._orphans:
            terminal.note(orphans_note(self._orphans, pruned=self._pruned))
        if self._kept:
            terminal.note(kept_note(self._kept, self._kept_failures))
        for record in self.sink.settled_records(failed=False):
            self._checks.add(record)
        if lines := self._checks.table():
            for line in lines:
                terminal.note(line)
            if self.options.can_resume and self.retries_checks:
                terminal.note("--only-failed-checks processes these rows again")
        for record in self.sink.settled_records(failed=True):
            self._failures.add(record)
        for line in self._failures.table():
            terminal.error_detail(line)

    def _report(self) -> None:
        if path := self.options.report:
            records = list(self.sink.existing_records()) or self._shown
            write_report(path, records, self._facts)

    def _write_highlights(self) -> None:
        if self.highlights:
            existing = self.sink.existing_records()
            self.highlights.write(existing, self._facts, self.stream.rows)

    @property
    def _facts(self) -> dict[str, str]:
        """What the pages about this batch say at the top."""
        return {
            "Task": self.prompts.task.name,
            "Model": " + ".join((self.config.model_name, *map(str, self.config.adapters))),
            "Engine": self.config.selection.backend.name,
            "Output": self.sink.name,
        }


def _retry_hint(options: BatchOptions) -> str:
    if options.can_resume:
        return "Use --retry-failed to retry them."
    return "With -o FILE, a later run with --retry-failed could retry them."


def resume_hint(options: BatchOptions) -> str:
    """Return how to continue a batch that has stopped."""
    if options.can_resume:
        return "Run the same command again to continue."
    return "With -o FILE, a later run could continue from here."
