"""Summaries in levels, and with an exact number of sentences or bullet points."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.plans import LONG, SUMMARY, Model, answered, jobs_of, numbered, respond
from support.terminals import make_terminal

from mistral_cli.errors import ContextExceeded
from mistral_cli.generation.answer import Answer
from mistral_cli.generation.session import Executor
from mistral_cli.generation.task import Task
from mistral_cli.tasks.summarize import SummaryStrategy


def test_a_long_text_is_summarized_in_levels(mistral: Path) -> None:
    task = Task("summarize", {"style": "a poem"}, strategy=SummaryStrategy())

    def wordy(prompt: str) -> str:
        return numbered(prompt) + " Nothing was decided." * 15

    result, model = answered(task, mistral, LONG * 3, wordy, max_tokens=40)
    assert result.answer.text.startswith("Summary from day 1.")
    chunk_prompts = [p for p in model.prompts if "one part of a longer text" in p]
    final = model.prompts[-1]
    assert len(chunk_prompts) == len(model.prompts) - 1 > 6
    assert "a poem" in final
    assert not any("a poem" in prompt for prompt in chunk_prompts)
    assert result.chunks < len(chunk_prompts)  # there was more than one level
    assert result.answer.prompt_tokens == sum(len(r.prompt_token_ids) for r in model.requests)


def test_every_level_fits_the_open_context(mistral: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is shorter than the model's context, which the summaries of many chunks would fill."""
    monkeypatch.setattr("mistral_cli.generation.chunking.LONGEST_CHUNK", 150)
    ((job,), planner) = jobs_of(SUMMARY, mistral, LONG, max_tokens=100)
    opened = planner.load.context_length
    assert opened < planner.config.longest
    model = Model(planner, lambda prompt: f"{numbered(prompt)} Nothing was decided.")
    respond(job, Executor(planner, model))
    assert all(len(r.prompt_token_ids) + r.max_tokens <= opened for r in model.requests)
    assert model.requests[-1].max_tokens == 100
    assert len(model.requests) > len(job.requests) + 2


def test_the_options_apply_to_the_final_summary_of_a_single_chunk(mistral: Path) -> None:
    """The text is too long besides a long answer, but short enough for one chunk."""
    task = Task("summarize", {"style": "a poem"}, strategy=SummaryStrategy())
    result, model = answered(task, mistral, LONG[:900], numbered, max_tokens=300)
    assert "a poem" in model.prompts[-1]
    assert len(model.prompts) == 2
    assert result.answer.text == "Summary from day 1."


def test_summaries_that_do_not_get_shorter_are_an_error(mistral: Path) -> None:
    with pytest.raises(ContextExceeded, match="no shorter than the chunks"):
        answered(SUMMARY, mistral, LONG, lambda _: "More and more words about boats. " * 40)


ONE = "The committee met on Monday."


TWO = f"{ONE} It bought a boat."


DATE = "Er kam am 12. M\u00e4rz. Sie blieb."


THREE = f"{TWO} All were in favour of it."


@pytest.mark.parametrize(
    ("values", "answers", "expected", "warning"),
    [
        ({"sentences": 2}, [TWO], TWO, None),
        ({"sentences": 2}, [THREE, TWO], TWO, None),
        ({"sentences": 1}, [THREE, TWO], ONE, "wrote 3 sentences: cut after 1 sentence"),
        ({"sentences": 2}, [THREE, "Well done. I like it. Go on."], TWO, "wrote 3 sentences"),
        ({"sentences": 2}, [f"Here is the summary:\n\n{TWO}"], TWO, None),
        ({"sentences": 2}, [f"It said:\n\n{ONE}"], f"It said:\n\n{ONE}", None),
        ({"sentences": 2}, [THREE, ONE], TWO, "wrote 3 sentences: cut after 2 sentences"),
        ({"sentences": 3}, [TWO, ONE], TWO, "2 sentences, not 3 sentences"),
        ({"sentences": 2, "language": "German"}, [DATE], DATE, None),
        ({"sentences": 2}, [DATE], DATE, None),
        (
            {"sentences": 1, "language": "de"},
            [DATE, DATE],
            "Er kam am 12. M\u00e4rz.",
            "wrote 2 sentences: cut after 1 sentence",
        ),
        ({"bullets": 2}, ["- a\n- b\n- c", "- one\n- two"], "- one\n- two", None),
        ({"bullets": 2}, ["- a", "So:\n- a\n- b\n- c"], "So:\n- a\n- b", "3 bullet points"),
        ({"bullets": 1}, ["none at all"] * 2, "none at all", "0 bullet points, not 1 bullet"),
    ],
)
def test_a_wrong_number_is_retried_once_and_then_cut(
    mistral: Path, values: dict[str, Any], answers: list[str], expected: str, warning: str | None
) -> None:
    left = list(answers)
    task = Task("summarize", values, strategy=SummaryStrategy())
    result, model = answered(task, mistral, "A text.", lambda _: left.pop(0))
    assert result.answer.text == expected
    assert left == []
    if len(answers) > 1:
        assert answers[0] in model.prompts[1]
        assert "in exactly" in model.prompts[1]
    assert warning is None or warning in result.warnings[-1]
    assert bool(result.warnings) == (warning is not None)


@pytest.mark.parametrize(
    ("first", "second", "expected", "warnings"),
    [
        (TWO, TWO, TWO, ()),
        (
            f"{TWO} All were in fa",
            ONE,
            TWO,
            ("the model wrote 3 sentences: cut after 2 sentences",),
        ),
        ("It met. It wa", ONE, "It met. It wa", ("the answer was cut at 7 tokens",)),
    ],
)
def test_a_cut_sentence_does_not_count(
    mistral: Path, first: str, second: str, expected: str, warnings: tuple[str, ...]
) -> None:
    ((job,), planner) = jobs_of(
        Task("summarize", {"sentences": 2}, strategy=SummaryStrategy()), mistral, "x"
    )
    model, left = Model(planner, lambda _: left.pop(0)), [first, second]

    def ask(*arguments: Any) -> Answer:
        answer = model(*arguments)
        return replace(answer, finish_reason="length") if len(model.prompts) == 1 else answer

    result = respond(job, Executor(planner, ask))
    assert result.answer.text == expected
    assert len(model.prompts) == 2
    assert [warning.partition(" (")[0] for warning in result.warnings] == list(warnings)


def test_the_users_limit_applies_to_the_final_summary_only(mistral: Path) -> None:
    _, model = answered(SUMMARY, mistral, LONG, numbered, max_tokens=20)
    assert [request.max_tokens for request in model.requests[-1:]] == [20]
    assert all(request.max_tokens == 512 // 8 for request in model.requests[:-1])


def test_a_dry_run_shows_the_prompts_of_a_split_text(
    mistral: Path, run: Any, tmp_path: Path
) -> None:
    path = tmp_path / "long.txt"
    path.write_text(LONG, encoding="utf-8")
    ((job,), planner) = jobs_of(SUMMARY, mistral, LONG, terminal=make_terminal())
    shown = run("summarize", "-f", path, "-m", mistral, "--dry-run", "--json")
    prompts = [json.loads(line)["prompt"] for line in shown.stdout.splitlines()]
    assert prompts == [planner.prompt_text(each) for each in job.requests]
