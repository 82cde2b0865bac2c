"""Texts that no context holds are refused by their size, before their tokens are counted."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.batch_program import Batch, texts_of
from support.program import Run

from mistral_cli.engines.loader import open_tokenizer
from mistral_cli.engines.registry import backend
from mistral_cli.generation.prompt import Prompt
from mistral_cli.models.chat import Message
from mistral_cli.models.chat.formats import fewest_tokens, tokenize_segments
from mistral_cli.models.gguf import GGUF, read_gguf
from mistral_cli.texts.inputs import Text

HUGE = "The harbour committee met. " * 400_000  # 11 MB: 300 MB of memory and 20 s as tokens
MOST_KILOBYTES = 250_000


@pytest.fixture(scope="module")
def tokenizer(smollm2: Path) -> tuple[GGUF, Callable[[str], list[int]]]:
    model = read_gguf(smollm2)
    with open_tokenizer(backend("llama.cpp"), model) as opened:
        yield model, opened.tokenize


@given(
    text=st.one_of(
        st.text(), st.builds(lambda a, n: a * n, st.text(max_size=3), st.integers(0, 300))
    )
)
def test_the_bound_is_never_above_the_number_of_tokens(
    tokenizer: tuple[GGUF, Callable[[str], list[int]]], text: str
) -> None:
    model, tokenize = tokenizer
    prompt = Prompt(Text(text, "test"), [Message("user", text)]).render(model)
    assert prompt.least_tokens(0) <= len(tokenize(text.strip()))


def test_the_bound_of_segments(tokenizer: tuple[GGUF, Callable[[str], list[int]]]) -> None:
    """A tokenizer that rewrites texts first, as gemma4 does, may need fewer tokens."""
    model, tokenize = tokenizer
    segments = (1, "\ud800" * 500, 2, "word " * 500)
    bound = fewest_tokens(segments, model)
    assert 2 < bound <= len(tokenize_segments(segments, model, tokenize))
    rewriting = replace(model, metadata={**model.metadata, "tokenizer.ggml.model": "gemma4"})
    assert fewest_tokens(segments, rewriting) == 2


def test_a_huge_text_is_refused(run: Run, smollm2: Path, tmp_path: Path) -> None:
    (tmp_path / "huge.txt").write_text(HUGE)
    for more in ((), ("--raw",), ("--dry-run",)):
        result = run("generate", "-f", tmp_path / "huge.txt", "-m", smollm2, *more)
        assert result.status == 5
        assert "the prompt has at least" in result.stderr
        assert "fit into the context of 8192" in result.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has other units")
def test_the_memory_for_a_huge_text(smollm2: Path, tmp_path: Path) -> None:
    (tmp_path / "huge.txt").write_text(HUGE)
    arguments = ("generate", "-f", tmp_path / "huge.txt", "-m", smollm2)
    # A process starts with the peak of the one that forked it, so a small one stands between.
    measure = "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:]); "
    measure += "print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    program = [sys.executable, "-m", "mistral_cli", *map(str, arguments)]
    done = subprocess.run([sys.executable, "-c", measure, *program], stdout=subprocess.PIPE)
    status, kilobytes = map(int, done.stdout.split())
    assert status == 5
    assert kilobytes < MOST_KILOBYTES


def test_a_huge_row_fails_and_costs_the_others_nothing(
    batch: Batch, here: Path, smollm2: Path
) -> None:
    rows = [{"id": str(number), "text": text} for number, text in enumerate(["Hi", HUGE, "Hello"])]
    (here / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ("--engine", "llama.cpp", "-m", smollm2, "-n", "3")
    result = batch("generate", "rows.jsonl", "-o", "out.jsonl", *arguments)
    assert result.status == 10
    assert "the prompt has at least" in texts_of(here / "out.jsonl")["1"]
    plan = json.loads(batch("generate", "rows.jsonl", "--dry-run", *arguments).stdout)
    assert plan["would_fail"] == 1
    assert plan["context_length"] < 1024
