"""Limits of the system, and damaged files of ours: one clear error, and exit code 1."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from support.batch_program import Batch, write_rows
from support.program import Run

NESTED = "[" * 200_000
DAMAGED = [NESTED, "[1]", "5", '"x"', "null", "{}", '{"a": ' + NESTED, '{"a": 1', "\0\0\0"]


def limited(limit: int, value: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the program with a limit of the system."""
    return subprocess.run(
        [sys.executable, "-m", "mistral_cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=lambda: resource.setrlimit(limit, (value, value)),
    )


def check(result: subprocess.CompletedProcess[str], status: int) -> None:
    """An answer if `status` is 0, else one clear error."""
    assert result.returncode == status, result.stderr
    assert "bug" not in result.stderr
    assert "Traceback" not in result.stderr
    assert ("mistral-cli: error: " in result.stderr) == (status != 0)
    assert bool(result.stdout.strip()) == (
        status == 0 and "-o" not in result.args and "--output-dir" not in result.args
    )


@pytest.mark.parametrize("engine", ["llama.cpp", "ctransformers"])
@pytest.mark.parametrize("size", [0, 1_000, 40_000])
def test_files_that_may_not_grow(here: Path, mistral: Path, engine: str, size: int) -> None:
    """A batch needs files, and llama.cpp a small one in the folder for temporary files."""
    write_rows(here / "rows.jsonl", "a", "b")
    (here / "a1.txt").write_text("a")
    arguments = ("-n", 3, "--seed", 1, "-m", mistral, "--engine", engine)
    alone = limited(resource.RLIMIT_FSIZE, size, "generate", "hi", *arguments)
    check(alone, 1 if size == 0 and engine == "llama.cpp" else 0)
    for more in ((), ("-o", "out.jsonl", "--report", "page.html"), ("--output-dir", "out")):
        command = ("batch", "generate", "rows.jsonl" if "out" not in more else "a*.txt")
        # Two results have more than 1000 bytes, one has fewer, and a page has fewer than 40,000.
        fails = size == 0 or (size == 1000 and "--report" in more)
        check(limited(resource.RLIMIT_FSIZE, size, *command, *arguments, *more), int(fails))


def test_a_report_that_cannot_be_written(batch: Batch, here: Path, mistral: Path) -> None:
    write_rows(here / "rows.jsonl", "a", "b")
    batch("generate", "rows.jsonl", "-o", "out.jsonl")
    command = ("batch", "generate", "rows.jsonl", "-o", "out.jsonl", "--report", "page.html")
    fake = ("--engine", "fake", "-m", mistral)
    result = limited(resource.RLIMIT_FSIZE, 1000, *command, *fake)
    check(result, 1)
    assert "cannot write page.html: File too large" in result.stderr
    assert not list(here.glob(".mistral-cli-*"))


@pytest.mark.parametrize(("engine", "needed"), [("llama.cpp", 12), ("ctransformers", 7)])
def test_few_open_files(here: Path, mistral: Path, engine: str, needed: int) -> None:
    """An answer needs some; a batch also starts a process, which needs more than 12."""
    write_rows(here / "rows.jsonl", "a")
    arguments = ("-n", 2, "--seed", 1, "-m", mistral, "--engine", engine)
    for count in (5, 6, 7, 9, 12):
        alone = limited(resource.RLIMIT_NOFILE, count, "generate", "hi", *arguments)
        check(alone, 0 if count >= needed else 1)
        command = ("batch", "generate", "rows.jsonl", "-o", "out.jsonl", *arguments)
        check(limited(resource.RLIMIT_NOFILE, count, *command), 1)


def test_little_memory(mistral: Path) -> None:
    arguments = ("generate", "hi", "-n", 2, "-m", mistral, "--engine", "llama.cpp")
    for megabytes in (120, 150, 250):
        result = limited(resource.RLIMIT_AS, megabytes << 20, *arguments)
        # 250 MB was enough once: how much the libraries reserve differs from run to run.
        check(result, 0 if megabytes == 250 and result.returncode == 0 else 1)
        if "error: the engine ended" in result.stderr:
            assert "(out of memory?)" in result.stderr


@pytest.mark.parametrize("content", DAMAGED, ids=lambda text: text[:6])
def test_damaged_files_of_ours(
    run: Run, tmp_path: Path, mistral: Path, content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MISTRAL_CLI_PROMPT_CACHE")
    text = tmp_path / "text.txt"
    text.write_text("The harbour committee met. " * 30)
    command = ("summarize", "-f", text, "-n", 3, "-m", mistral, "--engine", "llama.cpp", "-c", 512)
    assert run(*command).status == 0
    for path in (tmp_path / "cache").rglob("*.json"):
        path.write_text(content)
    for path in (tmp_path / "cache").rglob("*.jsonl"):
        path.write_text(content + "\n")
    for again in (command, ("cache", "list"), ("models", "list")):
        result = run(*again)
        assert result.status == 0, result.stderr
        assert "bug" not in result.stderr


@pytest.mark.parametrize("content", [*DAMAGED, json.dumps({"settings": 5, "strategy": [1]})])
def test_the_damaged_state_of_a_finetune_run(content: str, tmp_path: Path) -> None:
    from mistral_cli.errors import UsageError
    from mistral_cli.finetune.run_dir import run_directory

    directory = run_directory(tmp_path / "adapter.gguf", tmp_path / "data.jsonl")
    directory.folder.mkdir(parents=True)
    directory.save_state({})
    (state,) = directory.folder.iterdir()
    state.write_text(content)
    with pytest.raises(UsageError, match="there is no interrupted run"):
        directory.open({"a": 1}, resume=True, force=False)
