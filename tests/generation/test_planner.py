"""Contexts, limits, seeds and errors: everything that is planned before the weights are loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.plans import jobs_of, request_of
from support.terminals import make_terminal
from synthetic.models import write_mistral

from mistral_cli.errors import ContextExceeded, UsageError
from mistral_cli.generation.planner import PreparedRequest, RequestPlanner
from mistral_cli.generation.task import Task


def planned(
    model: Path, *texts: str, **options: object
) -> tuple[list[PreparedRequest], RequestPlanner, list[str]]:
    """The requests for the texts, the planner that made them, and its warnings."""
    terminal = make_terminal()
    jobs, planner = jobs_of(Task("generate"), model, *texts, terminal=terminal, **options)
    return [prepared for job in jobs for prepared in job.requests], planner, terminal.warnings


def requests(model: Path, *texts: str, **options: object) -> list[PreparedRequest]:
    return planned(model, *texts, **options)[0]


def test_the_context_is_sized_for_prompt_and_answer(mistral: Path) -> None:
    (prepared,) = requests(mistral, "hello", max_tokens=100)
    assert prepared.context_length == 256
    assert prepared.request.max_tokens == 100


def test_the_context_is_at_most_the_models(mistral: Path) -> None:
    (prepared,), planner, _ = planned(mistral, "hello", max_tokens=5000)
    assert prepared.context_length == planner.config.model.context_length == 512
    assert prepared.request.max_tokens == 512 - prepared.prompt_tokens


def test_a_longer_context_than_trained_is_lowered_with_a_warning(mistral: Path) -> None:
    prepared, _, warnings = planned(mistral, "hello", context_length=9999)
    assert prepared[0].context_length == 512
    assert "9999" in warnings[0]


def test_several_texts_share_the_context_of_the_longest(mistral: Path) -> None:
    short, long = requests(mistral, "hello", "hello " * 200, max_tokens=50)
    assert short.context_length == long.context_length
    assert long.context_length >= long.prompt_tokens + 50


def test_a_prompt_that_does_not_fit_names_the_numbers(mistral: Path) -> None:
    with pytest.raises(ContextExceeded, match=r"has \d{3,} tokens, and 384 fit"):
        requests(mistral, "hello " * 600)
    with pytest.raises(ContextExceeded, match="and 15 fit"):
        requests(mistral, "hello " * 30, context_length=20)


def test_the_context_of_the_first_mistral_is_its_attention_window(tmp_path: Path) -> None:
    first = write_mistral(tmp_path / "first.gguf", context_length=32768)
    (prepared,) = requests(first, "hello", max_tokens=20000)
    assert prepared.context_length == 4096
    prepared, _, warnings = planned(first, "hello", context_length=8192)
    assert prepared[0].context_length == 8192
    assert "4096" in warnings[0]


def test_a_context_beyond_training_and_window_warns_of_both(tmp_path: Path) -> None:
    first = write_mistral(tmp_path / "first.gguf", context_length=32768)
    _, _, warnings = planned(first, "hello", context_length=40000)
    assert len(warnings) == 2


def test_the_context_of_a_later_mistral_is_not_limited_to_a_window(tmp_path: Path) -> None:
    later = write_mistral(tmp_path / "later.gguf", "v3", context_length=32768)
    (prepared,) = requests(later, "hello", max_tokens=20000)
    assert prepared.context_length > 20000


def test_an_option_overrides_the_template_which_overrides_the_default(
    mistral: Path, tmp_path: Path
) -> None:
    template = tmp_path / "own.txt"
    template.write_text("+++\n[options]\ntemperature = 0.5\n+++\n{{ text }}", encoding="utf-8")
    prepared, _ = request_of(Task("generate"), mistral, "hi", template=template, top_k=3)
    sampling = prepared.request.sampling
    assert (sampling.top_k, sampling.temperature, sampling.top_p) == (3, 0.5, 0.93)


def test_seeds_are_random_unless_set(mistral: Path) -> None:
    seeds = {requests(mistral, "hi")[0].request.sampling.seed for _ in range(4)}
    assert len(seeds) > 1
    assert requests(mistral, "hi", seed=0)[0].request.sampling.seed == 0


def test_wrong_parameters_are_refused_before_the_model_is_resolved() -> None:
    nowhere = Path("/no/such/model.gguf")
    with pytest.raises(UsageError, match="colour"):
        requests(nowhere, "hi", param=["colour=red"])
    with pytest.raises(UsageError, match="has no value"):
        requests(nowhere, "hi", param=["colour"])
