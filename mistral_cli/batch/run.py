"""Runs a batch: inputs → rows → work items → what is left to do → results."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from mistral_cli.batch.capacity import plan_batch
from mistral_cli.batch.checks import check_only_failed, checks_table, is_worse, kept_note
from mistral_cli.batch.failures import failures_table
from mistral_cli.batch.highlights import RowHighlights, check_page
from mistral_cli.batch.input.rows import check_unique, read_rows
from mistral_cli.batch.options import BatchOptions, requested_slots
from mistral_cli.batch.orphans import (
    check_inputs_are_complete,
    check_prune,
    orphans_note,
    reads_stdin,
)
from mistral_cli.batch.pool import WorkerPool
from mistral_cli.batch.progress import BatchProgress
from mistral_cli.batch.prompts import RowPrompts, WorkItem
from mistral_cli.batch.report.page import check_report, write_report
from mistral_cli.batch.shard import Shard
from mistral_cli.batch.sinks.open import Sink, open_sink
from mistral_cli.batch.worker import Worker
from mistral_cli.engines.isolated.handle import EngineProcess
from mistral_cli.errors import (
    MistralCliError,
    RowsFailed,
    Stopped,
    UsageError,
)
from mistral_cli.generation.config import RunConfig, resolve_config
from mistral_cli.generation.run import prompt_builder
from mistral_cli.generation.session import Executor, open_planned
from mistral_cli.models.checksums import model_digest
from mistral_cli.system.signals import StopRequested, on_stop, request_stop, stop_error
from mistral_cli.system.stdout import write_envelope

if TYPE_CHECKING:
    from mistral_cli.batch.estimate import BatchEstimate
    from mistral_cli.batch.formats import Record
    from mistral_cli.batch.input.rows import Row
    from mistral_cli.batch.resume import ResumePlan
    from mistral_cli.generation.task import Task
    from mistral_cli.models.call import CallContext
    from mistral_cli.system.terminal import Terminal


def run_batch(task: Task, names: Sequence[str], options: BatchOptions, terminal: Terminal) -> None:
    """Process the rows that have no result yet. Raises MistralCliError."""
    with stoppable_batch(options, terminal):
        _check_options(task, names, options)
        call = options.call(terminal)
        task, options = task.with_files(call), task.adjusted(options.decoded(call))
        builder = prompt_builder(task, options, call)
        prompts = RowPrompts(task, builder, options.prompt)
        rows = _read_rows(names, task, options, call)
        with prepared_run(
            prompts, rows, options, call, are_all=not (reads_stdin(names) or options.shard)
        ) as run:
            if options.dry_run:
                estimate = run.estimate()
                write_envelope(terminal, {"command": f"batch {task.name}", **estimate.fields()})
                estimate.report(terminal)
            else:
                run.run()


@contextmanager
def stoppable_batch(options: BatchOptions, terminal: Terminal) -> Iterator[None]:
    """Raise Stopped where a signal comes before the first row is processed."""
    with on_stop(request_stop):
        try:
            yield
        except StopRequested as stopped:
            terminal.clear_status()
            message = "stopped before the first row"
            raise stop_error(stopped.number, message, _resume_hint(options)) from None


@contextmanager
def prepared_run(
    prompts: RowPrompts,
    rows: Sequence[Row],
    options: BatchOptions,
    call: CallContext,
    *,
    are_all: bool = False,
) -> Iterator[BatchRun]:
    """Yield the run of a batch; its results stay open for reading until the `with` block ends.

    `options` are decoded. If the rows `are_all` of the batch, results of others are orphaned.
    Raises MistralCliError.
    """
    task, terminal = prompts.task, call.terminal
    prompts.check(rows)
    config = resolve_config(
        prompts.builder.template,
        options,
        call.config,
        terminal,
        strategy=task.strategy,
        on_limit=task.on_limit,
        constrained=prompts.builder.is_constrained,
        overrides=[row.overrides for row in rows],
        began=call.began,
    )
    digest = model_digest(config.model, terminal)
    items = [prompts.item(row, config, digest) for row in rows]
    structured = prompts.builder.spec is not None
    rewrites = task.strategy.rewrites
    with open_sink(
        options, items, structured=structured, rewrites=rewrites, terminal=terminal
    ) as sink:
        orphans = len(sink.orphans(items)) if are_all else 0
        resume = sink.resume_plan(items, options)
        todo = resume.todo[: options.limit]
        for item in (*resume.done, *resume.failed, *resume.todo[len(todo) :]):
            item.prompt = None  # only the rows of this run need one
        yield BatchRun(prompts, config, options, sink, terminal, items, resume, todo, orphans)


def _check_options(task: Task, names: Sequence[str], options: BatchOptions) -> None:
    """Raise UsageError for options that exclude each other, or a page at a wrong place."""
    if task.jsonl:
        raise UsageError(
            "--jsonl does not apply to a batch, which always writes JSON Lines",
            hint="Use --many instead of --jsonl.",
        )
    requested_slots(options)
    check_prune(names, options)
    check_only_failed(options)
    if options.report:
        check_report(options.report, options.output)
    check_page(task, options)


def _read_rows(
    names: Sequence[str], task: Task, options: BatchOptions, call: CallContext
) -> list[Row]:
    """The rows of the batch. Raises UsageError."""
    written = filter(None, (options.output, options.output_dir, options.report, task.html))
    inputs = read_rows(
        names,
        call.terminal,
        outputs=list(written),
        input_format=options.input_format,
        text_field=options.text_field,
        id_field=options.id_field,
        encoding=call.encoding,
        has_header=not options.no_header,
        html_is_text=task.gap is not None,
    )
    rows = list(inputs)
    check_unique(rows)
    check_inputs_are_complete(rows, inputs.unread, options)
    if options.shard:
        shard = Shard.parse(options.shard)
        return [row for row in rows if shard.has(row)]
    return rows


@dataclass
class BatchRun:
    """One run of a batch; `records` are those of this run, without their texts.

    `todo` are the items to process. `orphans` is the number of results whose rows are no longer
    among the inputs. `kept` are the records that were worse than the earlier ones of their rows,
    which stay. `retries_checks` is False for a command without `--only-failed-checks`.
    """

    prompts: RowPrompts
    config: RunConfig
    options: BatchOptions
    sink: Sink
    terminal: Terminal
    items: Sequence[WorkItem]
    resume: ResumePlan
    todo: Sequence[WorkItem]
    orphans: int
    records: list[Record] = field(default_factory=list)
    kept: list[Record] = field(default_factory=list)
    pruned: bool = False
    retries_checks: bool = True

    def __post_init__(self) -> None:
        """Prepare the page of `--html`."""
        path = self.prompts.task.html
        self._highlights = RowHighlights(path, self.prompts, self.items) if path else None

    def estimate(self) -> BatchEstimate:
        """What a run would process, and how long it may take."""
        from mistral_cli.batch.estimate import estimate_batch

        with plan_batch(self.prompts, self.config, self.todo, self.options, self.terminal) as plan:
            return estimate_batch(
                self.prompts,
                plan,
                self.resume,
                self.todo,
                self.sink.existing_records(),
                self.orphans,
                self.terminal,
            )

    def run(self) -> None:
        """Process the items. Raises RowsFailed if rows failed, now or in an earlier run."""
        error: MistralCliError | None = None
        try:
            if self.todo:
                self._process(self.todo)
        except StopRequested as stopped:
            message = f"stopped: {self._tally}"
            error = stop_error(stopped.number, message, _resume_hint(self.options))
        except MistralCliError as raised:
            error = raised
        if error is None and self._failed:
            error = RowsFailed(
                f"{self._failed} of {len(self.items)} rows failed",
                hint=_retry_hint(self.options),
            )
        with on_stop(lambda _: None):  # the remaining steps are short
            summarize = partial(self._summarize, error)
            for step in (self._finish, summarize, self._report, self._write_highlights):
                try:
                    step()
                except MistralCliError as raised:
                    if error:
                        self.terminal.error(raised.message, raised.hint)
                    error = error or raised
        if error:
            raise error

    def _process(self, todo: Sequence[WorkItem]) -> None:
        """Store the record of each item. Raises RowsFailed after too many failures."""
        limit, failed = self.options.max_failures, 0
        earlier: dict[str, Record] = {}
        if self.options.only_failed_checks:
            again = {item.row.id for item in todo}
            records = self.sink.existing_records()
            earlier = {each["id"]: each for each in records if each["id"] in again}
        with closing(self._answers(todo)) as records:
            for record in records:
                failed += record["error"] is not None
                if record["id"] in earlier and is_worse(record, earlier[record["id"]]):
                    self.kept.append(record)
                    record = earlier[record["id"]]
                else:
                    self.sink.add(record)
                if self._highlights:
                    self._highlights.keep(record)
                self.records.append({**record, "text": None, "data": None, "citations": None})
                if limit and failed >= limit:
                    raise RowsFailed(
                        f"stopped after {failed} {'failure' if failed == 1 else 'failures'}",
                        hint=_resume_hint(self.options),
                    )

    def _answers(self, todo: Sequence[WorkItem]) -> Generator[Record]:
        """Open the model and yield the record of each item as it is finished."""
        options, reporter = self.options, self.terminal
        with ExitStack() as resources:
            # The engine's process starts while the batch is planned.
            remote = self.config.selection.backend.remote
            process = None if remote else resources.enter_context(closing(EngineProcess()))
            with plan_batch(self.prompts, self.config, todo, options, reporter) as plan:
                pass  # from here on the session tokenizes
            active = resources.enter_context(
                open_planned(plan.planner, plan.parallel, reporter, process=process)
            )
            executor = Executor(
                active.planner, active.ask, status=reporter.status, score=active.score
            )
            self.prompts.task.strategy.begin(executor, reporter)
            reporter.clear_status()
            progress = BatchProgress(
                reporter,
                [plan.size(item.key) for item in todo],
                options.progress_every,
                in_chunks=plan.in_chunks,
            )
            worker = Worker(
                self.prompts, active, options.timeout, options.raw, progress.count_answer
            )
            pool = WorkerPool(worker.record, worker.failure, plan.parallel)
            with closing(pool.records(todo, progress.show)) as records:
                for record in records:
                    failed = record["error"] is not None
                    progress.count_row(plan.size(record["key"]), failed=failed)
                    yield record
            progress.end()

    @property
    def _done(self) -> int:
        return len(self.resume.done) + sum(record["error"] is None for record in self.records)

    @property
    def _failed(self) -> int:
        return len(self.resume.failed) + sum(r["error"] is not None for r in self.records)

    @property
    def _tally(self) -> str:
        earlier = len(self.resume.done)
        left = len(self.items) - self._done - self._failed
        return (
            f"{self._done} of {len(self.items)} rows done"
            f"{f', {earlier} of them in earlier runs' if earlier else ''}, {self._failed} failed"
            f"{f', {left} left' if left else ''}"
        )

    def _finish(self) -> None:
        self.sink.finish(self.items, ordered=self.options.ordered, prune=self.options.prune)
        self.pruned = self.options.prune

    def _summarize(self, error: MistralCliError | None) -> None:
        """Print the tally, unless `error` contains it, and the tables of checks and failures."""
        self.terminal.clear_status()
        if not isinstance(error, Stopped):
            self.terminal.note(self._tally)
        if self.orphans:
            self.terminal.note(orphans_note(self.orphans, pruned=self.pruned))
        if self.kept:
            self.terminal.note(kept_note(self.kept))
        if lines := checks_table(self._answered()):
            for line in lines:
                self.terminal.note(line)
            if self.options.can_resume and self.retries_checks:
                self.terminal.note("--only-failed-checks processes these rows again")
        failed = [each for each in (*self.records, *self.kept) if each["error"] is not None]
        if earlier := {item.row.id for item in self.resume.failed}:
            failed += [each for each in self.sink.existing_records() if each["id"] in earlier]
        for line in failures_table(failed):
            self.terminal.error_detail(line)

    def _answered(self) -> Iterator[Record]:
        """The answers of this run, and those of earlier runs if one of them failed a check."""
        yield from (record for record in self.records if record["error"] is None)
        earlier = {item.row.id for item in self.resume.done}
        if earlier and self.sink.has_failed_checks:
            yield from (each for each in self.sink.existing_records() if each["id"] in earlier)

    def _report(self) -> None:
        if path := self.options.report:
            records = list(self.sink.existing_records()) or self.records
            write_report(path, records, self._facts)

    def _write_highlights(self) -> None:
        if self._highlights:
            self._highlights.write(self.sink.existing_records(), self._facts)

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


def _resume_hint(options: BatchOptions) -> str:
    if options.can_resume:
        return "Run the same command again to continue."
    return "With -o FILE, a later run could continue from here."
