"""`mistral-cli batch` as a real process, on a scripted engine that says its rows' last words."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Lines = list[dict[str, Any]]
Script = Callable[..., None]
Batch = Callable[..., Any]
Start = Callable[..., subprocess.Popen[str]]

OURS = [sys.executable, "-m", "mistral_cli", "batch"]


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    """What the fake engine does from now on: it echoes, and whatever else is said here."""
    path = tmp_path / "script" / "fake.json"

    def script(**entries: object) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"echo": "pieces" not in entries, **entries}))
        monkeypatch.setenv("MISTRAL_CLI_FAKE", str(path))

    return script


@pytest.fixture
def here(tmp_path: Path, script: Script, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The empty folder that the program runs in."""
    script()
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def batch(here: Path, mistral: Path, run: Callable[..., Any]) -> Batch:
    """`batch("generate", "rows.txt", "-o", "out.jsonl", stdin=…)`: what the program did."""

    def batch(task: str, *arguments: object, **more: Any) -> Any:
        engine = () if "--engine" in arguments else ("--engine", "fake", "-m", mistral)
        return run("batch", task, *arguments, *engine, **more)

    return batch


@pytest.fixture
def start(here: Path, mistral: Path) -> Start:
    """Like `batch`, but the process goes on; it must be waited for."""

    def start(
        task: str, *arguments: object, engine: str = "fake", **more: Any
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*OURS, task, *map(str, arguments), "--engine", engine, "-m", str(mistral)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ},
            **more,
        )

    return start


def write_rows(path: Path, *texts: str) -> None:
    """A JSONL file of rows whose ids are "1", "2", …"""
    rows = ({"id": str(number), "text": text} for number, text in enumerate(texts, 1))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def lines_of(path: Path | str) -> Lines:
    """The lines of a results file; every one must be whole."""
    text = path if isinstance(path, str) else path.read_text(encoding="utf-8")
    assert not text or text.endswith("\n")
    return [json.loads(line) for line in text.split("\n")[:-1]]


def texts_of(path: Path | str) -> dict[str, str]:
    """Row id → its text, or its error's message; no id may be there twice."""
    lines = lines_of(path)
    found = {line["id"]: (line["error"] or {}).get("message", line["text"]) for line in lines}
    assert len(found) == len(lines)
    return found


def count(path: Path) -> int:
    """The whole lines in a file that may not be there yet."""
    return path.read_bytes().count(b"\n") if path.exists() else 0


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until `condition` holds."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def children_of(pid: int) -> list[int]:
    """The process of a batch's engine, whichever thread started it; none if there is none."""
    found = list[int]()
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (thread / "children").read_text().split())
    return found
