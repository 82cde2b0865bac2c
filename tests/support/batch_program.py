"""`mistral-cli batch` as a real process, on the fake engine, which echoes each row's last words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.fake_engine import Script

Lines = list[dict[str, Any]]
Batch = Callable[..., Any]
Start = Callable[..., subprocess.Popen[str]]

OURS = [sys.executable, "-m", "mistral_cli", "batch"]


@pytest.fixture
def here(tmp_path: Path, script: Script, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one."""
    script()
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def batch(here: Path, mistral: Path, run: Callable[..., Any]) -> Batch:
    """Run a batch: `batch("generate", "rows.txt", "-o", "out.jsonl", stdin=…)`."""

    def batch(task: str, *arguments: object, **more: Any) -> Any:
        engine = () if "--engine" in arguments else ("--engine", "fake", "-m", mistral)
        return run("batch", task, *arguments, *engine, **more)

    return batch


@pytest.fixture
def start(here: Path, mistral: Path) -> Start:
    """Like `batch`, but returns the running process, which the test must wait for."""

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
    """Write a JSONL file of rows with the ids "1", "2", …"""
    rows = ({"id": str(number), "text": text} for number, text in enumerate(texts, 1))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def lines_of(path: Path | str) -> Lines:
    """Parse the lines of a results file; all must be complete."""
    text = path if isinstance(path, str) else path.read_text(encoding="utf-8")
    assert not text or text.endswith("\n")
    return [json.loads(line) for line in text.split("\n")[:-1]]


def texts_of(path: Path | str) -> dict[str, str]:
    """Map each row id to its text or its error message; no id may occur twice."""
    lines = lines_of(path)
    texts = {line["id"]: (line["error"] or {}).get("message", line["text"]) for line in lines}
    assert len(texts) == len(lines)
    return texts


def count(path: Path) -> int:
    """Count the complete lines of a file that may not exist yet."""
    return path.read_bytes().count(b"\n") if path.exists() else 0
