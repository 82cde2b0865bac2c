"""Run a batch: rows → identities → what is still to be done → results."""

from __future__ import annotations

import signal
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from mistral_cli.batch.capacity import plan_batch
from mistral_cli.batch.failures import failures_table
from mistral_cli.batch.input.rows import read_rows
from mistral_cli.batch.options import BatchOptions, requested_slots
from mistral_cli.batch.pool import WorkerPool
from mistral_cli.batch.progress import BatchProgress
from mistral_cli.batch.prompts import Item, RowPrompts
from mistral_cli.batch.report.page import check_report, write_report
from mistral_cli.batch.sinks.open import Sink, open_sink
from mistral_cli.batch.worker import Worker
from mistral_cli.engines.isolated.handle import EngineProcess
from mistral_cli.errors import (
    Interrupted,
    MistralCliError,
    RowsFailed,
    Terminated,
    UsageError,
    first_line,
)
from mistral_cli.generation.config import RunConfig, resolve_config
from mistral_cli.generation.run import prompt_builder
from mistral_cli.generation.session import open_planned
from mistral_cli.models.checksums import cached_sha256
from mistral_cli.system.config import load_config
from mistral_cli.system.signals import StopRequested, on_stop, request_stop

if TYPE_CHECKING:
    from mistral_cli.batch.formats import Record
    from mistral_cli.batch.resume import ResumePlan
    from mistral_cli.generation.task import Task
    from mistral_cli.system.reporter import Reporter
    from mistral_cli.system.terminal import Terminal


def run_batch(task: Task, names: Sequence[str], options: BatchOptions, terminal: Terminal) -> None:
    """Do what is still to be done of a batch. Raises MistralCliError."""
    with on_stop(request_stop):
        try:
            _run(task, names, options, terminal)
        except StopRequested as asked:
            terminal.clear_status()
            raise _stopped(asked, "before a row was asked", options) from None


def _run(task: Task, names: Sequence[str], options: BatchOptions, terminal: Terminal) -> None:
    if task.jsonl:
        raise UsageError("a batch writes JSON Lines anyway", hint="Use --many in place of --jsonl.")
    requested_slots(options)
    if options.report:
        check_report(options.report, options.output)
    builder = prompt_builder(task, options, terminal)
    written = filter(None, (options.output, options.output_dir, options.report))
    rows = read_rows(
        names,
        terminal,
        outputs=list(written),
        input_format=options.input_format,
        text_field=options.text_field,
        id_field=options.id_field,
    )
    prompts = RowPrompts(builder, options.prompt)
    prompts.check(rows)
    config = resolve_config(task, builder.template, options, load_config(terminal.env), terminal)
    digest = cached_sha256(config.model.path, terminal)
    items = [prompts.item(row, config, digest) for row in rows]
    structured = builder.spec is not None
    with open_sink(options, items, structured=structured, terminal=terminal) as sink:
        resume = sink.resume_plan(items, options)
        todo = resume.todo[: options.limit]
        for item in (*resume.done, *resume.failed, *resume.todo[len(todo) :]):
            item.prompt = None  # only rows to be answered need one
        if options.dry_run:
            from mistral_cli.batch.estimate import estimate

            with plan_batch(prompts, config, todo, options, terminal) as plan:
                estimate(prompts, plan, resume, todo, sink.existing_records(), terminal)
            return
        Batch(prompts, config, options, sink, terminal, items, resume).run(todo)


