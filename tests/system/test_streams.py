"""The program with standard streams that are closed, full, or read no further."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from support.fake_engine import Script

PRINTING = [
    "--help",
    "--version",
    "--show-completion",
    "generate --help",
    "generate hi",
    "generate hi --json",
    "generate hi --dry-run",
    "models list",
    "models show --json",
    "prompts show translate",
    "doctor",
    "batch generate text.txt -q",
]
"""Calls that print to stdout."""


@pytest.fixture
def shell(script: Script, mistral: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set the fake engine and a folder with `text.txt`, and return the folder."""
    script(pieces=["an answer"])
    monkeypatch.setenv("MISTRAL_CLI_MODEL", str(mistral))
    monkeypatch.setenv("MISTRAL_CLI_ENGINE", "fake")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("a text", encoding="utf-8")
    return tmp_path


def call(arguments: str, redirections: str) -> subprocess.CompletedProcess[str]:
    """Run the program in a shell, so that it can start without a stream."""
    program = f"{shlex.quote(sys.executable)} -m mistral_cli {arguments} {redirections}"
    return subprocess.run(
        ["bash", "-c", program], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.usefixtures("shell")
@pytest.mark.parametrize("arguments", PRINTING)
def test_output_that_cannot_be_written_is_an_error(arguments: str) -> None:
    full = call(arguments, ">/dev/full")
    assert full.returncode == 1
    assert full.stderr == (
        "mistral-cli: error: cannot write to stdout: No space left on device\n"
        "  Free space on the disk that stdout is redirected to.\n"
    )
    closed = call(arguments, ">&-")
    assert closed.returncode == 1
    assert closed.stderr == (
        "mistral-cli: error: cannot write to stdout: it is closed\n"
        "  Open it, or discard the output: > /dev/null.\n"
    )
    assert call(arguments, ">&- 2>&- <&-").returncode == 1
    assert call(arguments, ">/dev/full 2>/dev/full").returncode == 1


@pytest.mark.usefixtures("shell")
@pytest.mark.parametrize("arguments", PRINTING)
def test_a_reader_that_leaves_and_a_closed_stdin_or_stderr_are_no_errors(arguments: str) -> None:
    left = call(arguments, "| true; exit ${PIPESTATUS[0]}")
    assert (left.returncode, left.stderr) == (0, "")
    done = call(arguments, "<&- 2>&-")
    assert done.returncode == 0
    assert done.stdout


def test_a_call_that_prints_nothing_needs_no_stdout(shell: Path) -> None:
    done = call("batch generate text.txt -o results.jsonl", ">&-")
    assert (done.returncode, done.stderr) == (0, "mistral-cli: 1 of 1 rows done, 0 failed\n")
    assert call("batch generate text.txt -o more.jsonl", "<&- >&- 2>&-").returncode == 0
    first, second = ((shell / f"{name}.jsonl").read_text() for name in ("results", "more"))
    assert '"text": "an answer"' in first
    assert second.count("\n") == 1


@pytest.mark.usefixtures("shell")
def test_errors_keep_their_exit_code_without_stderr() -> None:
    assert call("generate --nope", "2>&-").returncode == 2
    assert call("generate hi -m nothing", ">&- 2>/dev/full").returncode == 3
    assert "stdin cannot be read: it is closed" in call("generate hi -f -", "<&-").stderr


def test_files_do_not_take_the_place_of_a_closed_stream(smollm2: Path) -> None:
    """A native library writes its messages to descriptor 2, whatever that has become."""
    before = smollm2.stat()
    done = call(
        f"generate hi -n 2 --engine llama.cpp -m {shlex.quote(str(smollm2))} -v", "<&- 2>&-"
    )
    assert done.returncode == 0
    assert done.stdout.strip()
    assert smollm2.stat().st_mtime == before.st_mtime


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ("generate hi", 0),
        ("models list", 0),
        ("doctor", 0),
        ("batch generate {0}/text.txt", 0),
        ("batch generate {0}/text.txt -o results.jsonl", 1),
        ("batch generate {0}/text.txt --report report.html", 1),
        ("batch generate {0}/text.txt --output-dir results", 1),
        ("batch generate text.txt", 2),
        ("models alias work ./model.gguf", 1),
        ("generate hi -m model.gguf", 3),
        ("json-extract hi --schema schema.json", 2),
    ],
)
def test_a_deleted_folder_is_a_problem_only_where_it_is_used(
    shell: Path, arguments: str, status: int
) -> None:
    gone = shell / "gone"
    gone.mkdir()
    enter = f"cd {shlex.quote(str(gone))} && rmdir ../gone &&"
    program = f"{shlex.quote(sys.executable)} -m mistral_cli {arguments.format(shell)}"
    done = subprocess.run(
        ["bash", "-c", f"{enter} {program}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == status, done.stderr
    assert "Errno" not in done.stderr
    assert ("the current folder has been deleted" in done.stderr) == (status == 1)
