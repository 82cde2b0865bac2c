"""The benchmark scripts start without the tests on their path: their imports still work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("script", ["batch_bench.py", "json_bench.py", "peers/main.py"])
def test_a_benchmark_shows_its_help(script: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "bench" / script, "--help"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "scripts")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "--" in done.stdout
