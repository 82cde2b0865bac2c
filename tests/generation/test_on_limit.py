"""`--on-limit close` with real engines, on models that would write one string forever."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.program import Run
from synthetic.scripted import write_scripted

from mistral_cli.structured.schema import Schema, validation_problem

WORDS = (
    "the of and to in is that for on with as by at from it an be this which or are was but not have"
)
ENDLESS = (' "', *(f" {word}" for word in WORDS.split()))
SCHEMA: Schema = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "note": {"type": "string"},
        "age": {"type": "integer", "minimum": 1, "maximum": 9},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
LIMIT = 24
CLOSE = ("--schema", json.dumps(SCHEMA), "--on-limit", "close", "-n", LIMIT, "--threads", 1)


@pytest.fixture(scope="session", params=["llama.cpp", "ctransformers"])
def endless(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, ...]:
    """The options of a model that does not end its first string, and does not repeat itself.

    llama.cpp applies the grammar of the first itself, and the second goes token by token.
    """
    engine = request.param
    vocabulary = request.getfixturevalue("smollm2" if engine == "llama.cpp" else "mistral")
    path = tmp_path_factory.mktemp("models") / "endless.gguf"
    template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    write_scripted(path, vocabulary, template, ENDLESS)
    return ("-m", str(path), "--engine", engine)


def check(value: Any) -> None:
    assert validation_problem(value, SCHEMA) is None
    assert len(value["name"].split()) >= 4
    assert value["name"].strip() in WORDS


def test_one_answer(endless: tuple[str, ...], run: Run) -> None:
    result = run("json-extract", "A text.", *CLOSE, "--json", *endless)
    assert result.status == 0, result.stderr
    answer = json.loads(result.stdout)
    check(answer["data"])
    assert answer["finish_reason"] == "closed"
    assert answer["completion_tokens"] <= LIMIT
    (warning,) = answer["warnings"]
    assert warning.startswith("the answer reached its limit and was closed at /name")
    assert warning in result.stderr


def test_without_it_the_answer_fails(endless: tuple[str, ...], run: Run) -> None:
    result = run("json-extract", "A text.", *CLOSE, "--on-limit", "fail", *endless)
    assert (result.status, result.stdout) == (6, "")


def test_a_batch(endless: tuple[str, ...], run: Run, tmp_path: Path) -> None:
    rows, results = tmp_path / "rows.jsonl", tmp_path / "results.jsonl"
    rows.write_text('{"text": "A text."}\n{"text": "Another text."}\n', encoding="utf-8")
    batch = ("batch", "json-extract", rows, "-o", results, *endless, *CLOSE)
    result = run(*batch, "--on-limit", "fail")
    assert result.status == 10, result.stderr
    result = run(*batch, "--retry-failed")  # the same rows, although the option changed
    assert result.status == 0, result.stderr
    records = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    assert [record["finish_reason"] for record in records] == ["closed", "closed"]
    for record in records:
        check(record["data"])
        assert "was closed at /name" in record["warnings"][0]
