"""The list of commands, `prompts`, and what the package contains."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support.program import Run
from typer.main import get_command
from typer.testing import CliRunner

import mistral_cli.cli.app
import mistral_cli.cli.commands.models
import mistral_cli.tasks
from mistral_cli.cli.app import app
from mistral_cli.cli.framework import PlainCommand

ROOT = Path(__file__).parents[2]


def _listed(group: Any) -> Iterator[tuple[str, str]]:
    """Yield each command that a lazy group lists: its name, and `module:function`."""
    for name, target in getattr(group, "targets", {}).items():
        yield name, target
        yield from _listed(group.load(name))


@pytest.mark.parametrize(
    "package", [mistral_cli.cli.commands, mistral_cli.cli.commands.models, mistral_cli.tasks]
)
def test_every_command_file_is_registered(package: ModuleType) -> None:
    files = {f"{package.__name__}.{each.name}" for each in pkgutil.iter_modules(package.__path__)}
    modules = {target.partition(":")[0] for _, target in _listed(get_command(app))}
    helpers = {"mistral_cli.cli.commands.tasks"}  # the command of every task
    assert files - helpers <= modules


def test_the_list_of_commands_shows_the_help_of_each() -> None:
    """The list is made from the source text, the help pages from the imported functions."""

    def check(group: Any) -> None:
        for name in getattr(group, "targets", {}):
            listed, loaded = group.commands[name].get_short_help_str(), group.load(name)
            assert listed
            assert loaded.help.split("\n")[0] == listed
            check(loaded)

    check(get_command(app))


@pytest.mark.parametrize("group", ["cache", "engines", "finetune", "prompts", "serve"])
def test_groups_have_plain_help_pages(group: str) -> None:
    """The list of commands shows the whole first line of each."""
    page = " ".join(CliRunner().invoke(app, [group, "--help"]).stdout.split())
    for name, command in get_command(app).load(group).commands.items():
        assert isinstance(command, PlainCommand)
        assert f"{name} {command.get_short_help_str()}" in page


def test_prompts(run: Run, tmp_path: Path) -> None:
    names = [row["name"] for row in json.loads(run("prompts", "list", "--json").stdout)["prompts"]]
    assert names == [
        "classify",
        "complete",
        "generate",
        "json-extract",
        "midjourney",
        "summarize",
        "summarize-extractive",
        "summarize-part",
        "translate",
    ]
    source = (ROOT / "prompts" / "summarize.txt").read_text(encoding="utf-8")
    assert run("prompts", "show", "summarize").stdout == source
    assert run("prompts", "path", "summarize").stdout == f"{ROOT / 'prompts' / 'summarize.txt'}\n"
    own = Path(run("prompts", "path").stdout.strip())
    own.mkdir(parents=True)
    (own / "summarize.txt").write_text("Mine: {{ text }}", encoding="utf-8")
    assert run("prompts", "show", "summarize").stdout == "Mine: {{ text }}"


def test_a_users_own_template_runs(run: Run, mistral: Path, tmp_path: Path) -> None:
    template = tmp_path / "mail.txt"
    template.write_text(
        '+++\n[params]\ntone = "kind"\n[schema]\ntype = "object"\n+++\n'
        "A {{ tone }} mail: {{ text }}",
        encoding="utf-8",
    )
    arguments = ("generate", "$x {{ y }}", "-m", mistral, "--template", template, "-p", "tone=dry")
    plan = json.loads(run(*arguments, "--dry-run", "--json").stdout)
    assert plan["prompt"] == "<s> [INST] A dry mail: $x {{ y }} [/INST]"
    assert plan["schema"] == {"type": "object"}


def test_the_wheel_carries_the_prompts(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "-w", str(tmp_path)]
    subprocess.run([*build, str(ROOT)], check=True, timeout=200, stdin=subprocess.DEVNULL)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        f"mistral_cli/generation/prompts/{path.name}" for path in (ROOT / "prompts").glob("*.txt")
    }
    assert expected <= names
    assert "mistral_cli/py.typed" in names
    assert not any(name.startswith("tests") for name in names)
