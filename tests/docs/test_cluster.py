"""The example scripts for shards: GNU parallel or xargs, and a SLURM array."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.batch_program import Batch, lines_of, write_rows
from support.fake_engine import Script

SCRIPTS = Path(__file__).parents[2] / "docs" / "examples" / "cluster"
ROWS = 20
FAKE = ("--engine", "fake", "--seed", "7")

Shell = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def shell(here: Path, mistral: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Run a script with `mistral-cli` on the PATH, and `parallel` only if the test has it."""
    programs = here.parent / "bin"
    programs.mkdir()
    ours = programs / "mistral-cli"
    ours.write_text(f'#!/bin/sh\nexec {sys.executable} -m mistral_cli "$@"\n')
    ours.chmod(0o755)
    write_rows(here / "rows of today.jsonl", *(f"row {number}" for number in range(ROWS)))

    def run(script: str, *arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", str(SCRIPTS / script), *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PATH": f"{programs}:/usr/bin:/bin", **more},
        )

    return run


def with_tool(folder: Path, tool: str) -> str:
    """Return a PATH whose only tool to run things in parallel is `tool`."""
    folder.mkdir()
    names = ("sh", "env", "seq", "mkdir", "xargs", "perl", "ls", "cat", "uname", "hostname")
    for name in (*names, *((tool,) if tool == "parallel" else ())):
        if found := shutil.which(name):
            (folder / name).symlink_to(found)
    return f"{folder}:{folder.parent / 'bin'}"


def answers(path: Path) -> list[tuple[str, str]]:
    return [(line["id"], line["text"]) for line in lines_of(path)]


@pytest.mark.parametrize("tool", ["xargs", "parallel"])
def test_shards_at_once(
    shell: Shell, batch: Batch, here: Path, tmp_path: Path, mistral: Path, tool: str
) -> None:
    if not shutil.which(tool):
        pytest.skip(f"needs {tool}")
    rows, all_rows = "rows of today.jsonl", here / "all.jsonl"
    prompt = ("--prompt", 'It\'s "here" & costs $5: {text}')
    assert batch("generate", rows, "--seed", 7, *prompt, "-o", all_rows, "--ordered").status == 0
    path = with_tool(tmp_path / "tools", tool)
    more = (*FAKE, "-m", mistral, *prompt)
    result = shell("parallel.sh", rows, "out file.jsonl", 3, 2, *more, PATH=path)
    assert result.returncode == 0, result.stderr
    assert answers(here / "out file.jsonl") == answers(all_rows)
    assert len(list((here / "out file.jsonl.shards").glob("[0-9].jsonl"))) == 3


def test_shards_continue_after_a_failure(
    shell: Shell, here: Path, mistral: Path, script: Script, tmp_path: Path
) -> None:
    path = with_tool(tmp_path / "tools", "xargs")
    arguments = ("parallel.sh", "rows of today.jsonl", "out.jsonl", 2, 1, *FAKE, "-m", mistral)
    script(fail_on="row 7")
    result = shell(*arguments, PATH=path)
    assert result.returncode != 0
    assert "some shards are not complete; run it again" in result.stderr
    assert not (here / "out.jsonl").exists()
    script()
    assert shell(*arguments, "--retry-failed", PATH=path).returncode == 0
    assert len(answers(here / "out.jsonl")) == ROWS


def test_a_slurm_array(shell: Shell, batch: Batch, here: Path, mistral: Path) -> None:
    subprocess.run(["bash", "-n", str(SCRIPTS / "slurm.sh")], check=True)
    rows = "rows of today.jsonl"
    assert batch("generate", rows, "--seed", 7, "-o", "all.jsonl", "--ordered").status == 0
    for task in (3, 4, 5):
        result = shell(
            *("slurm.sh", rows, "out.jsonl", *FAKE, "-m", mistral),
            SLURM_ARRAY_TASK_ID=str(task),
            SLURM_ARRAY_TASK_MIN="3",
            SLURM_ARRAY_TASK_COUNT="3",
            SLURM_CPUS_PER_TASK="1",
        )
        assert result.returncode == 0, result.stderr
    result = shell("slurm.sh", "--merge", rows, "out.jsonl")
    assert result.returncode == 0, result.stderr
    assert answers(here / "out.jsonl") == answers(here / "all.jsonl")
