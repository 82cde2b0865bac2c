"""Scripts for the fake engine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Script = Callable[..., None]


def write_script(path: Path, **entries: object) -> Path:
    """Write a script with `entries`, for MISTRAL_CLI_FAKE, and return its path."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(entries), encoding="utf-8")
    return path


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    """Set the script that the fake engine follows from now on: `script(fail_on="bad")`.

    It echoes the prompt's last words, unless the entries contain `pieces`.
    """

    def script(**entries: object) -> None:
        path = write_script(
            tmp_path / "script" / "fake.json", **({"echo": "pieces" not in entries} | entries)
        )
        monkeypatch.setenv("MISTRAL_CLI_FAKE", str(path))

    return script
