"""`bench`, run as a process, with real engines."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from support.program import Run
from synthetic.models import write_mistral

from mistral_cli.diagnostics.bench import memory_bandwidth
from mistral_cli.engines.hardware.memory import read_for_a_token
from mistral_cli.engines.protocol import LoadOptions
from mistral_cli.engines.registry import backend
from mistral_cli.engines.types import Finish, PrefillProgress, Request, Sampling
from mistral_cli.models.gguf import read_gguf
from mistral_cli.system.machine import resident_peak

SMALL = ("-p", "20", "-n", "8", "-r", "2")


def test_it_compares_both_engines(run: Run, mistral: Path) -> None:
    both = ("--engine", "llama.cpp", "--engine", "ctransformers")
    result = run("bench", "-m", mistral, *SMALL, *both, "-t", "1", "--json")
    assert (result.status, result.stderr) == (0, "")
    benchmark = json.loads(result.stdout)
    assert benchmark["workload"] == {
        "prompt_tokens": 20,
        "new_tokens": 8,
        "repetitions": 2,
        "cold": False,
    }
    assert benchmark["machine"]["memory_bandwidth"] > 1e8
    assert [each["engine"] for each in benchmark["benchmarks"]] == ["llama.cpp", "ctransformers"]
    for each in benchmark["benchmarks"]:
        assert (each["threads"], each["gpu_layers"], len(each["runs"])) == (1, 0, 2)
        assert each["first_token_seconds"] > each["load_seconds"] > 0
        bytes_per_token = benchmark["model"]["bytes_read_for_a_token"]
        bytes_per_second = bytes_per_token * each["generated_tokens_per_second"]
        share = bytes_per_second / benchmark["machine"]["memory_bandwidth"]
        assert each["bandwidth_share"] == pytest.approx(share)


def test_the_json_has_these_keys(run: Run, mistral: Path) -> None:
    benchmark = json.loads(run("bench", "-m", mistral, *SMALL, "--json").stdout)
    assert list(benchmark) == ["schema_version", "model", "machine", "workload", "benchmarks"]
    assert list(benchmark["model"]) == [
        "reference",
        "path",
        "size",
        "quantization",
        "bytes_read_for_a_token",
    ]
    assert list(benchmark["machine"]) == [
        "processor",
        "cores",
        "memory_available",
        "memory_bandwidth",
    ]
    (row,) = benchmark["benchmarks"]
    assert list(row) == [
        "engine",
        "threads",
        "gpu_layers",
        "repacked",
        "load_seconds",
        "prompt_tokens_per_second",
        "generated_tokens_per_second",
        "first_token_seconds",
        "memory",
        "bandwidth_share",
        "runs",
    ]
    assert list(row["runs"][0]) == [
        "load_seconds",
        "first_token_seconds",
        "prompt_tokens_per_second",
        "generated_tokens_per_second",
        "memory",
    ]


def test_stdout_has_only_the_numbers(run: Run, mistral: Path) -> None:
    result = run("bench", "-m", mistral, *SMALL, "--cold")
    assert result.status == 0, result.stderr
    engine, *numbers = result.stdout.removesuffix("\n").split("\t")
    assert engine == "llama.cpp"
    assert all(float(number.rstrip("%")) >= 0 for number in numbers if number != "-")
    assert "median of 2; the file not in the page cache" in result.stderr
    assert "repacked at load" not in result.stderr
    assert (
        "llama.cpp: weights repacked at load"
        in run("bench", "-m", mistral, *SMALL, "--repack").stderr
    )
    assert run("bench", "-m", mistral, *SMALL, "-q").stderr == ""


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (("-p", "600"), 2, "trained with 512 tokens of context"),
        (("--engine", "no-such"), 2, "unknown engine"),
        (("-n", "1"), 2, "-n"),
        (("--engine", "ctransformers", "--repack"), 2, "cannot repack the weights"),
        (("-m", "/no/such.gguf"), 3, "/no/such.gguf"),
    ],
)
def test_errors(run: Run, mistral: Path, options: tuple[str, ...], status: int, words: str) -> None:
    result = run("bench", "-m", mistral, *SMALL, *options)
    assert (result.status, result.stdout) == (status, "")
    assert words in result.stderr


def test_a_crash_of_the_engine_is_reported(run: Run, tmp_path: Path) -> None:
    model = write_mistral(tmp_path / "m.gguf", vocabulary=512)
    script = tmp_path / "script.json"
    script.write_text(
        json.dumps({"crash_on": "e"}), encoding="utf-8"
    )  # one of the prompt's many tokens
    work = ("-p", "400", "-n", "2", "-r", "1", "--engine", "fake")
    result = run("bench", "-m", model, *work, MISTRAL_CLI_FAKE=str(script))
    assert (result.status, result.stdout) == (9, "")
    assert "the engine ended by SIGABRT" in result.stderr


@pytest.mark.parametrize("name", ["llama.cpp", "ctransformers"])
def test_the_end_token_can_be_ignored(tmp_path: Path, name: str) -> None:
    """The EOS is the model's most likely token: it stops at once, or never if EOS is ignored."""
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
        ignored = list(engine.stream(Request(prompt, 12, greedy, ignore_eos=True)))
    assert ended[-1] == Finish("stop", 1)
    assert ignored[-1] == Finish("length", 12)
    assert isinstance(ignored[0], PrefillProgress)


def test_the_bytes_read_for_a_token(tmp_path: Path) -> None:
    model = read_gguf(write_mistral(tmp_path / "m.gguf", vocabulary=512))
    embeddings = 512 * 64 * 4
    assert read_for_a_token(model) == sum(t.size for t in model.tensors) - embeddings


def test_peak_memory_and_bandwidth() -> None:
    peak = resident_peak(os.getpid())
    assert peak is None or peak > 10 * 2**20
    assert resident_peak(2**22 + 1) is None
    assert memory_bandwidth(1) > 1e8
