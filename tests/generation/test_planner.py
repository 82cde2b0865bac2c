"""What is decided before the weights are read."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.plans import jobs_of, plan_of
from support.terminals import make_terminal
from synthetic.models import write_mistral

from mistral_cli.errors import ContextExceeded, UsageError
from mistral_cli.generation.planner import Plan
from mistral_cli.generation.task import Task


def plans(model: Path, *texts: str, task: str = "generate", **options: object) -> list[Plan]:
    return plans_and_warnings(model, *texts, task=task, **options)[0]


def plans_and_warnings(
    model: Path, *texts: str, task: str = "generate", **options: object
) -> tuple[list[Plan], list[str]]:
    terminal = make_terminal()
    jobs, _ = jobs_of(Task(task), model, *texts, terminal=terminal, **options)
    return [plan for job in jobs for plan in job.plans], terminal.warnings


def test_the_context_is_sized_for_prompt_and_answer(mistral: Path) -> None:
    (plan,) = plans(mistral, "hello", max_tokens=100)
    assert plan.load.context_length == 256
    assert plan.request.max_tokens == 100


def test_the_context_ends_where_the_model_does(mistral: Path) -> None:
    (plan,) = plans(mistral, "hello", max_tokens=5000)
    assert plan.load.context_length == plan.model.context_length == 512
    assert plan.request.max_tokens == 512 - plan.prompt_tokens


def test_a_longer_context_than_trained_is_lowered_and_said(mistral: Path) -> None:
    made, warnings = plans_and_warnings(mistral, "hello", context_length=9999)
    assert made[0].load.context_length == 512
    assert "9999" in warnings[0]


def test_several_texts_share_the_context_of_the_longest(mistral: Path) -> None:
    short, long = plans(mistral, "hello", "hello " * 200, max_tokens=50)
    assert short.load == long.load
    assert long.load.context_length >= long.prompt_tokens + 50


def test_a_prompt_that_does_not_fit_names_the_numbers(mistral: Path) -> None:
    with pytest.raises(ContextExceeded, match=r"has \d{3,} tokens, and 384 fit"):
        plans(mistral, "hello " * 600)
    with pytest.raises(ContextExceeded, match="and 15 fit"):
        plans(mistral, "hello " * 30, context_length=20)


def test_the_first_mistral_is_kept_to_its_attention_window(tmp_path: Path) -> None:
    first = write_mistral(tmp_path / "first.gguf", context_length=32768)
    (plan,) = plans(first, "hello", max_tokens=20000)
    assert plan.load.context_length == 4096
    made, warnings = plans_and_warnings(first, "hello", context_length=8192)
    assert made[0].load.context_length == 8192
    assert "4096" in warnings[0]


def test_a_context_beyond_training_and_window_warns_of_both(tmp_path: Path) -> None:
    first = write_mistral(tmp_path / "first.gguf", context_length=32768)
    _, warnings = plans_and_warnings(first, "hello", context_length=40000)
    assert len(warnings) == 2


def test_a_later_mistral_is_not(tmp_path: Path) -> None:
    later = write_mistral(tmp_path / "later.gguf", "v3", context_length=32768)
    (plan,) = plans(later, "hello", max_tokens=20000)
    assert plan.load.context_length > 20000


def test_a_flag_beats_the_template_beats_the_default(mistral: Path, tmp_path: Path) -> None:
    template = tmp_path / "own.txt"
    template.write_text("+++\n[options]\ntemperature = 0.5\n+++\n{{ text }}", encoding="utf-8")
    plan = plan_of(Task("generate"), mistral, "hi", template=template, top_k=3)
    sampling = plan.request.sampling
    assert (sampling.top_k, sampling.temperature, sampling.top_p) == (3, 0.5, 0.93)


def test_seeds_are_new_unless_given(mistral: Path) -> None:
    seeds = {plans(mistral, "hi")[0].request.sampling.seed for _ in range(4)}
    assert len(seeds) > 1
    assert plans(mistral, "hi", seed=0)[0].request.sampling.seed == 0


def test_wrong_parameters_are_refused_before_the_model_is_looked_for() -> None:
    nowhere = Path("/no/such/model.gguf")
    with pytest.raises(UsageError, match="colour"):
        plans(nowhere, "hi", param=["colour=red"])
    with pytest.raises(UsageError, match="has no value"):
        plans(nowhere, "hi", param=["colour"])
