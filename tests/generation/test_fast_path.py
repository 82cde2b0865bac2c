"""Short prompts whose tokens are counted only once the model is open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.plans import tokenizer_of
from support.terminals import make_terminal

from mistral_cli.generation.config import resolve_config
from mistral_cli.generation.fast_path import plan_short_prompts
from mistral_cli.generation.job import jobs_of, make_jobs
from mistral_cli.generation.options import TaskOptions
from mistral_cli.generation.planner import Planner
from mistral_cli.generation.prompt import PART_TEMPLATE, PromptBuilder
from mistral_cli.generation.task import Task
from mistral_cli.generation.templates import find
from mistral_cli.system.config import Config
from mistral_cli.texts.inputs import Text

TASKS = [
    Task("generate"),
    Task("summarize", way="summary"),
    Task("translate", way="translation", values={"target": "French"}),
]


def _both(
    task: Task, model: Path, texts: list[str], **options: Any
) -> tuple[Planner | None, Planner, list[Any]]:
    """The planner without a count, the one with, and the drafts."""
    given_options = TaskOptions(model=str(model), **options)
    drafter = PromptBuilder(task, find(task.name), find(PART_TEMPLATE), given_options)
    drafts = [("", drafter.draft(Text(text, "argument"))) for text in texts]
    terminal = make_terminal()
    setup = resolve_config(task, drafter.template, given_options, Config(), terminal)
    counted = make_jobs(drafter, setup, drafts, terminal)[1]
    return plan_short_prompts(drafter, setup, drafts, terminal), counted, drafts


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
@pytest.mark.parametrize("name", ["mistral", "smollm2"])
def test_the_same_is_asked_as_when_the_tokens_are_counted(
    name: str, task: Task, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(name)
    texts = ["Rivers carry water to the sea.", "Où est la gare ? 駅はどこですか。"]
    quick, counted, drafts = _both(task, model, texts, seed=1, max_tokens=512)
    assert quick
    tokenize = tokenizer_of(model)
    quick, counted = (replace(each, tokenize=tokenize) for each in (quick, counted))
    for one, other in zip(jobs_of(quick, drafts), jobs_of(counted, drafts), strict=True):
        assert [plan.request for plan in one.plans] == [plan.request for plan in other.plans]
    assert 0 <= quick.load.context_length - counted.load.context_length <= 1024


@pytest.mark.parametrize(
    ("task", "texts", "options"),
    [
        (TASKS[0], ["word " * 300], {}),
        (TASKS[0], ["a longer prompt than fits " * 8], {"context_length": 200}),
        (TASKS[2], ["One paragraph.\n\nAnd another one."], {}),
    ],
    ids=["long", "does not fit", "in pieces"],
)
def test_what_may_not_fit_or_be_split_is_counted(
    task: Task, texts: list[str], options: dict[str, Any], mistral: Path
) -> None:
    assert _both(task, mistral, texts, max_tokens=16, **options)[0] is None


@given(text=st.text(max_size=60))
@pytest.mark.parametrize("name", ["mistral", "smollm2"])
def test_no_text_has_more_tokens_than_bytes_and_a_space(
    name: str, text: str, request: pytest.FixtureRequest
) -> None:
    tokenize: Callable[[str], list[int]] = tokenizer_of(request.getfixturevalue(name))
    assert len(tokenize(text)) <= len(text.encode()) + 1
