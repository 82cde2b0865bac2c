"""The code on the pages for contributors works as it stands there."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest
from markdown_it import MarkdownIt
from typer.testing import CliRunner

from mistral_cli import tasks
from mistral_cli.cli import app as cli
from mistral_cli.engines import registry
from mistral_cli.system.config import prompts_dir

PAGES = Path(__file__).parents[2] / "docs" / "contributing"


def _code(page: str, language: str = "python") -> list[str]:
    tokens = MarkdownIt("commonmark").parse((PAGES / page).read_text("utf-8"))
    return [each.content for each in tokens if each.type == "fence" and each.info == language]


def _add_module(name: str, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType(name)
    exec(compile(source, name, "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, name, module)


def test_the_smallest_task(mistral: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, registration = _code("adding-a-task.md")
    (template,) = _code("adding-a-task.md", "text")
    prompts_dir().mkdir(parents=True)
    (prompts_dir() / "keywords.txt").write_text(template, "utf-8")
    exec(registration, {"TASKS": (added := dict[str, str]())})
    try:
        with monkeypatch.context() as patch:
            _add_module("mistral_cli.tasks.keywords", source, patch)
            for name, location in added.items():
                patch.setitem(tasks.TASKS, name, location)
            app = importlib.reload(cli).app
            call = ["keywords", "A text.", "--count", "3", "-m", str(mistral), "--dry-run"]
            result = CliRunner().invoke(app, call)
            batch = CliRunner().invoke(app, ["batch", "keywords", "--help"])
    finally:
        importlib.reload(cli)
    assert result.exit_code == 0, result.output
    assert "List the 3 most important keywords" in result.stdout
    assert "--count N" in batch.stdout, batch.output


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
