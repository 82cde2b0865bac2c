"""Answers about chunks survive an interrupted run, and only the same run resumes with them."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.batch_program import count
from support.fake_engine import Script
from support.plans import LONG, SUMMARY, Model, jobs_of, numbered, respond
from support.processes import wait_for

from mistral_cli.checks.check import Check
from mistral_cli.errors import EngineFailed
from mistral_cli.generation.answer import Answer, Timings
from mistral_cli.generation.checking.attempts import AnswerRejected
from mistral_cli.generation.checking.options import CheckOptions, FactsMode
from mistral_cli.generation.checking.rules import AnswerRules
from mistral_cli.generation.checkpoint import PartialAnswers
from mistral_cli.generation.session import Executor
from mistral_cli.generation.task import Task
from mistral_cli.tasks.translate import TranslationStrategy

TRANSLATION = Task(
    "translate",
    {"to": "German"},
    checks=CheckOptions(facts=FactsMode.REPORT),
    strategy=TranslationStrategy(),
)


def test_an_interrupted_summary_resumes(
    mistral: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    ((job,), planner) = jobs_of(SUMMARY, mistral, LONG)
    count = len(job.requests)
    assert count > 3

    def breaks(prompt: str) -> str:
        if len(model.prompts) == 3:
            raise EngineFailed("the power is gone", hint="Wait.")
        return numbered(prompt)

    model = Model(planner, breaks)
    with pytest.raises(EngineFailed):
        respond(job, Executor(planner, model, partial=PartialAnswers.of(planner, job.requests)))
    (file,) = (tmp_path / "mistral-cli" / "parts").glob("*.jsonl")
    assert file.stat().st_mode & 0o077 == 0
    with file.open("a") as torn:
        torn.write('{"key": "half of a l')
    again = Model(planner, numbered)
    partial = PartialAnswers.of(planner, job.requests)
    assert partial.resumed == 2
    result = respond(job, Executor(planner, again, partial=partial))
    whole = respond(job, Executor(planner, Model(planner, numbered)))
    assert len(again.prompts) < count
    assert result.answer.text == whole.answer.text
    assert not file.exists()


@pytest.mark.alone
def test_ctrl_c_reports_the_saved_answers_and_the_same_command_resumes(
    here: Path, mistral: Path, script: Script, run: Any
) -> None:
    (here / "long.txt").write_text(LONG, encoding="utf-8")
    command = ["summarize", "-f", "long.txt", "--engine", "fake", "-m", str(mistral)]
    script(pieces=["It met."], delay=0.3)
    process = subprocess.Popen(
        [sys.executable, "-m", "mistral_cli", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    parts = here.parent / "cache" / "mistral-cli" / "parts"
    wait_for(lambda: any(count(path) for path in parts.glob("*.jsonl")))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (out, process.returncode) == ("", 130)
    assert "answers are saved: run the same command to continue" in err
    script(pieces=["It met."])
    again = run(*command)
    assert (again.stdout, again.status) == ("It met.\n", 0)
    assert "answers about chunks from an earlier run" in again.stderr
    assert not list(parts.iterdir())


def test_other_options_have_other_checkpoints(
    mistral: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def partial_answers(**options: Any) -> PartialAnswers:
        ((job,), planner) = jobs_of(SUMMARY, mistral, LONG, **options)
        return PartialAnswers.of(planner, job.requests)

    ((job,), planner) = jobs_of(SUMMARY, mistral, LONG)
    answer = Model(planner, numbered)(job.requests[0].request, (), lambda _: None)
    partial_answers().put(job.requests[0], answer)
    assert partial_answers().resumed == 1  # another random seed
    assert partial_answers(seed=1).resumed == 0
    assert partial_answers(temperature=0.7).resumed == 0
    assert partial_answers(context_length=256).resumed == 0


def test_a_segment_is_checked_once_and_a_resumed_one_too(
    mistral: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    checked: list[str] = []

    def check(rules: AnswerRules, answer: Answer, attempts: int = 1) -> tuple[Check, ...]:
        checked.append(answer.text)
        return checks_of(rules, answer, attempts)

    checks_of = AnswerRules.check
    monkeypatch.setattr(AnswerRules, "check", check)
    text = "On day 1 we met.\n\nOn day 2 it rained.\n\nOn day 3 we went home."
    ((job,), planner) = jobs_of(TRANSLATION, mistral, text)
    assert len(job.requests) == 3
    executor = Executor(planner, Model(planner, lambda _: "Am 9. Tag."))
    whole = respond(job, executor)
    assert len(checked) == 3
    assert not all(each.ok for each in whole.checks)

    partial = PartialAnswers.of(planner, job.requests)
    partial.put(job.requests[0], Answer("Am 9. Tag.", "stop", 5, Timings(0.0, 0.0, 0.0)))
    checked.clear()
    executor = replace(executor, partial=PartialAnswers.of(planner, job.requests))
    assert executor.partial.resumed == 1
    resumed = respond(job, executor)
    assert len(checked) == 3
    assert resumed.checks == whole.checks


def test_a_saved_answer_that_the_checks_refuse_is_requested_again(
    mistral: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def translated(*answers: str) -> tuple[str, int]:
        """The text of a run with these answers to its requests, and how many it made."""
        task = replace(TRANSLATION, checks=CheckOptions(facts=FactsMode.STRICT))
        ((job,), planner) = jobs_of(task, mistral, "On day 1 we met.\n\nOn day 1 it rained.")
        model = Model(planner, lambda _: answers[len(model.prompts) - 1])
        partial = PartialAnswers.of(planner, job.requests)
        result = respond(job, Executor(planner, model, partial=partial))
        return result.answer.text, len(model.prompts)

    wrong, right = "Am 9. Tag.", "Am 1. Tag."
    with pytest.raises(AnswerRejected):
        translated(right, wrong, wrong)
    assert translated(right) == (f"{right}\n\n{right}", 1)


def test_a_saved_answer_that_was_not_retried_is_requested_again(
    mistral: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    task = replace(TRANSLATION, checks=CheckOptions(facts=FactsMode.RETRY))
    ((job,), planner) = jobs_of(task, mistral, "On day 1 we met.\n\nOn day 1 it rained.")
    partial = PartialAnswers.of(planner, job.requests)
    for request, attempts in zip(job.requests, (1, 2), strict=True):
        wrong = Answer("Am 9. Tag.", "stop", 5, Timings(0.0, 0.0, 0.0), attempts=attempts)
        partial.put(request, wrong)
    partial = PartialAnswers.of(planner, job.requests)
    result = respond(
        job, Executor(planner, Model(planner, lambda _: "Am 1. Tag."), partial=partial)
    )
    assert result.answer.text == "Am 1. Tag.\n\nAm 9. Tag."
    assert partial.count == 2
