"""Run a task on the texts of one call: texts → prompts → jobs → an open session → results."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mistral_cli.errors import UsageError, about
from mistral_cli.generation.checkpoint import PartialAnswers
from mistral_cli.generation.config import RunConfig, resolve_config
from mistral_cli.generation.planner import NamedPrompt, jobs_of, plan_jobs, plan_short_prompts
from mistral_cli.generation.prompt import PromptBuilder
from mistral_cli.generation.session import Executor, open_planned
from mistral_cli.generation.writers import PageWriter, choose_writer, write_dry_run
from mistral_cli.system.files import refuse_to_overwrite
from mistral_cli.texts.inputs import Inputs, read_inputs

if TYPE_CHECKING:
    from mistral_cli.engines.types import PrefillProgress
    from mistral_cli.generation.options import OneOffOptions, TaskOptions
    from mistral_cli.generation.planner import Job, RequestPlanner
    from mistral_cli.generation.prompt import Prompt
    from mistral_cli.generation.session import ActiveSession
    from mistral_cli.generation.task import Task
    from mistral_cli.generation.writers import ResultWriter
    from mistral_cli.models.call import CallContext
    from mistral_cli.system.reporter import Reporter
    from mistral_cli.system.terminal import Terminal


def run_task(
    task: Task, arguments: Sequence[str], options: OneOffOptions, terminal: Terminal
) -> None:
    """Run `task` on every text of the call and print the results. Raises MistralCliError."""
    _check_options(task, options)
    call = options.call(terminal)
    # 1. Texts become prompts. A user error ends the run here, before a model is opened.
    task, options = task.with_files(call), task.adjusted(options.decoded(call))
    builder = prompt_builder(task, options, call)
    inputs = read_inputs(
        _text_arguments(task, arguments),
        options.file or (),
        terminal,
        encoding=call.encoding,
        html_is_text=task.gap is not None,
    )
    builder = replace(builder, instruction=inputs.instruction)
    prompts = _prompts(builder, inputs)
    config = resolve_config(
        builder.template,
        options,
        call.config,
        terminal,
        strategy=task.strategy,
        on_limit=task.on_limit,
        constrained=builder.is_constrained,
        may_be_served=not (options.no_serve or options.lookup or options.draft_model),
        lookup=options.lookup,
        draft_model=options.draft_model,
        began=call.began,
    )
    # 2. Prompts become jobs, in a context long enough for each of them.
    named = [NamedPrompt(config.render(prompt), subject) for subject, prompt in prompts]
    if options.dry_run:
        jobs, planner = plan_jobs(builder, config, task.strategy, named, terminal)
        for job in jobs:
            rules_of = task.strategy.rules_of(job, planner)
            for prepared in job.requests:
                planned = rules_of(prepared).planned()
                write_dry_run(planner, prepared, planned, terminal, as_json=options.json)
        return
    jobs, planner = _plan(task, builder, config, named, terminal)
    # 3. The model answers the jobs, and a writer prints the results.
    writer = _writer(task, builder, config, options, len(named), terminal)
    parallel = _parallel(jobs, planner, terminal) if jobs else 1
    upcoming = [prepared.request for job in jobs for prepared in job.requests]
    with open_planned(planner, parallel, terminal, upcoming=upcoming) as active:
        _report_layers(active.planner, planner, terminal)
        try:
            _begin(task, active, terminal)
            for job in jobs or jobs_of(active.planner, named):
                _answer(job, task, active, writer, terminal)
        except BaseException:
            terminal.clear_status()
            writer.abort()
            raise
    writer.close()


def _check_options(task: Task, options: OneOffOptions) -> None:
    """Raise UsageError for options that exclude each other, or a page at a wrong place."""
    if task.html:
        from mistral_cli.structured.highlights.page import OPTION, check_highlights

        refuse_to_overwrite(options.file or (), OPTION, task.html)
        check_highlights(task.html)
    if task.jsonl and options.json:
        raise UsageError("--jsonl and --json cannot be combined", hint="Drop one of them.")
    if options.lookup and options.draft_model:
        raise UsageError("--lookup and --draft-model cannot be combined", hint="Drop one of them.")


def _writer(
    task: Task,
    builder: PromptBuilder,
    config: RunConfig,
    options: OneOffOptions,
    count: int,
    terminal: Terminal,
) -> ResultWriter:
    """The writer of the results for `count` texts."""
    writer = choose_writer(
        terminal,
        as_json=options.json,
        structured=builder.spec is not None,
        as_items=task.jsonl,
        width=options.width,
        raw=options.raw,
        exact=task.gap is not None,
    )
    if not task.html:
        return writer
    from mistral_cli.structured.highlights.page import HighlightsPage

    facts = {"Model": config.model_name}
    return PageWriter(writer, HighlightsPage(task.html), terminal, facts, count)


def _plan(
    task: Task,
    builder: PromptBuilder,
    config: RunConfig,
    prompts: Sequence[NamedPrompt],
    reporter: Reporter,
) -> tuple[list[Job], RequestPlanner]:
    """The jobs and their planner; no jobs yet for short prompts, which the session tokenizes."""
    planner = plan_short_prompts(builder, config, task.strategy, prompts, reporter)
    return (
        ([], planner) if planner else plan_jobs(builder, config, task.strategy, prompts, reporter)
    )


def prompt_builder(task: Task, options: TaskOptions, call: CallContext) -> PromptBuilder:
    """The prompt builder of a run. Raises UsageError for wrong options, templates and schemas."""
    builder = PromptBuilder.of(task, options, call.terminal, call.encoding)
    if options.raw:
        task.checks.check_raw()
    checks = task.checks.resolve(builder.template, call.config)
    builder = replace(builder, task=replace(task, checks=checks))
    task.strategy.check(builder, options.overflow)
    if builder.spec:
        for note in builder.spec.check():
            call.terminal.info(f"checked after generation, not while sampling: {note}")
        for name in builder.spec.unchecked:
            call.terminal.info(f"not checked at all, because the format is not known: {name}")
    return builder


def _text_arguments(task: Task, arguments: Sequence[str]) -> list[str]:
    """The texts on the command line; `-` stands for stdin."""
    if not task.one_argument:
        return list(arguments)
    words = [word for word in arguments if word != "-"]
    texts = [" ".join(words)] if words else []
    return [*texts, "-"] if "-" in arguments else texts


def _prompts(builder: PromptBuilder, inputs: Inputs) -> list[tuple[str, Prompt]]:
    """A prompt for each text, with the name of the text if there are several."""
    count, prompts = len(inputs.texts), []
    for number, text in enumerate(inputs.texts, start=1):
        subject = "" if count == 1 else f"{text.source} (text {number} of {count})"
        with about(subject):
            prompt = builder.build(text)
            if prompt.spec:
                prompt.spec.check()
        prompts.append((subject, prompt))
    return prompts


def _parallel(jobs: Sequence[Job], planner: RequestPlanner, reporter: Reporter) -> int:
    """The number of chunks of a text to process concurrently."""
    config, load = planner.config, planner.load
    prompt_lengths = max(([p.prompt_tokens for p in job.requests] for job in jobs), key=len)
    if config.served:
        return min(config.served.slots, len(prompt_lengths))
    from mistral_cli.engines.parallelism import slots_for

    parallel, why = slots_for(
        1 if load.speculative else None,
        config.selection,
        config.model,
        load.context_length,
        load.gpu_layers,
        prompt_lengths,
    )
    if len(prompt_lengths) > 1:
        reporter.info(f"{parallel} chunks at once: {why}")
    return parallel


def _begin(task: Task, active: ActiveSession, terminal: Terminal) -> None:
    """Let the strategy find out what all texts need."""
    progress = _Progress(terminal)
    active.on_progress = progress.prefill
    executor = Executor(active.planner, active.ask, status=progress.status, score=active.score)
    task.strategy.begin(executor, terminal)
    terminal.clear_status()


def _answer(
    job: Job, task: Task, active: ActiveSession, writer: ResultWriter, terminal: Terminal
) -> None:
    progress = _Progress(terminal, shows_reasoning=active.planner.builder.options.show_reasoning)
    active.on_progress, active.on_reasoning = progress.prefill, progress.reasoning
    partial = PartialAnswers.of(active.planner, job.requests)
    if partial.resumed:
        terminal.note(f"resuming with {partial.resumed} answers about chunks from an earlier run")
    executor = Executor(
        active.planner,
        active.ask,
        active.planner.load.parallel,
        progress.status,
        partial,
        active.score,
    )
    writer.begin(job)
    try:
        with about(job.subject):
            result = task.strategy.respond(job, executor, writer)
    except BaseException:
        if partial.count:
            terminal.note(f"{partial.count} answers are saved: run the same command to continue")
        raise
    writer.finish(result)
    if result.chunks > 1:
        terminal.note(f"the text was processed in {result.chunks} chunks")
    for warning in result.warnings:  # after the text, not in the middle of it
        named = not job.subject or warning.startswith(job.prompt.text.source)
        terminal.note(f"warning: {warning if named else f'{job.subject}: {warning}'}")


@dataclass
class _Progress:
    """The status line of one job: the current step, and the progress of its prefill."""

    terminal: Terminal
    shows_reasoning: bool = False
    step: str = ""
    thoughts: int = 0

    def status(self, text: str) -> None:
        self.step = text.removesuffix(" …")
        self.terminal.status(text)

    def prefill(self, progress: PrefillProgress) -> None:
        # Concurrent streams run in other threads; their progress would overwrite each other.
        if threading.current_thread() is threading.main_thread():
            step = f"{self.step}, prompt:" if self.step else "processing the prompt:"
            self.terminal.status(f"{step} {progress.done} of {progress.total} tokens …")

    def reasoning(self, text: str) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        self.thoughts += 1
        if self.shows_reasoning:
            self.terminal.aside(text)
        else:
            self.terminal.status(f"thinking: {self.thoughts} tokens …")


def _report_layers(opened: RequestPlanner, planned: RequestPlanner, reporter: Reporter) -> None:
    """Report the layers on the GPU: always if a GPU was planned, else with -v."""
    if opened.config.selection.backend.remote:
        return
    report = reporter.note if planned.load.gpu_layers > 0 else reporter.info
    layers, all_layers = opened.load.gpu_layers, opened.config.model.block_count + 1
    report(f"{layers} of {all_layers} layers are on the GPU")
