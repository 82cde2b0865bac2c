"""The example for Vim, in a real Vim."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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
    (tmp_path / "mistral-cli").write_text(
        f'#!/bin/sh\nexec {sys.executable} -m mistral_cli "$@"\n', encoding="utf-8"
    )
    (tmp_path / "mistral-cli").chmod(0o755)
    code = tmp_path / "code.py"
    code.write_text(text, encoding="utf-8")
    commands = [f"+{line}", "-c", r'execute "normal A\<C-l>"', "-c", "wq"]
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "MISTRAL_CLI_MODEL": str(coder),
        "LC_ALL": "C.UTF-8",
    }
    subprocess.run(
        ["vim", "-N", "-u", "NONE", "-n", "-es", "-S", SCRIPT, code, *commands],
        env=environment,
        timeout=120,
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )
    assert code.read_text(encoding="utf-8") == expected
