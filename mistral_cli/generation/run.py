"""Run a task on the texts of one call: texts → prompts → jobs → an open session → results."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mistral_cli.errors import UsageError, about
from mistral_cli.generation.checkpoint import PartialAnswers
from mistral_cli.generation.config import resolve_config
from mistral_cli.generation.planner import NamedPrompt, jobs_of, plan_jobs, plan_short_prompts
from mistral_cli.generation.prompt import PromptBuilder
from mistral_cli.generation.session import Executor, open_planned
from mistral_cli.generation.writers import choose_writer, write_dry_run
from mistral_cli.models.call import prepare_call
from mistral_cli.texts.inputs import Inputs, read_inputs

if TYPE_CHECKING:
    from mistral_cli.engines.types import PrefillProgress
    from mistral_cli.generation.options import OneOffOptions, TaskOptions
    from mistral_cli.generation.planner import Job, RequestPlanner
    from mistral_cli.generation.prompt import Prompt
    from mistral_cli.generation.session import ActiveSession
    from mistral_cli.generation.task import Task
    from mistral_cli.generation.writers import ResultWriter
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
    call = prepare_call(
        terminal, quiet=options.quiet, verbose=options.verbose, offline=options.offline
    )
    # 1. Texts become prompts; every user error in them ends the run before a model is opened.
    builder = prompt_builder(task, options, terminal)
    inputs = read_inputs(_as_given(task, arguments), options.file or (), terminal)
    builder = replace(builder, instruction=inputs.instruction)
    prompts = _prompts(builder, inputs)
    config = resolve_config(
        builder.template,
        options,
        call.config,
        terminal,
        default_overflow=task.strategy.default_overflow,
        may_be_served=not (options.no_serve or options.lookup or options.draft_model),
        lookup=options.lookup,
        draft_model=options.draft_model,
    )
    # 2. Prompts become jobs, in a context that holds all of them. Short prompts are tokenized
    #    by the session itself, once it is open.
    named = [NamedPrompt(prompt.render(config.model), subject) for subject, prompt in prompts]
    quick = (
        None
        if options.dry_run
        else plan_short_prompts(builder, config, task.strategy, named, terminal)
    )
    jobs, planner = (
        ([], quick) if quick else plan_jobs(builder, config, task.strategy, named, terminal)
    )
    if options.dry_run:
        for job in jobs:
            for prepared in job.requests:
                write_dry_run(planner, prepared, terminal, as_json=options.json)
        return
    # 3. The model answers the jobs, and a writer prints the results.
    writer = choose_writer(
        terminal,
        as_json=options.json,
        structured=builder.spec is not None,
        as_items=task.jsonl,
        width=options.width,
        raw=options.raw,
    )
    parallel = _parallel(jobs, planner, terminal) if jobs else 1
    upcoming = [prepared.request for job in jobs for prepared in job.requests]
    with open_planned(planner, parallel, terminal, upcoming=upcoming) as active:
        _report_layers(active.planner, planner, terminal)
        try:
            for job in jobs or jobs_of(active.planner, named):
                _answer(job, task, active, writer, terminal)
        except BaseException:
            terminal.clear_status()
            writer.abort()
            raise


def prompt_builder(task: Task, options: TaskOptions, reporter: Reporter) -> PromptBuilder:
    """The builder of a run's prompts. Raises UsageError for wrong options, templates, schemas."""
    builder = PromptBuilder.of(task, options)
    task.strategy.check(builder, options.overflow)
    for note in builder.spec.check() if builder.spec else ():
        reporter.info(f"checked after generation, not while sampling: {note}")
    return builder


def _as_given(task: Task, arguments: Sequence[str]) -> list[str]:
    """The texts among the arguments; `-` stands for stdin."""
    if not task.one_argument:
        return list(arguments)
    words = [word for word in arguments if word != "-"]
    texts = [" ".join(words)] if words else []
    return [*texts, "-"] if "-" in arguments else texts


def _prompts(builder: PromptBuilder, inputs: Inputs) -> list[tuple[str, Prompt]]:
    """A prompt for each text, with the name of the text where there are several."""
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
    """How many chunks of a text to ask about at once."""
    config, load = planner.config, planner.load
    together = max(([p.prompt_tokens for p in job.requests] for job in jobs), key=len)
    if config.served:
        return min(config.served.slots, len(together))
    from mistral_cli.engines.parallelism import slots_for

    parallel, why = slots_for(
        1 if load.speculative else None,
        config.selection,
        config.model,
        load.context_length,
        load.gpu_layers,
        together,
    )
    if len(together) > 1:
        reporter.info(f"{parallel} at once: {why}")
    return parallel


def _answer(
    job: Job, task: Task, active: ActiveSession, writer: ResultWriter, terminal: Terminal
) -> None:
    progress = _Progress(terminal)
    active.on_progress = progress.prefill
    partial = PartialAnswers.of(active.planner, job.requests)
    if partial.found:
        terminal.note(f"{partial.found} answers about chunks were kept by an earlier run")
    executor = Executor(
        active.planner, active.ask, active.planner.load.parallel, progress.status, partial
    )
    try:
        with about(job.subject):
            result = task.strategy.respond(job, executor, writer)
    except BaseException:
        if partial.count:
            terminal.note(f"{partial.count} answers are kept: the same command continues there")
        raise
    writer.finish(result)
    if result.chunks > 1:
        terminal.note(f"the text was read in {result.chunks} chunks")
    for warning in result.warnings:  # after the text: it must not stand inside
        terminal.note(f"warning: {warning}")


@dataclass
class _Progress:
    """The status line of one job: what is being done, and how far its prompt is prefilled."""

    terminal: Terminal
    doing: str = ""

    def status(self, text: str) -> None:
        self.doing = text.removesuffix(" …")
        self.terminal.status(text)

    def prefill(self, progress: PrefillProgress) -> None:
        # Streams of chunks run in other threads, and have their own progress.
        if threading.current_thread() is threading.main_thread():
            what = f"{self.doing}, reading" if self.doing else "reading the prompt:"
            self.terminal.status(f"{what} {progress.done} of {progress.total} tokens …")


def _report_layers(opened: RequestPlanner, planned: RequestPlanner, reporter: Reporter) -> None:
    """Say how many layers are on the GPU: always where a GPU was to be used, else with -v."""
    say = reporter.note if planned.load.gpu_layers > 0 else reporter.info
    layers, all_layers = opened.load.gpu_layers, opened.config.model.block_count + 1
    say(f"{layers} of {all_layers} layers are on the GPU")
