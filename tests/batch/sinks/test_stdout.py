"""Results on stdout."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from support.batch_program import Batch, texts_of, write_rows


def test_stdout_that_is_closed_or_full(batch: Batch, here: Path, mistral: Path) -> None:
    def shell(command: str) -> str:
        ours = f"{sys.executable} -m mistral_cli batch generate rows.jsonl --engine fake"
        whole = f"{ours} -m {mistral} -q {command}"
        return subprocess.run(
            ["sh", "-c", whole], capture_output=True, text=True, timeout=120, check=True
        ).stdout

    write_rows(here / "rows.jsonl", *(f"row number {number}" for number in range(300)))
    result = batch("generate", "rows.jsonl", "-o", "-", "--parallel", 3)
    assert len(texts_of(result.stdout)) == 300
    closed = shell("2>&1 | head -1")
    assert (closed.count("\n"), closed[:7]) == (1, '{"id": ')
    assert "cannot write to stdout: No space left" in shell("2>&1 >/dev/full | cat")
