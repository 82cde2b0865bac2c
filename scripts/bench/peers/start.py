"""The time that a program takes to print its help."""

from __future__ import annotations

import sys
from pathlib import Path

from results import Results, Table
from setting import Setting
from timing import Log, alternate, timed

TYPER, OURS = "`import typer, rich.console`", "`mistral-cli --help`"


def measure(setting: Setting, results: Results, log: Log) -> None:
    """Compare this tool's help with the peers', and with the start of Python itself."""
    python = sys.executable
    peers = setting.python.parent
    commands = {
        "`python -c pass`": [python, "-c", "pass"],
        TYPER: [python, "-c", "import typer, rich.console"],
        OURS: setting.ours("--help"),
        "`mistral-cli generate --help`": setting.ours("generate", "--help"),
        "`mistral-cli prompts list`": setting.ours("prompts", "list"),
        "`hf --help`": [str(Path(python).parent / "hf"), "--help"],
        "`llm --help`": [str(peers / "llm"), "--help"],
        "`llama-completion --help`": [str(setting.native / "llama-completion"), "--help"],
    }
    variants = {
        name: lambda command=command: 1000 * timed(command).seconds  # type: ignore[misc]
        for name, command in commands.items()
    }
    values = alternate(variants, max(3, 3 * setting.repeats), setting.skipped, log)
    table = Table("Start", "ms", values, TYPER, failed=values.failed)
    results.tables.append(table)
    results.target("`--help`, of importing typer and rich", table, OURS, TYPER, 1.3, at_most=True)
