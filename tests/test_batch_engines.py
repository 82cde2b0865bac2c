"""Batches of the real engines, held against single calls of the same program."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from batch_program import lines_of, write_rows

TOKENS = 16
SETTINGS = ("-n", TOKENS, "--temperature", 0, "--repetition-penalty", 1.0, "--engine")
TEXTS = (
    "Name three colours.",
    "What do bees make, and what do people do with it in winter?",
    "Write one line about the sea.",
    "How many legs does a spider have? " + "Think of the garden. " * 12,
    "Say hello to Anna.",
)
ENGINES = ("llama.cpp", "ctransformers")
Run = Callable[..., Any]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def model(engine: str, request: pytest.FixtureRequest) -> Path:
    """SmolLM2, as the engine reads it."""
    name = "smollm2" if engine == "llama.cpp" else "smollm2_for_ctransformers"
    return Path(request.getfixturevalue(name))


@pytest.fixture
def answers(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`answers(arguments, *more)`: the lines of a batch of TEXTS, in their order."""
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "rows.jsonl", *TEXTS)

    def answers(*arguments: object, task: str = "generate") -> list[dict[str, Any]]:
        result = run("batch", task, "rows.jsonl", "--ordered", *arguments)
        assert result.status == 0, result.stderr
        lines = lines_of(result.stdout)
        assert [line["id"] for line in lines] == [str(n) for n in range(1, len(TEXTS) + 1)]
        return lines

    return answers


@pytest.fixture
def single(run: Run) -> Callable[..., dict[str, Any]]:
    """What one call says to one text."""

    def single(text: str, *arguments: object, task: str = "generate") -> dict[str, Any]:
        result = run(task, "--json", *arguments, stdin=text)
        assert result.status == 0, result.stderr
        found: dict[str, Any] = json.loads(result.stdout)
        return found

    return single


def numbers(line: dict[str, Any]) -> tuple[Any, ...]:
    return line["prompt_tokens"], line["completion_tokens"], line["finish_reason"]


def in_common(one: str, other: str) -> int:
    """Characters with which both begin."""
    return next((n for n in range(len(one), 0, -1) if other.startswith(one[:n])), 0)


def test_one_after_the_other_as_in_single_calls(
    answers: Callable[..., Any], single: Callable[..., Any], engine: str, model: Path
) -> None:
    arguments = (*SETTINGS, engine, "-m", model)
    lines = answers(*arguments, "--parallel", 1)
    alone = [single(text, *arguments) for text in TEXTS]
    assert [line["text"] for line in lines] == [one["text"] for one in alone]
    assert list(map(numbers, lines)) == list(map(numbers, alone))
    assert {line["engine"] for line in lines} == {engine}


def test_a_seed_gives_the_same_batch_again(
    answers: Callable[..., Any], engine: str, stories: Path
) -> None:
    sampled = ("-n", 40, "--temperature", 1, "--seed", 7, "--parallel", 1)
    first, second = (answers(*sampled, "--engine", engine, "-m", stories) for _ in range(2))
    assert [line["text"] for line in first] == [line["text"] for line in second]
    assert len({line["text"] for line in first}) == len(TEXTS)


def test_in_parallel_slots_each_row_has_an_answer_of_its_own(
    answers: Callable[..., Any], single: Callable[..., Any], smollm2: Path
) -> None:
    """Rounding may lead to other words later on, but they begin as those of the same text."""
    arguments = (*SETTINGS, "llama.cpp", "-m", smollm2)
    lines = answers(*arguments, "--parallel", 4)
    alone = [single(text, *arguments) for text in TEXTS]
    for line, own in zip(lines, alone, strict=True):
        shared = [in_common(line["text"], one["text"]) for one in alone]
        assert max(range(len(alone)), key=shared.__getitem__) == alone.index(own)
        assert line["prompt_tokens"] == own["prompt_tokens"]
        assert 0 < line["completion_tokens"] <= TOKENS
        assert (line["finish_reason"] == "length") == (line["completion_tokens"] == TOKENS)
        assert line["error"] is None


def test_in_parallel_slots_words_come_from_the_row_itself(
    answers: Callable[..., Any], smollm2: Path
) -> None:
    """Grounded values are words of the row's text: a grammar that differs in each slot."""
    grounded = ("--fields", "about", "--grounded", "-n", 64, "--temperature", 0)
    lines = answers(*grounded, "-m", smollm2, "--parallel", 4, task="json-extract")
    for line, text in zip(lines, TEXTS, strict=True):
        assert line["data"]["about"] in text
