"""A batch that is killed at any instant, again and again, ends as if it never was."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from batch_program import Batch, Script, Start, lines_of, write_rows

KILLS = int(os.environ.get("KILLS", "25"))
"""How often; `KILLS=300 scripts/test tests/test_batch_kill.py` for more."""
ROWS = max(60, 3 * KILLS)


def comparable(line: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in line.items() if key not in ("timings", "seed")}


def by_id(path: Path) -> list[dict[str, Any]]:
    return sorted(map(comparable, lines_of(path)), key=lambda line: int(line["id"]))


def whole_lines(path: Path) -> dict[str, bytes]:
    """Row id → its line, as far as lines are whole."""
    import json

    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return {json.loads(line)["id"]: line for line in lines}


def killed(
    start: Callable[[], subprocess.Popen[str]], numbers: list[int], dice: random.Random, out: Path
) -> int:
    """Start and kill until a run ends by itself; how many were killed."""
    kills = 0
    while True:
        before = whole_lines(out)
        process = start()
        limit = dice.uniform(0.25, 1.5) if kills < KILLS else 120
        try:
            process.communicate(timeout=limit)
            assert process.returncode == 0
            return kills
        except subprocess.TimeoutExpired:
            process.send_signal(dice.choice(numbers))
            process.communicate(timeout=60)
            kills += 1
        after = whole_lines(out)
        assert {name: after.get(name) for name in before} == before  # done is done


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "numbers", [[signal.SIGKILL], [signal.SIGKILL, signal.SIGTERM, signal.SIGINT]]
)
def test_a_killed_batch_ends_as_one_that_was_not(
    batch: Batch, start: Start, script: Script, here: Path, numbers: list[int]
) -> None:
    write_rows(here / "rows.jsonl", *(f"row {n} word{n}" for n in range(ROWS)))
    assert batch("generate", "rows.jsonl", "-o", "whole.jsonl", "--parallel", 4).status == 0
    script(delay=0.04)
    out, dice = here / "out.jsonl", random.Random(7)
    kills = killed(
        lambda: start("generate", "rows.jsonl", "-o", "out.jsonl", "--parallel", 4),
        numbers,
        dice,
        out,
    )
    assert kills >= min(KILLS, 5)
    assert len(lines_of(out)) == ROWS
    assert by_id(out) == by_id(here / "whole.jsonl")


@pytest.mark.timeout(3600)
def test_a_killed_batch_leaves_whole_files(
    batch: Batch, start: Start, script: Script, here: Path
) -> None:
    (here / "in").mkdir()
    for number in range(20):
        (here / "in" / f"{number}.txt").write_text(f"file {number} name{number}")
    assert batch("generate", "in", "--output-dir", "whole").status == 0
    script(delay=0.06)
    dice, runs = random.Random(11), 0
    while True:
        process = start("generate", "in", "--output-dir", "out", "--parallel", 2)
        try:
            process.communicate(timeout=dice.uniform(0.3, 1.2) if runs < KILLS else 120)
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            runs += 1
        for path in (here / "out").glob("[!.]*"):
            assert path.read_text() == (here / "whole" / path.name).read_text()
    assert process.returncode == 0
    found = {path.name: path.read_text() for path in (here / "out").glob("[!.]*")}
    assert found == {path.name: path.read_text() for path in (here / "whole").glob("[!.]*")}
    assert len(found) == 20


def test_the_engine_goes_when_its_batch_is_killed(start: Start, script: Script, here: Path) -> None:
    write_rows(here / "rows.jsonl", *map(str, range(9)))
    script(delay=5)
    process = start("generate", "rows.jsonl", "-o", "out.jsonl")
    engine = None
    for _ in range(300):
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        if engine := next(iter(children), None):
            break
        time.sleep(0.05)
    assert engine
    time.sleep(0.5)
    process.kill()
    process.communicate()
    for _ in range(200):
        if not Path(f"/proc/{engine}").exists():
            break
        time.sleep(0.05)
    assert not Path(f"/proc/{engine}").exists()
