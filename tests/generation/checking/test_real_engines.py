"""Checks on the real engines: a model whose greedy answer has a number that no text has."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.batch_program import lines_of, write_rows
from support.program import Run
from synthetic.scripted import write_scripted

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% else %}{{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
)
LAST = "#28793"  # the token of the "]" with which the prompt ends
SCRIPT = [LAST, " The", " work", " costs", " ", "9", "7", " eu", "ros", ".", "</s>"]
TEXT, ANSWER = "The work costs 40 euros and begins on Monday.", "The work costs 97 euros."
WARNING = 'numbers: "97 euros" (the text has 40 euros)'


@pytest.fixture(scope="module")
def inventor(mistral: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that answers each prompt with ANSWER."""
    path = tmp_path_factory.mktemp("models") / "inventor.gguf"
    return write_scripted(path, mistral, TEMPLATE, SCRIPT)


def call(model: Path, *more: object) -> tuple[object, ...]:
    return ("-m", model, "--temperature", 0, "--repetition-penalty", 1, *more)


def failed(checks: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in checks if not check["ok"]}


@pytest.mark.parametrize("engine", ["llama.cpp", "ctransformers"])
def test_an_invented_number_is_reported_retried_or_refused(
    run: Run, inventor: Path, tmp_path: Path, engine: str
) -> None:
    options = call(inventor, "--engine", engine)
    reported = run("summarize", TEXT, *options)
    assert (reported.status, reported.stdout) == (0, f"{ANSWER}\n")
    assert f"mistral-cli: warning: {WARNING}\n" in reported.stderr

    refused = run("summarize", TEXT, *options, "--facts", "strict")
    assert (refused.status, refused.stdout) == (7, "")
    assert f"error: {WARNING} (after 2 attempts)" in refused.stderr

    shown = json.loads(run("summarize", TEXT, *options, "--facts", "retry", "--json").stdout)
    (check,) = failed(shown["checks"]).values()
    (finding,) = check["findings"]
    assert (check["name"], check["attempts"]) == ("numbers", 2)
    assert shown["text"][finding["start"] : finding["end"]] == finding["text"] == "97 euros"
    assert shown["warnings"] == [f"{WARNING} (after one retry)"]

    write_rows(tmp_path / "rows.jsonl", TEXT, "The work costs 97 euros and begins now.")
    rows = ("batch", "summarize", tmp_path / "rows.jsonl", "--ordered", *options)
    batch = run(*rows, "--facts", "strict")
    assert batch.status == 10
    bad, good = lines_of(batch.stdout)
    assert (bad["error"]["code"], [*failed(bad["checks"])]) == (7, ["numbers"])
    assert (good["text"], failed(good["checks"])) == (ANSWER, {})
    assert '1  numbers: "97 euros" (the text has 40 euros)' in batch.stderr


@pytest.fixture
def served(run: Run, inventor: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The model, served; a short folder, since sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="checks-") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        monkeypatch.setenv("XDG_STATE_HOME", f"{folder}/state")
        started = run("serve", "-m", inventor, "-c", 1024, "--detach")
        assert started.status == 0, started.stderr
        yield inventor
        run("serve", "stop")


def test_a_served_model_is_checked_too(run: Run, served: Path) -> None:
    shown = json.loads(run("summarize", TEXT, *call(served, "--facts", "retry", "--json")).stdout)
    assert shown["served"]
    assert {name: check["attempts"] for name, check in failed(shown["checks"]).items()} == {
        "numbers": 2
    }
    refused = run("translate", "--to", "English", TEXT, *call(served, "--facts", "strict"))
    assert (refused.status, refused.stdout) == (7, "")
    assert '"97 euros" (the text has 40 euros)' in refused.stderr
    assert 'missing: "40 euros", "Monday" (not in the translation)' in refused.stderr
