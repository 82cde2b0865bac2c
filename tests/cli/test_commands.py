"""`prompts`, and the promises about the shape of the program."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
from support.program import Result

import mistral_cli.cli.commands.finetune
import mistral_cli.cli.commands.models
import mistral_cli.cli.commands.tasks
import mistral_cli.tasks
from mistral_cli.cli.app import app

Run = Callable[..., Result]
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("package", "lines"),
    [
        (mistral_cli.cli.commands, [*mistral_cli.cli.commands.COMMANDS, "tasks"]),
        (mistral_cli.cli.commands.models, mistral_cli.cli.commands.models.COMMANDS),
        (mistral_cli.tasks, mistral_cli.cli.commands.tasks.TASKS),
    ],
)
def test_every_command_file_is_registered(package: ModuleType, lines: Iterable[str]) -> None:
    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    assert sorted(name.replace("-", "_") for name in lines) == sorted(names)


def _pages(group: Any) -> Iterator[tuple[str, str, str]]:
    """Of every command of a group its name, its line in the list, and its own help."""
    for name, line in getattr(group, "lines", {}).items():
        found = group.load(name)
        yield name, line, found.help
        yield from _pages(found)


def test_the_list_of_commands_says_what_their_own_pages_say() -> None:
    pages = list(_pages(typer.main.get_command(app)))
    assert {"generate", "batch", "models", "list"} < {name for name, _, _ in pages}
    assert [(name, line) for name, line, help in pages if help.split("\n")[0] != line] == []


def test_prompts(run: Run, tmp_path: Path) -> None:
    names = [row["name"] for row in json.loads(run("prompts", "list", "--json").stdout)["prompts"]]
    assert names == [
        "generate",
        "json-extract",
        "midjourney",
        "summarize",
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


def test_a_template_of_ones_own_runs(run: Run, mistral: Path, tmp_path: Path) -> None:
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
