"""Run a task: inputs → plans → engine → output."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from mistral_cli.config import load as load_config
from mistral_cli.draft import Task
from mistral_cli.engines import Engine, PromptProgress, Request, open_engine
from mistral_cli.errors import about
from mistral_cli.extract import extract, extract_items
from mistral_cli.inputs.texts import read_inputs
from mistral_cli.models.hub import go_offline
from mistral_cli.options import TaskOptions
from mistral_cli.output.answer import Answer, collect, until_stop
from mistral_cli.output.printers import ItemsOutput, Output, Result, choose_output, dry_run
from mistral_cli.plan import Plan, make_plans
from mistral_cli.templates import find
from mistral_cli.terminal import Terminal


def run_task(
    task: Task, arguments: Sequence[str], options: TaskOptions, terminal: Terminal
) -> None:
    """Answer every text that the user gave. Raises MistralCliError."""
    terminal.quiet, terminal.verbose = options.quiet, options.verbose
    if options.offline:
        go_offline()
    template = find(options.template or task.name)
    shape = task.shape(template)
    for note in shape.check() if shape else ():
        terminal.info(f"checked after generation, not while sampling: {note}")
    inputs = read_inputs(arguments, options.file or (), terminal)
    plans = make_plans(task, template, inputs, options, load_config(terminal.env), terminal)
    if options.dry_run:
        for plan in plans:
            dry_run(plan, terminal, as_json=options.json)
        return
    output = choose_output(
        terminal,
        as_json=options.json,
        structured=shape is not None,
        as_items=task.jsonl,
        width=options.width,
        raw=options.raw,
    )
    _answer_all(plans, output, terminal)


def _answer_all(plans: Sequence[Plan], output: Output, terminal: Terminal) -> None:
    first = plans[0]
    terminal.status(f"loading {first.model_name} …")
    started = time.perf_counter()
    with open_engine(first.choice, first.model, first.load, terminal.warn) as engine:
        load_seconds = time.perf_counter() - started
        _report_layers(engine, first, terminal)
        plans = [_as_loaded(plan, engine) for plan in plans]
        try:
            for plan in plans:
                with about(plan.draft.subject):
                    result = _answer(plan, engine, output, terminal, load_seconds)
                load_seconds = 0.0
                output.result(result)
                for warning in result.warnings:  # after the text: it must not stand inside
                    terminal.note(f"warning: {warning}")
        except BaseException:
            terminal.clear_status()
            output.abort()
            raise


def _report_layers(engine: Engine, plan: Plan, terminal: Terminal) -> None:
    """Say what is on the GPU, always where one was meant to be used, else with -v."""
    say = terminal.note if plan.load.gpu_layers > 0 else terminal.info
    say(f"{engine.gpu_layers} of {plan.model.block_count + 1} layers are on the GPU")


def _as_loaded(plan: Plan, engine: Engine) -> Plan:
    """`plan` with the layers that really are on the GPU."""
    return replace(plan, load=replace(plan.load, gpu_layers=engine.gpu_layers))


def _answer(
    plan: Plan, engine: Engine, output: Output, terminal: Terminal, load_seconds: float
) -> Result:
    def show(progress: PromptProgress) -> None:
        terminal.status(f"reading the prompt: {progress.done} of {progress.total} tokens …")

    def ask(request: Request, on_text: Callable[[str], None]) -> Answer:
        answer = collect(
            until_stop(engine.stream(request), plan.stop),
            load_seconds=load_seconds,
            on_progress=show,
            on_text=on_text,
        )
        terminal.clear_status()
        return answer

    expected = plan.draft.expected
    if expected and isinstance(output, ItemsOutput):
        return Result(plan, extract_items(plan, expected, ask, output))
    if expected:
        found = extract(plan, expected, ask, engine.tokenize, output.piece)
        again = tuple(f"{failure}; asked again" for failure in found.failures)
        return Result(plan, found.answer, found.extraction, again)
    answer = ask(plan.request, output.piece)
    cut = f"the answer was cut at {answer.completion_tokens} tokens ({_limit(plan)})"
    return Result(plan, answer, None, (cut,) if answer.finish_reason == "length" else ())


def _limit(plan: Plan) -> str:
    """Which limit an answer of the greatest length has reached."""
    if plan.prompt_tokens + plan.request.max_tokens < plan.load.context_length:
        return "-n/--max-tokens"
    return f"the context of {plan.load.context_length} tokens"
