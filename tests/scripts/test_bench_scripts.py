"""The benchmark scripts start without the tests on their path: their imports still work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "script",
    ["batch_bench.py", "classify_bench.py", "grounded_bench.py", "json_bench.py", "peers/main.py"],
)
def test_a_benchmark_shows_its_help(script: str, tmp_path: Path) -> None:
    assert "--" in run(script, tmp_path, "--help")


def test_the_schemas_of_a_folder_are_accepted_or_refused_and_the_reasons_counted(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "schemas" / "few"
    folder.mkdir(parents=True)
    schemas = {"a": '{"type": "integer"}', "b": '{"type": "strng"}', "c": '{"type": "nmber"}'}
    schemas |= {"d": '{"type": "string", "x": ', "e": '{"allOf": [{"uniqueItems": true}]}'}
    for name, schema in schemas.items():
        (folder / f"{name}.json").write_text(schema)
    arguments = ["schemas", "--json", "checks.json", "--workers", "2"]
    shown = run("schema_bench.py", tmp_path, *arguments)
    assert "| few | 5 | 2 | 40.00 | 2 | 40.00 |" in shown
    assert (
        "| '…' is not valid under any of the given schemas | 2 | few/b.json, few/c.json |" in shown
    )
    checks = json.loads((tmp_path / "checks.json").read_text())
    assert [*checks] == [f"few/{name}.json" for name in schemas]
    assert checks["few/a.json"]["plain"]["outcome"] == "accepted"
    assert "strng" in checks["few/b.json"]["plain"]["reason"]
    assert checks["few/b.json"]["grounded"]["outcome"] == "refused"
    assert "uniqueItems" in checks["few/e.json"]["plain"]["unenforced"][0]
    run("schema_bench.py", tmp_path, *arguments, "--most-seconds", "0")
    checks = json.loads((tmp_path / "checks.json").read_text())
    assert {check["plain"]["outcome"] for check in checks.values()} == {"crashed"}


def run(script: str, folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "bench" / script, *arguments],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'scripts'}{os.pathsep}{ROOT}"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_batch_takes_no_more_memory_for_more_rows(mistral: Path, tmp_path: Path) -> None:
    """The script counts the lines itself; a row that stayed in memory would take a kilobyte."""
    arguments = ["--model", str(mistral), "--rows", "5000", "--whole-rows", "200"]
    shown = run("rows_bench.py", tmp_path, *arguments)
    assert shown.count("| whole program |") == shown.count("| without an engine |") == 2
    ratio = float(shown.rpartition("and ")[2].split()[0])
    assert ratio < 1.5
