"""Short prompts, whose tokens are counted only once the model is open."""

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
from mistral_cli.generation.options import TaskOptions
from mistral_cli.generation.planner import (
    NamedPrompt,
    RequestPlanner,
    jobs_of,
    plan_jobs,
    plan_short_prompts,
)
from mistral_cli.generation.prompt import PromptBuilder
from mistral_cli.generation.task import Task
from mistral_cli.system.config import Config
from mistral_cli.tasks.summarize import SummaryStrategy
from mistral_cli.tasks.translate import TranslationStrategy
from mistral_cli.texts.inputs import Text

TASKS = [
    Task("generate"),
    Task("summarize", strategy=SummaryStrategy()),
    Task("translate", {"target": "French"}, strategy=TranslationStrategy()),
]


def _plan_both_ways(
    task: Task, model: Path, texts: list[str], **options: Any
) -> tuple[RequestPlanner | None, RequestPlanner, list[NamedPrompt]]:
    """The planner from an upper bound, the planner from exact counts, and the prompts."""
    task_options = TaskOptions(model=str(model), **options)
    builder = PromptBuilder.of(task, task_options)
    terminal = make_terminal()
    config = resolve_config(
        builder.template,
        task_options,
        Config(),
        terminal,
        strategy=task.strategy,
    )
    prompts = [builder.build(Text(text, "argument")) for text in texts]
    named = [NamedPrompt(prompt.render(config.model)) for prompt in prompts]
    counted = plan_jobs(builder, config, task.strategy, named, terminal)[1]
    quick = plan_short_prompts(builder, config, task.strategy, named, terminal)
    return quick, counted, named


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
@pytest.mark.parametrize("name", ["mistral", "smollm2"])
def test_the_requests_equal_those_with_counted_tokens(
    name: str, task: Task, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(name)
    texts = ["Rivers carry water to the sea.", "Où est la gare ? 駅はどこですか。"]
    quick, counted, prompts = _plan_both_ways(task, model, texts, seed=1, max_tokens=512)
    assert quick
    tokenize = tokenizer_of(model)
    quick, counted = (replace(each, tokenize=tokenize) for each in (quick, counted))
    for one, other in zip(jobs_of(quick, prompts), jobs_of(counted, prompts), strict=True):
        assert [each.request for each in one.requests] == [each.request for each in other.requests]
    assert 0 <= quick.load.context_length - counted.load.context_length <= 1024


@pytest.mark.parametrize(
    ("task", "texts", "options"),
    [
        (TASKS[0], ["word " * 300], {}),
        (TASKS[0], ["a longer prompt than fits " * 8], {"context_length": 200}),
        (TASKS[2], ["One paragraph.\n\nAnd another one."], {}),
    ],
    ids=["long", "does not fit", "split"],
)
def test_a_text_that_may_not_fit_or_is_split_needs_a_count(
    task: Task, texts: list[str], options: dict[str, Any], mistral: Path
) -> None:
    assert _plan_both_ways(task, mistral, texts, max_tokens=16, **options)[0] is None


@given(text=st.text(max_size=60))
@pytest.mark.parametrize("name", ["mistral", "smollm2"])
def test_a_text_has_at_most_one_token_more_than_bytes(
    name: str, text: str, request: pytest.FixtureRequest
) -> None:
    tokenize: Callable[[str], list[int]] = tokenizer_of(request.getfixturevalue(name))
    assert len(tokenize(text)) <= len(text.encode()) + 1
