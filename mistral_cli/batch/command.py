"""`mistral-cli batch TASK`: inputs → rows → work items → the run that processes them."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mistral_cli.batch.checks import check_only_failed
from mistral_cli.batch.cluster.address import checked_address
from mistral_cli.batch.formats import NativeFormat
from mistral_cli.batch.highlights import RowHighlights, check_page
from mistral_cli.batch.input.rows import read_rows
from mistral_cli.batch.keys import RowKeys
from mistral_cli.batch.options import BatchOptions, requested_slots
from mistral_cli.batch.orphans import check_prune, reads_stdin
from mistral_cli.batch.prompts import RowPrompts
from mistral_cli.batch.report.page import check_report
from mistral_cli.batch.run import BatchRun, resume_hint
from mistral_cli.batch.run_report import RunReport, StatusFile
from mistral_cli.batch.shard import Shard
from mistral_cli.batch.sinks.file import FileSink
from mistral_cli.batch.sinks.open import open_sink
from mistral_cli.batch.stream import WorkStream
from mistral_cli.batch.windows import WINDOW, RowSource, RowWindows
from mistral_cli.errors import ExitCode, UsageError
from mistral_cli.generation.config import resolve_config
from mistral_cli.generation.run import prompt_builder
from mistral_cli.models.checksums import model_digest
from mistral_cli.system.signals import StopRequested, on_stop, request_stop, stop_error
from mistral_cli.system.stdout import write_envelope

if TYPE_CHECKING:
    from mistral_cli.batch.input.rows import Row
    from mistral_cli.generation.task import Task
    from mistral_cli.models.call import CallContext
    from mistral_cli.system.terminal import Terminal


_COLLECTED_OBJECTS = 50_000  # a window of rows has a tenth of it


class NoRows(UsageError):
    """The inputs have no rows, or none of the shard."""


def run_batch(task: Task, names: Sequence[str], options: BatchOptions, terminal: Terminal) -> None:
    """Process the rows that have no result yet. Raises MistralCliError."""
    with stoppable_batch(options, terminal):
        _check_options(task, names, options, terminal)
        call = options.call(terminal)
        task, options = task.with_files(call), task.adjusted(options.decoded(call))
        builder = prompt_builder(task, options, call)
        prompts = RowPrompts(task, builder, options.prompt)
        source = _row_source(names, task, options, call)
        try:
            with prepared_run(prompts, source, options, call) as run:
                if options.dry_run:
                    estimate = run.estimate()
                    write_envelope(terminal, {"command": f"batch {task.name}", **estimate.fields()})
                    estimate.report(terminal)
                else:
                    run.run()
        except NoRows:
            if not options.shard:
                raise
            _end_empty_shard(task, options, terminal)


@contextmanager
def stoppable_batch(options: BatchOptions, terminal: Terminal) -> Iterator[None]:
    """Raise Stopped where a signal comes before the first row is processed."""
    with on_stop(request_stop):
        try:
            yield
        except StopRequested as stopped:
            terminal.clear_status()
            message = "stopped before the first row"
            raise stop_error(stopped.number, message, resume_hint(options)) from None


@contextmanager
def prepared_run(
    prompts: RowPrompts, source: RowSource, options: BatchOptions, call: CallContext
) -> Iterator[BatchRun]:
    """Yield the run of a batch; its results stay open for reading until the `with` block ends.

    The first rows are read here, the others as they are needed. `options` are decoded.
    Raises MistralCliError.
    """
    task, terminal = prompts.task, call.terminal
    # Collections look at all that has been imported, again and again while rows are read.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECTED_OBJECTS)
    # A folder of results checks that no row overwrites the input of another.
    windows = RowWindows(source, None if options.output_dir else WINDOW)
    first = next(windows, None)
    if first is None:
        raise NoRows("there are no rows", hint="Name files, globs, folders, or - (stdin).")
    prompts.check(first)
    config = resolve_config(
        prompts.builder.template,
        options,
        call.config,
        terminal,
        strategy=task.strategy,
        on_limit=task.on_limit,
        constrained=prompts.builder.is_constrained,
        overrides=[row.overrides for row in first],
        began=call.began,
    )
    keys = RowKeys(prompts, config, model_digest(config.model, terminal))
    structured = prompts.builder.spec is not None
    rewrites = task.strategy.rewrites
    highlights = RowHighlights(task.html, prompts) if task.html else None
    with open_sink(
        options, first, structured=structured, rewrites=rewrites, terminal=terminal
    ) as sink:
        stream = WorkStream(first, windows, source, prompts, keys, sink, options, highlights)
        yield BatchRun(prompts, config, options, sink, terminal, stream, highlights)


def _end_empty_shard(task: Task, options: BatchOptions, terminal: Terminal) -> None:
    """Leave what `batch merge` looks for: a job for each shard must not fail where one is empty."""
    if options.can_resume and options.output and not options.dry_run:
        FileSink(options.output, NativeFormat(), terminal, dry_run=False).close()
        report = RunReport(f"batch {task.name}", options.model or "", "", options.shard, rows=0)
        StatusFile(options.output, report).end(ExitCode.SUCCESS, None)
    terminal.note(f"there are no rows of shard {options.shard}")


def _check_options(
    task: Task, names: Sequence[str], options: BatchOptions, terminal: Terminal
) -> None:
    """Raise UsageError for options that exclude each other, or a page at a wrong place."""
    if task.jsonl:
        raise UsageError(
            "--jsonl does not apply to a batch, which always writes JSON Lines",
            hint="Use --many instead of --jsonl.",
        )
    requested_slots(options)
    check_prune(names, options)
    check_only_failed(options)
    if options.ray:
        checked_address(options.ray, terminal.env)
    if options.report:
        check_report(options.report, options.output)
    check_page(task, options)


def _row_source(
    names: Sequence[str], task: Task, options: BatchOptions, call: CallContext
) -> RowSource:
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
        query=options.from_sql,
    )
    rows: Iterable[Row] = inputs
    if options.shard:
        rows = filter(Shard.parse(options.shard).has, rows)
    return RowSource(
        rows,
        is_ready=inputs.is_ready if inputs.is_live else None,
        is_endless=reads_stdin(names),
        are_all=not (reads_stdin(names) or options.shard),
        unread=lambda: inputs.unread,
        fraction=lambda: inputs.fraction,
    )
