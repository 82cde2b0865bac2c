"""Plan jobs and requests as the program does, and answer them with a scripted model."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from mistral_cli.engines.loader import open_tokenizer
from mistral_cli.engines.registry import backend
from mistral_cli.engines.types import Request
from mistral_cli.generation.answer import Answer, Result, Timings
from mistral_cli.generation.config import resolve_config
from mistral_cli.generation.options import TaskOptions
from mistral_cli.generation.planner import (
    Job,
    NamedPrompt,
    PreparedRequest,
    RequestPlanner,
    plan_jobs,
)
from mistral_cli.generation.prompt import PromptBuilder
from mistral_cli.generation.session import Executor
from mistral_cli.generation.task import Task
from mistral_cli.generation.writers import NULL_WRITER
from mistral_cli.models.gguf import read_gguf
from mistral_cli.models.gguf.token_text import detokenize
from mistral_cli.system.config import Config
from mistral_cli.system.terminal import Terminal
from mistral_cli.tasks.summarize import SummaryStrategy
from mistral_cli.texts.inputs import Text
from support.terminals import make_terminal

LLAMA_CPP = backend("llama.cpp")


def jobs_of(
    task: Task,
    model: Path,
    *texts: str | Text,
    template: str | Path | None = None,
    source: str = "argument",
    terminal: Terminal | None = None,
    **options: Any,
) -> tuple[list[Job], RequestPlanner]:
    terminal = terminal or make_terminal()
    task_options = TaskOptions(model=str(model), template=template and str(template), **options)
    builder = PromptBuilder.of(task, task_options)
    prompts = [
        builder.build(Text(text, source) if isinstance(text, str) else text) for text in texts
    ]
    config = resolve_config(
        builder.template,
        task_options,
        Config(),
        terminal,
        strategy=task.strategy,
    )
    named = [NamedPrompt(prompt.render(config.model)) for prompt in prompts]
    jobs, planner = plan_jobs(builder, config, task.strategy, named, terminal)
    # The tokenizer that planned the jobs is closed by now: the program opens the model next.
    return jobs, replace(planner, tokenize=tokenizer_of(model))


@cache
def tokenizer_of(model: Path) -> Callable[[str], list[int]]:
    opened = open_tokenizer(LLAMA_CPP, read_gguf(model))
    tokenizer = contextlib.ExitStack().enter_context(opened)
    _open.append(opened)
    return tokenizer.tokenize


_open: list[object] = []


def request_of(
    task: Task, model: Path, text: str, **options: Any
) -> tuple[PreparedRequest, RequestPlanner]:
    ((job,), planner) = jobs_of(task, model, text, **options)
    (prepared,) = job.requests
    return prepared, planner


LONG = "\n\n".join(
    f"On day {day} the committee met. It talked about boat {day}. Nothing was decided."
    for day in range(1, 60)
)


SUMMARY = Task("summarize", strategy=SummaryStrategy())


class Model:
    """Answers each prompt with `reply(prompt)`, and records prompts and requests."""

    def __init__(self, planner: RequestPlanner, reply: Callable[[str], str]) -> None:
        self._model, self._reply = planner.config.model, reply
        self.prompts: list[str] = []
        self.requests: list[Request] = []

    def __call__(self, request: Request, stop: Sequence[str], on_text: Any) -> Answer:
        prompt = detokenize(self._model, request.prompt_token_ids)
        self.prompts.append(prompt)
        self.requests.append(request)
        text = self._reply(prompt)
        on_text(text)
        return Answer(text, "stop", 7, Timings(0, 1, 1), len(request.prompt_token_ids))


def answered(
    task: Task, model: Path, text: str | Text, reply: Callable[[str], str], **options: Any
) -> tuple[Result, Model]:
    ((job,), planner) = jobs_of(task, model, text, **options)
    scripted = Model(planner, reply)
    return respond(job, Executor(planner, scripted)), scripted


def numbered(prompt: str) -> str:
    """Return a summary that names the first day of its text."""
    day = prompt.split("day ", 1)[1].split()[0].rstrip(".")
    return f"Summary from day {day}."


def respond(job: Job, executor: Executor) -> Result:
    """Answer `job` and return the result, without writing anything."""
    task = executor.planner.builder.task
    assert isinstance(task, Task)
    return task.strategy.respond(job, executor, NULL_WRITER)
