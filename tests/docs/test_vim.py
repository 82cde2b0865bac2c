"""The example for Vim, in a real Vim."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.fake_engine import Script

SCRIPT = Path(__file__).parents[2] / "docs" / "examples" / "complete.vim"
pytestmark = pytest.mark.skipif(shutil.which("vim") is None, reason="needs Vim")


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        (
            "def add(a, b):\n    return \n\nx = 1\n",
            2,
            "def add(a, b):\n    return a + b\n\nx = 1\n",
        ),
        ("# ü → ß\ny = \n", 2, "# ü → ß\ny = a + b\n"),
    ],
)
def test_vim_fills_the_gap_at_the_cursor(
    coder: Path, tmp_path: Path, text: str, line: int, expected: str
) -> None:
    code = tmp_path / "code.py"
    code.write_text(text, encoding="utf-8")
    edit(code, coder, f"+{line}", "-c", r'execute "normal A\<C-l>"')
    assert code.read_text(encoding="utf-8") == expected


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (["b", ", c"], "  f(ü, b, c|)\n"),
        (["b,\n", "    c"], "  f(ü, b,\n    c|)\n"),
        (["b\n"], "  f(ü, b\n|)\n"),
    ],
)
def test_the_cursor_is_behind_what_was_written(
    coder: Path, tmp_path: Path, script: Script, pieces: list[str], expected: str
) -> None:
    """A completion may end in a newline, which Vim's own paste would put above the line."""
    script(pieces=pieces)
    code = tmp_path / "code.c"
    code.write_text("  f(ü, )\n", encoding="utf-8")
    # "i" inserts before the bracket.
    edit(code, coder, "-c", r'execute "normal $i\<C-l>|"', engine="fake")
    assert code.read_text(encoding="utf-8") == expected


def test_an_error_leaves_the_text_alone(coder: Path, tmp_path: Path, script: Script) -> None:
    script(error="the engine is broken")
    code, log = tmp_path / "code.c", tmp_path / "messages"
    code.write_text("x = 1;\n", encoding="utf-8")
    messages = ["-c", f"redir! > {log}", "-c", "messages", "-c", "redir END"]
    edit(code, coder, "-c", r'execute "normal A\<C-l>"', *messages, engine="fake")
    assert code.read_text(encoding="utf-8") == "x = 1;\n"
    assert "the engine is broken" in log.read_text(encoding="utf-8")


def edit(code: Path, model: Path, *commands: str, engine: str = "llama.cpp") -> None:
    """Edit a file with the example, and save it."""
    tmp_path = code.parent
    (tmp_path / "mistral-cli").write_text(
        f'#!/bin/sh\nexec {sys.executable} -m mistral_cli "$@"\n', encoding="utf-8"
    )
    (tmp_path / "mistral-cli").chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "MISTRAL_CLI_MODEL": str(model),
        "MISTRAL_CLI_ENGINE": engine,
        "LC_ALL": "C.UTF-8",
    }
    subprocess.run(
        ["vim", "-N", "-u", "NONE", "-n", "-es", "-S", SCRIPT, code, *commands, "-c", "wq"],
        env=environment,
        timeout=120,
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )
