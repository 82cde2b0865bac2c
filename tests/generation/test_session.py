"""Several requests at once: their answers are in order, and an error ends the run."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.plans import LONG, Model, jobs_of

from mistral_cli.errors import EngineFailed
from mistral_cli.generation.options import Overflow
from mistral_cli.generation.session import Executor
from mistral_cli.generation.task import Task


@pytest.mark.parametrize("parallel", [1, 3])
def test_concurrent_answers_are_in_order_and_an_error_ends_the_run(
    mistral: Path, parallel: int
) -> None:
    ((job,), planner) = jobs_of(Task("generate"), mistral, LONG, overflow=Overflow.SPLIT)
    executor = Executor(planner, Model(planner, lambda prompt: prompt[-30:]), parallel)
    answers = [answer.text for answer in executor.answers(job.requests)]
    assert answers == [planner.prompt_text(each)[-30:] for each in job.requests]

    def fails(prompt: str) -> str:
        raise EngineFailed("broken", hint="")

    with pytest.raises(EngineFailed):
        list(Executor(planner, Model(planner, fails), parallel).answers(job.requests))