@dataclass
class Batch:
    """A batch under way; `records` are those of this run, without their texts."""

    prompts: RowPrompts
    config: RunConfig
    options: BatchOptions
    sink: Sink
    reporter: Reporter
    items: Sequence[Item]
    resume: ResumePlan
    records: list[Record] = field(default_factory=list)

    def run(self, todo: Sequence[Item]) -> None:
        """Do the items `todo`. Raises RowsFailed where some failed, now or earlier."""
        end: MistralCliError | None = None
        try:
            if todo:
                end = self._do(todo)
        except StopRequested as asked:
            end = _stopped(asked, self._tally, self.options)
        except MistralCliError as error:
            end = error
        if end is None and self._failed:
            end = RowsFailed(
                f"{self._failed} of {len(self.items)} rows failed",
                hint=_try_again(self.options),
            )
        with on_stop(lambda _: None):  # it is nearly over
            for last in (self._finish, partial(self._tell, end), self._report):
                try:
                    last()
                except MistralCliError as error:
                    if end:
                        self.reporter.error(error.message, error.hint)
                    end = end or error
        if end:
            raise end

    @property
    def _done(self) -> int:
        return len(self.resume.done) + sum(r["error"] is None for r in self.records)

    @property
    def _failed_now(self) -> int:
        return sum(record["error"] is not None for record in self.records)

    @property
    def _failed(self) -> int:
        return len(self.resume.failed) + self._failed_now

    def _do(self, todo: Sequence[Item]) -> RowsFailed | None:
        """Do them, or as many until too many have failed: that is what is returned."""
        most, failed = self.options.max_failures, 0
        with closing(self._answered(todo)) as answered:
            for record in answered:
                self.sink.add(record)
                self.records.append({**record, "text": None, "data": None})
                failed += record["error"] is not None
                if most and failed >= most:
                    return RowsFailed(f"stopped after {failed} failures", hint=_go_on(self.options))
        return None

    def _answered(self, todo: Sequence[Item]) -> Generator[Record]:
        options, reporter = self.options, self.reporter
        with ExitStack() as resources:
            process = resources.enter_context(closing(EngineProcess()))  # it starts meanwhile
            with plan_batch(self.prompts, self.config, todo, options, reporter) as plan:
                pass
            active = resources.enter_context(
                open_planned(plan.planner, plan.parallel, reporter, process=process)
            )
            reporter.clear_status()
            sizes = [plan.size(item.key) for item in todo]
            progress = BatchProgress(
                reporter, sizes, options.progress_every, in_chunks=plan.in_parts
            )
            worker = Worker(
                self.prompts, active, options.timeout, options.raw, progress.count_answer
            )
            pool = WorkerPool(worker.record, worker.failure, plan.parallel)
            with closing(pool.records(todo, progress.show)) as records:
                for record in records:
                    size = plan.size(record["key"])
                    progress.count_row(size, failed=record["error"] is not None)
                    yield record
            progress.end()

    def _finish(self) -> None:
        self.sink.finish(self.items, ordered=self.options.ordered)

    @property
    def _tally(self) -> str:
        earlier = len(self.resume.done)
        left = len(self.items) - self._done - self._failed
        return (
            f"{self._done} of {len(self.items)} rows done"
            f"{f', {earlier} of them in earlier runs' if earlier else ''}, {self._failed} failed"
            f"{f', {left} left' if left else ''}"
        )

    def _tell(self, end: MistralCliError | None) -> None:
        """What has become of the rows: a line, unless `end` will say it, and the failures."""
        self.reporter.clear_status()
        if not isinstance(end, (Interrupted, Terminated)):
            self.reporter.note(self._tally)
        failed = [record for record in self.records if record["error"] is not None]
        if names := {item.row.id for item in self.resume.failed}:
            failed += [record for record in self.sink.existing_records() if record["id"] in names]
        for line in failures_table(failed):
            self.reporter.error_detail(line)

    def _report(self) -> None:
        path = self.options.report
        if path is None:
            return
        facts = {
            "Task": self.prompts.builder.task.name,
            "Model": " + ".join((self.config.model_name, *map(str, self.config.adapters))),
            "Engine": self.config.selection.backend.name,
            "Output": self.sink.name,
        }
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_report(path, list(self.sink.existing_records()) or self.records, facts)
        except OSError as error:
            raise UsageError(
                f"cannot write {path}: {error.strerror or first_line(error)}", hint="Name another."
            ) from error


def _stopped(asked: StopRequested, how_far: str, options: BatchOptions) -> MistralCliError:
    kind = Interrupted if asked.number == signal.SIGINT else Terminated
    return kind(f"stopped: {how_far}", hint=_go_on(options))


def _try_again(options: BatchOptions) -> str:
    again = "`--retry-failed` tries them again."
    return again if options.can_resume else f"With -o FILE {again}"


def _go_on(options: BatchOptions) -> str:
    if options.can_resume:
        return "Run the same command again to go on."
    return "With -o FILE a later run would go on here."
