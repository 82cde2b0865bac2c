"""Run a batch: rows → identities → what is still to be done → results."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from mistral_cli.answering import Desk, Kept, respond
from mistral_cli.batch.asks import Asks, Item
from mistral_cli.batch.crew import Crew, Record, StopAsked
from mistral_cli.batch.destination import Destination, open_destination
from mistral_cli.batch.estimate import estimate
from mistral_cli.batch.lines import record_of, record_of_failure
from mistral_cli.batch.options import BatchOptions
from mistral_cli.batch.progress import Progress, failures_table
from mistral_cli.batch.report import write_report
from mistral_cli.batch.results import Matched
from mistral_cli.batch.rows import read_rows
from mistral_cli.config import load as load_config
from mistral_cli.engines import (
    LoadOptions,
    ProcessEngine,
    Request,
    open_in_process,
    open_tokenizer,
    slots_for,
)
from mistral_cli.errors import (
    EngineDied,
    Interrupted,
    MistralCliError,
    RowsFailed,
    Terminated,
    TimedOut,
    UsageError,
)
from mistral_cli.job import job_of, needed, settle_context
from mistral_cli.models.digest import digest_of
from mistral_cli.output.answer import Answer, collect, until_stop
from mistral_cli.output.printers import SILENT
from mistral_cli.plan import Planner, settle
from mistral_cli.run import begin
from mistral_cli.task import Task
from mistral_cli.terminal import Terminal


def run_batch(task: Task, names: Sequence[str], options: BatchOptions, terminal: Terminal) -> None:
    """Do what is still to be done of a batch. Raises MistralCliError."""
    if task.jsonl:
        raise UsageError("a batch writes JSON Lines anyway", hint="Use --many in place of --jsonl.")
    drafter = begin(task, options, terminal)
    rows = read_rows(
        names,
        terminal,
        input_format=options.input_format,
        text_field=options.text_field,
        id_field=options.id_field,
    )
    setup = settle(task, drafter.template, options, load_config(terminal.env), terminal)
    asks = Asks(drafter, options.prompt)
    digest = digest_of(setup.model.path, terminal)
    items = [asks.item(row, setup, digest) for row in rows]
    with open_destination(
        options, items, structured=drafter.shape is not None, terminal=terminal
    ) as place:
        matched = place.match(items, options)
        todo = matched.todo[: options.limit]
        with open_tokenizer(setup.choice.engine, setup.model) as tokenizer:
            load = LoadOptions(setup.longest, setup.threads)
            planner = Planner(drafter, setup, tokenizer.tokenize, load)
            planner = settle_context(planner, list(_needs(asks, planner, todo)), terminal)
            parallel = _slots(options, planner, len(todo), terminal)
            if options.dry_run:
                estimate(asks, planner, matched, todo, parallel, place.earlier(), terminal)
                return
        Batch(asks, planner, options, place, terminal).run(items, matched, todo, parallel)


@dataclass
class Batch:
    """A batch whose plan is settled."""

    asks: Asks
    planner: Planner
    options: BatchOptions
    place: Destination
    terminal: Terminal

    def run(
        self, items: Sequence[Item], matched: Matched, todo: Sequence[Item], parallel: int
    ) -> None:
        """Do the items `todo`. Raises RowsFailed where some failed, now or earlier."""
        records, failed = list[Record](), len(matched.failed)
        end: MistralCliError | None = None
        try:
            for record in self._records(todo, parallel) if todo else ():
                self.place.add(record)
                records.append({**record, "text": None, "data": None})
                failed += record["error"] is not None
                if self.options.max_failures and failed >= self.options.max_failures:
                    end = RowsFailed(f"stopped after {failed} failures", hint=_go_on(self.options))
                    break
        except StopAsked as stop:
            end = _stopped(stop, len(matched.done) + len(records), len(items), self.options)
        self.place.finish(items, ordered=self.options.ordered)
        self._tell(items, matched, records, failed)
        if end:
            raise end
        if failed:
            hint = "`--retry-failed` tries them again."
            raise RowsFailed(f"{failed} of {len(items)} rows failed", hint=hint)

    def _records(self, todo: Sequence[Item], parallel: int) -> Iterator[Record]:
        setup, load = self.planner.setup, replace(self.planner.load, parallel=parallel)
        self.terminal.status(f"loading {setup.model_name} …")
        with open_in_process(setup.choice, setup.model, load, self.terminal.warn) as engine:
            self.terminal.clear_status()
            load = replace(load, gpu_layers=engine.gpu_layers)
            planner = replace(self.planner, tokenize=engine.tokenize, load=load)
            started = time.monotonic()
            worker = Worker(self.asks, planner, engine, self.options, parallel, started)
            progress = Progress(self.terminal, len(todo), self.options.progress_every)
            for record in Crew(worker.record, parallel, started).records(todo, progress.show):
                tokens = record["prompt_tokens"] + record["completion_tokens"]
                progress.count(failed=record["error"] is not None, tokens=tokens)
                yield record
            progress.end()

    def _tell(
        self, items: Sequence[Item], matched: Matched, records: list[Record], failed: int
    ) -> None:
        """What has become of the rows: a line, the failures, the page."""
        terminal = self.terminal
        terminal.clear_status()
        done = len(matched.done) + sum(record["error"] is None for record in records)
        earlier = f", {len(matched.done)} of them in earlier runs" if matched.done else ""
        left = len(items) - done - failed
        terminal.note(
            f"{done} of {len(items)} rows done{earlier}, {failed} failed"
            f"{f', {left} left' if left else ''}"
        )
        for line in failures_table(records):
            terminal.tell(line)
        if self.options.report:
            setup = self.planner.setup
            facts = {
                "Task": self.asks.drafter.task.name,
                "Model": setup.model_name,
                "Engine": setup.choice.engine.name,
                "Results": str(self.place.name),
            }
            try:
                write_report(self.options.report, list(self.place.earlier()) or records, facts)
            except OSError as error:
                raise UsageError(
                    f"cannot write {self.options.report}: {error.strerror}", hint="Name another."
                ) from error


@dataclass
class Worker:
    """Answers one item in the calling thread."""

    asks: Asks
    planner: Planner
    engine: ProcessEngine
    options: BatchOptions
    parallel: int
    started: float

    def record(self, item: Item) -> Record:
        """The record of an item; its failure is one too. Raises EngineDied."""
        row = item.row
        try:
            draft = self.asks.draft(row)
            planner = replace(self.planner, drafter=self.asks.drafter_of(row))
            job = job_of(planner, draft)
            kept = Kept.of(job.plans) if len(job.plans) > 1 else Kept()
            desk = Desk(planner, self._asking(), self.parallel, kept=kept)
            result = respond(job, desk, SILENT)
        except EngineDied:
            raise
        except MistralCliError as error:
            return record_of_failure(row, item.key, error, finished=self._now())
        return record_of(row, item.key, result, exact=self.options.raw, finished=self._now())

    def _now(self) -> float:
        return time.monotonic() - self.started

    def _asking(self) -> Callable[[Request, Sequence[str], Callable[[str], None]], Answer]:
        """How the row's requests are put: all of them within its time."""
        timeout = self.options.timeout
        deadline = None if timeout is None else time.monotonic() + timeout

        def ask(request: Request, stop: Sequence[str], on_text: Callable[[str], None]) -> Answer:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise TimedOut(f"no answer within {timeout:g} s", hint="Raise --timeout.")
            return collect(
                until_stop(self.engine.stream(request, timeout=left), stop),
                prompt_tokens=len(request.prompt_token_ids),
                load_seconds=0.0,
                on_progress=lambda _: None,
                on_text=on_text,
            )

        return ask


