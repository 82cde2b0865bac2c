"""Plans and jobs as the program makes them, for tests of what comes before and after."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from mistral_cli.engines.loader import open_tokenizer
from mistral_cli.engines.registry import backend
from mistral_cli.generation.config import resolve_config
from mistral_cli.generation.job import Job, make_jobs
from mistral_cli.generation.options import TaskOptions
from mistral_cli.generation.planner import Plan, Planner
from mistral_cli.generation.prompt import PART_TEMPLATE, PromptBuilder
from mistral_cli.generation.task import Task
from mistral_cli.generation.templates import find
from mistral_cli.models.gguf import read_gguf
from mistral_cli.system.config import Config
from mistral_cli.system.terminal import Terminal
from mistral_cli.texts.inputs import Text
from support.terminals import make_terminal

LLAMA_CPP = backend("llama.cpp")


def jobs_of(
    task: Task,
    model: Path,
    *texts: str,
    template: str | Path | None = None,
    source: str = "argument",
    terminal: Terminal | None = None,
    **options: Any,
) -> tuple[list[Job], Planner]:
    terminal = terminal or make_terminal()
    given = TaskOptions(model=str(model), **options)
    found = find(str(template or task.name))
    drafter = PromptBuilder(task, found, find(PART_TEMPLATE), given)
    drafts = [("", drafter.draft(Text(text, source))) for text in texts]
    setup = resolve_config(task, found, given, Config(), terminal)
    jobs, planner = make_jobs(drafter, setup, drafts, terminal)
    # The program's own tokenizer is closed by now: the model is opened next.
    return jobs, replace(planner, tokenize=tokenizer_of(model))


@cache
def tokenizer_of(model: Path) -> Callable[[str], list[int]]:
    opened = open_tokenizer(LLAMA_CPP, read_gguf(model))
    tokenizer = contextlib.ExitStack().enter_context(opened)
    _open.append(opened)
    return tokenizer.tokenize


_open: list[object] = []


def plan_of(task: Task, model: Path, text: str, **options: Any) -> Plan:
    ((job,), _) = jobs_of(task, model, text, **options)
    (plan,) = job.plans
    return plan
