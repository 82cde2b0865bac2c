"""The requests of a classification, and how their scores are combined."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from support.plans import jobs_of
from support.reasoning_models import TOKENS
from support.terminals import make_terminal
from synthetic.scripted import write_scripted

from mistral_cli.engines.types import ScoreRequest, Scores
from mistral_cli.generation.answer import Answer, Result, Timings
from mistral_cli.generation.session import Executor
from mistral_cli.generation.task import Task
from mistral_cli.generation.writers import NULL_WRITER
from mistral_cli.models.gguf import GGUF, read_gguf
from mistral_cli.models.gguf.token_text import detokenize
from mistral_cli.tasks.classify import classify

Reply = Callable[[str], Sequence[float]]


def task_of(**options: object) -> Task:
    task = classify(labels="bug, praise", calibrate=False, **options)  # type: ignore[arg-type]
    assert task.read_files
    return task.read_files(task, make_terminal(), "auto")


def answered(
    task: Task, path: Path, text: str, reply: Reply, **options: object
) -> tuple[Result, list[str]]:
    """The result for a text, where `reply(prompt)` are the scores, and the prompts."""
    ((job,), planner) = jobs_of(task, path, text, **options)
    model: GGUF = planner.config.model
    prompts: list[str] = []

    def score(request: ScoreRequest) -> tuple[Answer, Scores]:
        prompts.append(detokenize(model, request.prompt_token_ids))
        cost = Answer("", "stop", 0, Timings(0, 1, 0), len(request.prompt_token_ids))
        return cost, Scores(tuple(reply(prompts[-1])), 1)

    executor = Executor(planner, lambda *_: pytest.fail("nothing is generated"), score=score)
    task.strategy.begin(executor, make_terminal())
    return task.strategy.respond(job, executor, NULL_WRITER), prompts


def probabilities(result: Result) -> dict[str, float]:
    assert result.classification
    return {each.name: each.probability for each in result.classification.labels}


LONG = "\n\n".join(f"Paragraph {number} says something or other." for number in range(400))


def test_the_chunks_of_a_long_text_count_by_their_length(smollm2: Path) -> None:
    def reply(prompt: str) -> list[float]:
        first = "Paragraph 0 " in prompt
        return [math.log(0.9), math.log(0.1)] if first else [math.log(0.5), math.log(0.5)]

    result, prompts = answered(task_of(), smollm2, LONG, reply, context_length=1000)
    assert result.chunks == len(prompts) > 3
    # The logit of the first chunk is ln 9, and that of the others 0.
    odds = math.exp(math.log(9) / result.chunks)
    assert probabilities(result)["bug"] == pytest.approx(odds / (1 + odds), abs=0.01)


def test_a_label_of_several_fits_a_text_if_it_fits_a_part(smollm2: Path) -> None:
    def reply(prompt: str) -> list[float]:
        yes = 0.95 if '"praise"' in prompt and "Paragraph 0 " in prompt else 0.2
        # yes, Yes, no, No
        return [math.log(yes / 2)] * 2 + [math.log((1 - yes) / 2)] * 2

    result, _ = answered(task_of(multi=True), smollm2, LONG, reply, context_length=1000)
    assert probabilities(result) == pytest.approx({"bug": 0.2, "praise": 0.95})
    assert result.classification
    assert result.classification.chosen == ("praise",)


def test_the_two_orders_are_averaged(smollm2: Path) -> None:
    def reply(prompt: str) -> list[float]:
        forward = prompt.index("- bug") < prompt.index("- praise")
        return [math.log(0.9), math.log(0.1)] if forward else [math.log(0.4), math.log(0.6)]

    result, prompts = answered(task_of(both_orders=True), smollm2, "A text.", reply)
    assert len(prompts) == 2
    odds = math.sqrt(9 * 4 / 6)
    assert probabilities(result)["bug"] == pytest.approx(odds / (1 + odds))


def test_a_thought_that_the_template_begins_is_ended(
    real_files: Path, real_templates: dict[str, str], tmp_path: Path
) -> None:
    """Else the labels would be compared as beginnings of a thought."""
    template = real_templates["Qwen-QwQ-32B"]
    vocabulary = real_files / "ggml-vocab-qwen2.gguf"
    path = write_scripted(tmp_path / "m.gguf", vocabulary, template, ["a"], respelled=TOKENS)
    assert read_gguf(path).chat_template
    _, (prompt,) = answered(task_of(), path, "A text.", lambda _: [-1.0, -2.0])
    assert prompt.rstrip().endswith("</think>")
    assert prompt.count("<think>") == prompt.count("</think>") == 1