def _needs(asks: Asks, planner: Planner, todo: Sequence[Item]) -> Iterator[int]:
    """Tokens of context for each row; a row that cannot be asked says so when its turn comes."""
    yield 1
    for item in todo:
        with contextlib.suppress(MistralCliError):
            draft = asks.draft(item.row)
            yield needed(replace(planner, drafter=asks.drafter_of(item.row)), draft)


def _slots(options: BatchOptions, planner: Planner, rows: int, terminal: Terminal) -> int:
    wanted = None if options.parallel == "auto" else options.parallel
    if wanted is not None and not (wanted.isdecimal() and int(wanted)):
        raise UsageError(f"--parallel cannot be {wanted!r}", hint="Use a number from 1, or auto.")
    number = int(wanted) if wanted else None
    setup, load = planner.setup, planner.load
    found, why = slots_for(
        number, setup.choice, setup.model, load.context_length, load.gpu_layers, rows
    )
    say = terminal.warn if number and found < min(number, rows) else terminal.info
    say(why)
    return found


def _stopped(stop: StopAsked, done: int, count: int, options: BatchOptions) -> MistralCliError:
    kind = Interrupted if stop.number == signal.SIGINT else Terminated
    return kind(f"stopped: {done} of {count} rows are done", hint=_go_on(options))


def _go_on(options: BatchOptions) -> str:
    if options.output or options.output_dir:
        return "Run the same command again to go on."
    return "With -o FILE a later run would go on here."
