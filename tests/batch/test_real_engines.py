"""Batches of the real engines, held against single calls of the same program.

With ctransformers every row has the text of a single call. llama.cpp uses what it has computed
for one row for the next where both begin alike, and computes slots together: either is rounded
otherwise than in a call of its own. So the words may part somewhere, and only the first row of
a batch without parallel slots is the same for sure.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.batch_program import lines_of, write_rows

TOKENS = 16
TEXTS = (
    "Name three colours.",
    "What do bees make, and what do people do with it in winter?",
    "Write one line about the sea.",
    "How many legs does a spider have? " + "Think of the garden. " * 12,
)
Answers = list[dict[str, Any]]
Run = Callable[..., Any]


@pytest.fixture(params=["llama.cpp", "ctransformers"])
def engine(request: pytest.FixtureRequest) -> tuple[object, ...]:
    """An engine, and SmolLM2 as it reads that."""
    name = "smollm2" if request.param == "llama.cpp" else "smollm2_for_ctransformers"
    greedy = ("-n", TOKENS, "--temperature", 0, "--repetition-penalty", 1.0)
    return ("--engine", request.param, "-m", request.getfixturevalue(name), *greedy)


@pytest.fixture
def rows(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answers]:
    """The lines of a batch of TEXTS, in their order."""
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "rows.jsonl", *TEXTS)

    def rows(*arguments: object, task: str = "generate") -> Answers:
        result = run("batch", task, "rows.jsonl", "--ordered", *arguments)
        assert result.status == 0, result.stderr
        lines = lines_of(result.stdout)
        assert [line["id"] for line in lines] == [str(n + 1) for n in range(len(TEXTS))]
        return lines

    return rows


def alone(run: Run, engine: tuple[object, ...]) -> Answers:
    """What a call of its own says to each of TEXTS."""
    results = [run("generate", "--json", *engine, stdin=text) for text in TEXTS]
    assert [result.status for result in results] == [0] * len(TEXTS)
    return [json.loads(result.stdout) for result in results]


def in_common(one: str, other: str) -> int:
    """Characters with which both begin."""
    return next((n for n in range(len(one), 0, -1) if other.startswith(one[:n])), 0)


def test_each_row_has_an_answer_of_its_own(
    run: Run, rows: Callable[..., Answers], engine: tuple[object, ...]
) -> None:
    """With slots and without, a row's text begins as that of a single call about it."""
    singles = alone(run, engine)
    for parallel in (1, 4):
        lines = rows(*engine, "--parallel", parallel)
        for number, (line, single) in enumerate(zip(lines, singles, strict=True)):
            shared = [in_common(line["text"], each["text"]) for each in singles]
            assert max(range(len(TEXTS)), key=shared.__getitem__) == number
            assert line["prompt_tokens"] == single["prompt_tokens"]
            assert 0 < line["completion_tokens"] <= TOKENS
            assert (line["finish_reason"] == "length") == (line["completion_tokens"] == TOKENS)
            assert (line["engine"], line["error"]) == (engine[1], None)
        sure = 1 if parallel == 1 else 0
        sure = len(TEXTS) if "ctransformers" in engine else sure
        texts = [[each["text"] for each in answers[:sure]] for answers in (lines, singles)]
        assert texts[0] == texts[1]


@pytest.mark.parametrize("name", ["llama.cpp", "ctransformers"])
def test_a_seed_gives_the_same_batch_again(
    rows: Callable[..., Answers], name: str, stories: Path
) -> None:
    sampled = ("--raw", "-n", 40, "--temperature", 1, "--seed", 7, "--parallel", 1)
    first, again = (rows(*sampled, "--engine", name, "-m", stories) for _ in range(2))
    assert [line["text"] for line in first] == [line["text"] for line in again]
    assert len({line["text"] for line in first}) == len(TEXTS)


def test_in_parallel_slots_words_come_from_the_row_itself(
    rows: Callable[..., Answers], smollm2: Path
) -> None:
    """Grounded values are words of the row's text: each slot has a grammar of its own."""
    grounded = ("--fields", "about", "--grounded", "-n", 160, "--temperature", 0)
    lines = rows(*grounded, "-m", smollm2, "--parallel", 4, task="json-extract")
    for line, text in zip(lines, TEXTS, strict=True):
        assert line["data"]["about"] in text
