"""`bench`: real engines measured as a process of the program."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from synthetic.models import write_mistral

from mistral_cli.diagnostics.bandwidth import memory_bandwidth
from mistral_cli.engines.hardware.memory import read_for_a_token
from mistral_cli.engines.protocol import LoadOptions
from mistral_cli.engines.registry import backend
from mistral_cli.engines.types import Finish, PrefillProgress, Request, Sampling
from mistral_cli.models.gguf import read_gguf
from mistral_cli.system.machine import resident_peak

Run = Callable[..., Any]
SMALL = ("-p", "20", "-n", "8", "-r", "2")


def test_both_engines_side_by_side(run: Run, mistral: Path) -> None:
    both = ("--engine", "llama.cpp", "--engine", "ctransformers")
    result = run("bench", "-m", mistral, *SMALL, *both, "-t", "1", "--json")
    assert (result.status, result.stderr) == (0, "")
    found = json.loads(result.stdout)
    assert found["workload"] == {
        "prompt_tokens": 20,
        "new_tokens": 8,
        "repetitions": 2,
        "cold": False,
    }
    assert found["machine"]["memory_bandwidth"] > 1e8
    assert [each["engine"] for each in found["benchmarks"]] == ["llama.cpp", "ctransformers"]
    for each in found["benchmarks"]:
        assert (each["threads"], each["gpu_layers"], len(each["runs"])) == (1, 0, 2)
        assert each["first_token_seconds"] > each["load_seconds"] > 0
        bytes_a_second = (
            found["model"]["bytes_read_for_a_token"] * each["generated_tokens_per_second"]
        )
        share = bytes_a_second / found["machine"]["memory_bandwidth"]
        assert each["bandwidth_share"] == pytest.approx(share)


def test_the_numbers_alone_are_on_stdout(run: Run, mistral: Path) -> None:
    result = run("bench", "-m", mistral, *SMALL, "--cold")
    assert result.status == 0, result.stderr
    engine, *numbers = result.stdout.removesuffix("\n").split("\t")
    assert engine == "llama.cpp"
    assert all(float(number.rstrip("%")) >= 0 for number in numbers if number != "-")
    assert "median of 2; the file not in the page cache" in result.stderr
    assert "rearranged at load" not in result.stderr
    assert (
        "llama.cpp: weights rearranged at load"
        in run("bench", "-m", mistral, *SMALL, "--repack").stderr
    )
    assert run("bench", "-m", mistral, *SMALL, "-q").stderr == ""


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (("-p", "600"), 2, "trained with 512 tokens of context"),
        (("--engine", "no-such"), 2, "unknown engine"),
        (("-n", "1"), 2, "-n"),
        (("--engine", "ctransformers", "--repack"), 2, "does not rearrange weights"),
        (("-m", "/no/such.gguf"), 3, "/no/such.gguf"),
    ],
)
def test_errors(run: Run, mistral: Path, options: tuple[str, ...], status: int, words: str) -> None:
    result = run("bench", "-m", mistral, *SMALL, *options)
    assert (result.status, result.stdout) == (status, "")
    assert words in result.stderr


def test_a_crash_of_the_engine_is_an_error(run: Run, tmp_path: Path) -> None:
    model = write_mistral(tmp_path / "m.gguf", vocabulary=512)
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"crash_on": "e"}), encoding="utf-8")  # one of so many tokens
    work = ("-p", "400", "-n", "2", "-r", "1", "--engine", "fake")
    result = run("bench", "-m", model, *work, MISTRAL_CLI_FAKE=str(script))
    assert (result.status, result.stdout) == (9, "")
    assert "the engine ended by SIGABRT" in result.stderr


@pytest.mark.parametrize("name", ["llama.cpp", "ctransformers"])
def test_eos_ends_nothing_where_it_is_ignored(tmp_path: Path, name: str) -> None:
    """The same model with the token it likes best as its EOS: it stops at once, or it does not."""
    greedy = Sampling(0.0, 0, 1.0, 1.0, 0)
    model = read_gguf(write_mistral(tmp_path / "plain.gguf"))
    with backend(name).open(model, LoadOptions(64, threads=1)) as engine:
        prompt = (1, *engine.tokenize("Once upon a time"))
        events = list(engine.stream(Request(prompt, 1, greedy)))
        first = "".join(getattr(event, "text", "") for event in events)
        (eos,) = engine.tokenize(first.strip())[:1]
    metadata = {"tokenizer.ggml.eos_token_id": eos}
    model = read_gguf(write_mistral(tmp_path / "ends.gguf", metadata=metadata))
    with backend(name).open(model, LoadOptions(64, threads=1)) as engine:
        ended = list(engine.stream(Request(prompt, 12, greedy)))
        went_on = list(engine.stream(Request(prompt, 12, greedy, ignore_eos=True)))
    assert ended[-1] == Finish("stop", 1)
    assert went_on[-1] == Finish("length", 12)
    assert isinstance(went_on[0], PrefillProgress)


def test_what_a_token_reads(tmp_path: Path) -> None:
    model = read_gguf(write_mistral(tmp_path / "m.gguf", vocabulary=512))
    embeddings = 512 * 64 * 4
    assert read_for_a_token(model) == sum(t.size for t in model.tensors) - embeddings


def test_the_machine() -> None:
    peak = resident_peak(os.getpid())
    assert peak is None or peak > 10 * 2**20
    assert resident_peak(2**22 + 1) is None
    assert memory_bandwidth(1) > 1e8
