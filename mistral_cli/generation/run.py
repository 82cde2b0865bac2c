"""Run a task: inputs → jobs → engine → output."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mistral_cli.engines.loader import open_engine
from mistral_cli.engines.parallelism import slots_for
from mistral_cli.errors import UsageError, about
from mistral_cli.generation.answer import Answer, collect, until_stop
from mistral_cli.generation.checkpoint import PartialAnswers
from mistral_cli.generation.chunking import check_split
from mistral_cli.generation.config import RunConfig, resolve_config
from mistral_cli.generation.executor import Executor
from mistral_cli.generation.fast_path import plan_short_prompts
from mistral_cli.generation.job import Job, jobs_of, make_jobs
from mistral_cli.generation.prompt import PART_TEMPLATE, Prompt, PromptBuilder
from mistral_cli.generation.prompt_cache import PromptCache, states_folder
from mistral_cli.generation.respond import respond
from mistral_cli.generation.templates import find
from mistral_cli.generation.writers import Output, choose_output
from mistral_cli.serving.client import ServedSession
from mistral_cli.system.config import load_config
from mistral_cli.texts.inputs import Inputs, read_inputs

if TYPE_CHECKING:
    from mistral_cli.engines.protocol import LoadOptions, Session
    from mistral_cli.engines.types import PrefillProgress, Request
    from mistral_cli.generation.options import OneOffOptions, TaskOptions
    from mistral_cli.generation.planner import Plan, Planner
    from mistral_cli.generation.task import Task
    from mistral_cli.system.reporter import Reporter
    from mistral_cli.system.terminal import Terminal


def run_task(
    task: Task, arguments: Sequence[str], options: OneOffOptions, terminal: Terminal
) -> None:
    """Answer every text that the user gave. Raises MistralCliError."""
    if task.jsonl and options.json:
        raise UsageError("--jsonl and --json are both given", hint="Give one of them.")
    if options.lookup and options.draft_model:
        raise UsageError("--lookup and --draft-model are both given", hint="Give one of them.")
    drafter = begin(task, options, terminal)
    inputs = read_inputs(_as_given(task, arguments), options.file or (), terminal)
    drafter = replace(drafter, instruction=inputs.instruction)
    drafts = _drafts(drafter, inputs)
    setup = resolve_config(
        task,
        drafter.template,
        options,
        load_config(terminal.env),
        terminal,
        may_be_served=not (options.no_serve or options.lookup or options.draft_model),
        lookup=options.lookup,
        draft_model=options.draft_model,
    )
    quick = None if options.dry_run else plan_short_prompts(drafter, setup, drafts, terminal)
    jobs, planner = ([], quick) if quick else make_jobs(drafter, setup, drafts, terminal)
    if options.dry_run:
        from mistral_cli.generation.dry_run import dry_run

        for job in jobs:
            for plan in job.plans:
                dry_run(plan, terminal, as_json=options.json)
        return
    output = choose_output(
        terminal,
        as_json=options.json,
        structured=drafter.shape is not None,
        as_items=task.jsonl,
        width=options.width,
        raw=options.raw,
    )
    _answer_all(drafts, jobs, planner, output, terminal)


def begin(task: Task, options: TaskOptions, reporter: Reporter) -> PromptBuilder:
    """What can be checked before anything is read: options, templates, the schema."""
    reporter.quiet, reporter.verbose = options.quiet, options.verbose
    if options.offline:
        from mistral_cli.models.hub.api import go_offline

        go_offline()
    drafter = PromptBuilder(task, find(options.template or task.name), find(PART_TEMPLATE), options)
    check_split(drafter, options.overflow)
    for note in drafter.shape.check() if drafter.shape else ():
        reporter.info(f"checked after generation, not while sampling: {note}")
    return drafter


def asking(
    engine: Session,
    cache: PromptCache,
    on_progress: Callable[[PrefillProgress], None],
    load_seconds: float = 0.0,
) -> Callable[[Request, Sequence[str], Callable[[str], None]], Answer]:
    """How a desk puts requests to `engine`; the first answer is told what the load took."""
    load = [load_seconds]

    def ask(request: Request, stop: Sequence[str], on_text: Callable[[str], None]) -> Answer:
        return collect(
            until_stop(engine.stream(cache.prepared(request)), stop),
            prompt_tokens=len(request.prompt_token_ids),
            load_seconds=load.pop() if load else 0.0,
            on_progress=on_progress,
            on_text=on_text,
        )

    return ask


def _as_given(task: Task, arguments: Sequence[str]) -> list[str]:
    if not task.one_argument:
        return list(arguments)
    words = [word for word in arguments if word != "-"]
    return [" ".join(words)] * bool(words) + ["-"] * ("-" in arguments)


def _drafts(drafter: PromptBuilder, inputs: Inputs) -> list[tuple[str, Prompt]]:
    """A draft for each text, with what to call it in an error, where there are several."""
    count, drafts = len(inputs.texts), []
    for number, text in enumerate(inputs.texts, start=1):
        subject = "" if count == 1 else f"{text.source} (text {number} of {count})"
        with about(subject):
            draft = drafter.draft(text)
            if draft.expected:
                draft.expected.check()
        drafts.append((subject, draft))
    return drafts


def _answer_all(
    drafts: Sequence[tuple[str, Prompt]],
    jobs: Sequence[Job],
    planner: Planner,
    output: Output,
    reporter: Reporter,
) -> None:
    """Open the engine and answer the jobs; without `jobs`, one for each of the `drafts`."""
    setup, parallel = planner.setup, _parallel(jobs, planner, reporter) if jobs else 1
    started = time.perf_counter()
    with contextlib.ExitStack() as resources:
        states = None
        if not setup.served:  # whose slots keep what they have read by themselves
            folder = states_folder(setup.selection, setup.cache_limit, parallel, reporter.info)
            states = resources.enter_context(folder)
        planner = planner.loading(parallel=parallel, states=states)
        cache = planner.prompt_cache(reporter.info)
        cache.look_ahead([plan.request for job in jobs for plan in job.plans])
        engine = _opened(setup, planner.load, reporter)
        resources.push(engine)
        load_seconds = time.perf_counter() - started
        _report_layers(engine, planner, reporter)
        if engine.gpu_layers != planner.load.gpu_layers:  # on the way there it has become fewer
            planner = planner.loading(gpu_layers=engine.gpu_layers)
            cache = planner.prompt_cache(reporter.info)
        planner = replace(planner, tokenize=engine.tokenize)
        status = _Status(reporter)
        ask = asking(engine, cache, status.read, load_seconds)
        desk = Executor(planner, ask, parallel, status.say)
        try:
            for job in jobs or jobs_of(planner, drafts):
                status.doing = ""
                _answer_one(_loaded(job, engine), desk, output, reporter)
        except BaseException:
            reporter.clear_status()
            output.abort()
            raise
        finally:  # after Ctrl-C too: what was read for minutes is there for another question
            cache.keep()


def _parallel(jobs: Sequence[Job], planner: Planner, reporter: Reporter) -> int:
    """How many parts of a text to ask about at once."""
    setup, load = planner.setup, planner.load
    together = max(([plan.prompt_tokens for plan in job.plans] for job in jobs), key=len)
    if setup.served:
        return min(setup.served.slots, len(together))
    parallel, why = slots_for(
        1 if load.speculative else None,
        setup.selection,
        setup.model,
        load.context_length,
        load.gpu_layers,
        together,
    )
    if len(together) > 1:
        reporter.info(f"{parallel} at once: {why}")
    return parallel


def _opened(setup: RunConfig, load: LoadOptions, reporter: Reporter) -> Session:
    if setup.served:
        return ServedSession(setup.served, setup.model, load.parallel)
    reporter.status(f"loading {setup.model_name} …")
    return open_engine(setup.selection, setup.model, load, reporter.warn)


def _answer_one(job: Job, desk: Executor, output: Output, reporter: Reporter) -> None:
    desk.kept = PartialAnswers.of(job.plans) if len(job.plans) > 1 else PartialAnswers()
    if desk.kept.found:
        reporter.note(f"{desk.kept.found} parts are there from an earlier run")
    try:
        with about(job.subject):
            result = respond(job, desk, output)
    except BaseException:
        if desk.kept.count:
            reporter.note(f"{desk.kept.count} parts are kept: the same command goes on from there")
        raise
    output.result(result)
    if result.chunks > 1:
        reporter.note(f"read in {result.chunks} parts")
    for warning in result.warnings:  # after the text: it must not stand inside
        reporter.note(f"warning: {warning}")


@dataclass
class _Status:
    """The passing line: what is being done, and how far its prompt has been read."""

    reporter: Reporter
    doing: str = ""

    def say(self, text: str) -> None:
        self.doing = text.removesuffix(" …")
        self.reporter.status(text)

    def read(self, progress: PrefillProgress) -> None:
        # Streams of parts run in other threads, and have their own progress.
        if threading.current_thread() is threading.main_thread():
            what = f"{self.doing}, reading" if self.doing else "reading the prompt:"
            self.reporter.status(f"{what} {progress.done} of {progress.total} tokens …")


def _report_layers(engine: Session, planner: Planner, reporter: Reporter) -> None:
    """Say what is on the GPU, always where one was meant to be used, else with -v."""
    say = reporter.note if planner.load.gpu_layers > 0 else reporter.info
    say(f"{engine.gpu_layers} of {planner.setup.model.block_count + 1} layers are on the GPU")


def _loaded(job: Job, engine: Session) -> Job:
    """`job` with the layers that really are on the GPU."""

    def loaded(piece: Plan | str) -> Plan | str:
        if isinstance(piece, str):
            return piece
        return replace(piece, load=replace(piece.load, gpu_layers=engine.gpu_layers))

    return replace(job, pieces=tuple(map(loaded, job.pieces)))
