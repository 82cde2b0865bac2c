"""The registry of engines: adding one takes a file and a line."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.program import Result

from mistral_cli.engines.registry import BACKENDS, DEFAULT, automatic, backend
from mistral_cli.errors import UsageError

THE_FILE = '''
from mistral_cli.engines.protocol import Backend, Session
from mistral_cli.engines.types import Finish, PrefillProgress, TextDelta


class Parrot(Backend):
    """An engine that has one answer."""

    name = "parrot"

    def missing(self):
        return None

    def no_gpu(self):
        return "a parrot has no GPU"

    def open(self, model, options):
        return ParrotSession(options.context_length)


class ParrotSession(Session):
    def __init__(self, context_length):
        self._context_length = context_length

    @property
    def context_length(self):
        return self._context_length

    def tokenize(self, text):
        return [3 + byte for byte in text.encode()]

    def stream(self, request):
        total = len(request.prompt_token_ids)
        yield PrefillProgress(total, total)
        yield TextDelta("Polly wants ")
        yield TextDelta("a cracker.")
        yield Finish("stop", 2)

    def close(self):
        pass
'''

THE_LINE = 'BACKENDS["parrot"] = "parrot:Parrot"'


@pytest.fixture
def with_parrot(tmp_path: Path) -> Callable[..., Result]:
    """Run the program with the new engine, which each of its processes knows."""
    (tmp_path / "parrot.py").write_text(THE_FILE)
    (tmp_path / "sitecustomize.py").write_text(
        "import mistral_cli.engines\n"
        "from mistral_cli.engines.registry import BACKENDS\n"
        f"mistral_cli.engines.__path__.append({str(tmp_path)!r})\n"
        f"{THE_LINE}\n"
    )
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))

    def run(*arguments: object) -> Result:
        done = subprocess.run(
            [sys.executable, "-m", "mistral_cli", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
        )
        return Result(done.stdout, done.stderr, done.returncode)

    return run


def test_a_new_engine_answers_a_prompt(with_parrot: Callable[..., Result], mistral: Path) -> None:
    call = ("generate", "What does Polly want?", "-m", mistral, "--engine", "parrot")
    result = with_parrot(*call)
    assert (result.status, result.stdout) == (0, "Polly wants a cracker.\n"), result.stderr
    answer = json.loads(with_parrot(*call, "--json").stdout)
    assert (answer["engine"], answer["text"]) == ("parrot", "Polly wants a cracker.")


def test_a_new_engine_answers_a_batch_in_its_own_process(
    with_parrot: Callable[..., Result], mistral: Path, tmp_path: Path
) -> None:
    rows, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    rows.write_text('{"text": "one"}\n{"text": "two"}\n')
    result = with_parrot(
        *("batch", "generate", rows, "-o", out, "-m", mistral, "--engine", "parrot")
    )
    assert result.status == 0, result.stderr
    texts = [json.loads(line)["text"] for line in out.read_text().splitlines()]
    assert texts == ["Polly wants a cracker."] * 2


def test_a_new_engine_is_listed_wherever_engines_are(
    with_parrot: Callable[..., Result], mistral: Path
) -> None:
    (*_, row) = json.loads(with_parrot("engines", "list", "--json").stdout)["engines"]
    assert (row["name"], row["usable"], row["gpu"]) == ("parrot", "yes", "no: a parrot has no GPU")
    shown = json.loads(with_parrot("models", "show", mistral, "--json").stdout)
    assert shown["engines"]["parrot"] == "yes"
    diagnosis = json.loads(with_parrot("doctor", "-m", mistral, "--json").stdout)
    assert "parrot" in diagnosis["engines"]
    result = with_parrot("generate", "x", "-m", mistral, "--engine", "cockatoo")
    assert "Use one of: auto, llama.cpp, ctransformers, parrot." in result.stderr


def test_an_engine_without_speculative_decoding_names_one_that_has_it(
    with_parrot: Callable[..., Result], mistral: Path
) -> None:
    result = with_parrot("generate", "x", "-m", mistral, "--engine", "parrot", "--lookup")
    assert result.status == 2
    assert f"Use --engine {DEFAULT}" in result.stderr


def test_each_engine_has_one_backend_by_its_name() -> None:
    for name in BACKENDS:
        assert backend(name).name == name
        assert backend(name) is backend(name)
    assert DEFAULT in automatic()


def test_a_backend_is_pickled_by_its_name() -> None:
    for name in BACKENDS:
        pickled = pickle.dumps(backend(name))
        assert pickle.loads(pickled) is backend(name)
        assert len(pickled) < 100


def test_an_unknown_name() -> None:
    with pytest.raises(UsageError, match="unknown engine 'x'"):
        backend("x")
