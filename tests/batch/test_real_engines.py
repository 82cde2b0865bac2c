"""Batches of the real engines, compared with single calls.

With ctransformers every row has the text of a single call. llama.cpp reuses the state of the
prefix that two rows share, and computes slots together: both round differently than a single
call. So the texts may diverge somewhere, and only the first row of a batch without parallel slots
is certain to be equal.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.batch_program import lines_of, write_rows
from support.program import Run

TOKENS = 16
TEXTS = (
    "Name three colours.",
    "What do bees make, and what do people do with it in winter?",
    "Write one line about the sea.",
    "How many legs does a spider have? " + "Think of the garden. " * 12,
)
Answers = list[dict[str, Any]]


@pytest.fixture(params=["llama.cpp", "ctransformers"])
def engine(request: pytest.FixtureRequest) -> tuple[object, ...]:
    """The options for an engine, and SmolLM2 in a file that it can read."""
    name = "smollm2" if request.param == "llama.cpp" else "smollm2_for_ctransformers"
    greedy = ("-n", TOKENS, "--temperature", 0, "--repetition-penalty", 1.0)
    return ("--engine", request.param, "-m", request.getfixturevalue(name), *greedy)


@pytest.fixture
def rows(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answers]:
    """Run a batch of TEXTS and return the lines in order."""
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "rows.jsonl", *TEXTS)

    def rows(*arguments: object, task: str = "generate") -> Answers:
        result = run("batch", task, "rows.jsonl", "--ordered", *arguments)
        assert result.status == 0, result.stderr
        lines = lines_of(result.stdout)
        assert [line["id"] for line in lines] == [str(n + 1) for n in range(len(TEXTS))]
        return lines

    return rows


def single_calls(run: Run, engine: tuple[object, ...]) -> Answers:
    """Return the answers of single calls to TEXTS."""
    results = [run("generate", "--json", *engine, stdin=text) for text in TEXTS]
    assert [result.status for result in results] == [0] * len(TEXTS)
    return [json.loads(result.stdout) for result in results]


def common_prefix(one: str, other: str) -> int:
    """Count the characters with which both texts begin."""
    return next((n for n in range(len(one), 0, -1) if other.startswith(one[:n])), 0)


def test_each_row_gets_its_own_answer(
    run: Run, rows: Callable[..., Answers], engine: tuple[object, ...]
) -> None:
    """With and without slots, a row's text starts like that of a single call."""
    singles = single_calls(run, engine)
    for parallel in (1, 4):
        lines = rows(*engine, "--parallel", parallel)
        for number, (line, single) in enumerate(zip(lines, singles, strict=True)):
            shared = [common_prefix(line["text"], each["text"]) for each in singles]
            assert max(range(len(TEXTS)), key=shared.__getitem__) == number
            assert line["prompt_tokens"] == single["prompt_tokens"]
            assert 0 < line["completion_tokens"] <= TOKENS
            assert (line["finish_reason"] == "length") == (line["completion_tokens"] == TOKENS)
            assert (line["engine"], line["error"]) == (engine[1], None)
        certain = 1 if parallel == 1 else 0
        certain = len(TEXTS) if "ctransformers" in engine else certain
        texts = [[each["text"] for each in answers[:certain]] for answers in (lines, singles)]
        assert texts[0] == texts[1]


@pytest.mark.parametrize("name", ["llama.cpp", "ctransformers"])
def test_the_same_seed_gives_the_same_results(
    rows: Callable[..., Answers], name: str, stories: Path
) -> None:
    sampled = ("--raw", "-n", 40, "--temperature", 1, "--seed", 7, "--parallel", 1)
    first, again = (rows(*sampled, "--engine", name, "-m", stories) for _ in range(2))
    assert [line["text"] for line in first] == [line["text"] for line in again]
    assert len({line["text"] for line in first}) == len(TEXTS)


def test_grounded_values_come_from_the_rows_own_text_in_every_slot(
    rows: Callable[..., Answers], smollm2: Path
) -> None:
    """Each slot has its own grammar, so grounded values are words of the row's text."""
    grounded = ("--fields", "about", "--grounded", "-n", 160, "--temperature", 0)
    lines = rows(*grounded, "-m", smollm2, "--parallel", 4, task="json-extract")
    for line, text in zip(lines, TEXTS, strict=True):
        assert line["data"]["about"] in text
