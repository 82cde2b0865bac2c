"""Run a task: inputs → plans → engine → output."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from . import structured
from .answer import Answer, collect, until_stop
from .config import load as load_config
from .engines import Engine, PromptProgress, open_engine
from .errors import OutputCut
from .inputs import read_inputs
from .options import TaskOptions
from .output import Output, choose_output, dry_run
from .plan import Plan, Task, make_plans
from .templates import find
from .terminal import Terminal


def run_task(
    task: Task, arguments: Sequence[str], options: TaskOptions, terminal: Terminal
) -> None:
    """Answer every text that the user gave. Raises MistralCliError."""
    terminal.quiet, terminal.verbose = options.quiet, options.verbose
    template = find(options.template or task.name)
    task = replace(task, schema=task.schema or template.schema or task.fallback_schema)
    if task.schema is not None:
        for note in structured.check(task.schema):
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
        structured=task.schema is not None,
        width=options.width,
        raw=options.raw,
    )
    _answer_all(plans, output, terminal)


def _answer_all(plans: Sequence[Plan], output: Output, terminal: Terminal) -> None:
    first = plans[0]
    terminal.status(f"loading {first.model_name} …")
    started = time.perf_counter()
    with open_engine(first.choice, first.model, first.load) as engine:
        load_seconds = time.perf_counter() - started
        try:
            for plan in plans:
                answer = _answer(plan, engine, output, terminal, load_seconds)
                load_seconds = 0.0
                output.answer(plan, answer, _data(plan, answer, terminal))
        except BaseException:
            terminal.clear_status()
            output.abort()
            raise


def _answer(
    plan: Plan, engine: Engine, output: Output, terminal: Terminal, load_seconds: float
) -> Answer:
    def show(progress: PromptProgress) -> None:
        terminal.status(f"reading the prompt: {progress.done} of {progress.total} tokens …")

    answer = collect(
        until_stop(engine.stream(plan.request), plan.stop),
        load_seconds=load_seconds,
        on_progress=show,
        on_text=output.piece,
    )
    terminal.clear_status()
    if answer.finish_reason == "length" and plan.task.schema is None:
        terminal.warn(
            f"the answer was cut at {answer.completion_tokens} tokens "
            "(-n/--max-tokens or the context length)"
        )
    return answer


def _data(plan: Plan, answer: Answer, terminal: Terminal) -> Any:
    """The parsed value where JSON was promised, else None."""
    if plan.task.schema is None:
        return None
    if answer.finish_reason == "length":
        terminal.warn(f"the model had written: {answer.text}")
        raise OutputCut(
            f"the JSON was cut at {answer.completion_tokens} tokens",
            hint="Raise -n/--max-tokens, or bound the strings with maxLength in a --schema.",
        )
    return structured.parse(answer.text, plan.task.schema)
