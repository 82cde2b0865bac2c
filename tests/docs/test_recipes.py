"""The code on the pages for contributors works as it stands there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from markdown_it import MarkdownIt
from typer.testing import CliRunner

import mistral_cli
from mistral_cli.cli import app as cli
from mistral_cli.engines import registry

PAGES = Path(__file__).parents[2] / "docs" / "contributing"


def _code(page: str, language: str = "python") -> list[str]:
    tokens = MarkdownIt("commonmark").parse((PAGES / page).read_text("utf-8"))
    return [each.content for each in tokens if each.type == "fence" and each.info == language]


def _add_module(name: str, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType(name)
    exec(compile(source, name, "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A copy of the program, to add files to."""
    copy = tmp_path / "copy" / "mistral_cli"
    shutil.copytree(Path(mistral_cli.__file__).parent, copy)
    return copy


def _run(program: Path, *arguments: object) -> str:
    process = subprocess.run(
        [sys.executable, "-P", "-m", "mistral_cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(program.parent), "COLUMNS": "100"},
    )
    return process.stdout


def test_the_smallest_task(program: Path, mistral: Path, tmp_path: Path) -> None:
    """One file of code, and its template, make a command and one of `batch`."""
    (source,) = _code("adding-a-task.md")
    (template,) = _code("adding-a-task.md", "text")
    (program / "tasks" / "keywords.py").write_text(source, "utf-8")
    (program / "generation" / "prompts" / "keywords.txt").write_text(template, "utf-8")
    for group in ((), ("batch",)):
        assert "  keywords      List the keywords of texts." in _run(program, *group, "--help")
        assert "--count N" in _run(program, *group, "keywords", "--help")
    shown = _run(program, "keywords", "A text.", "--count", "3", "-m", mistral, "--dry-run")
    assert "List the 3 most important keywords" in shown
    answer = _run(program, "keywords", "A text.", "-m", mistral, "--engine", "fake")
    assert answer == "Hello from the fake engine.\n"
    rows = tmp_path / "rows.txt"
    rows.write_text("one\ntwo\n", encoding="utf-8")
    options = ["--input-format", "lines", "-m", mistral, "--engine", "fake"]
    assert _run(program, "batch", "keywords", *options, rows).count('"error": null') == 2


def test_the_smallest_engine(mistral: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, registration = _code("adding-an-engine.md")
    _add_module("mistral_cli.engines.echo", source, monkeypatch)
    monkeypatch.setattr(registry, "BACKENDS", dict(registry.BACKENDS))
    exec(registration, {"BACKENDS": registry.BACKENDS})

    call = ["generate", "hello", "--raw", "--engine", "echo", "-m", str(mistral)]
    result = CliRunner().invoke(cli.app, call)
    assert (result.exit_code, result.stdout) == (0, "hello\n"), result.output
    shown = CliRunner().invoke(cli.app, ["models", "show", str(mistral)]).stdout
    assert "engines: echo" in shown
