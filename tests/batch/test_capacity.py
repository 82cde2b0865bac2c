"""How many rows a batch processes at once."""

from __future__ import annotations

from pathlib import Path

from support.batch_program import Batch, lines_of, texts_of, write_rows
from support.fake_engine import Script


def test_parallel_rows_are_processed_at_once(batch: Batch, here: Path, script: Script) -> None:
    script(delay=0.1)
    write_rows(here / "rows.jsonl", *(f"row {number}" for number in range(8)))
    ends = {}
    for number in (1, 8):
        result = batch("generate", "rows.jsonl", "--parallel", number, "-v")
        assert f"{number} slot" in result.stderr
        lines = lines_of(result.stdout)
        ends[number] = max(line["timings"]["finished_at"] for line in lines)
        assert len(texts_of(result.stdout)) == 8
    assert ends[1] > 8 * 4 * 0.1
    assert ends[8] < ends[1] / 2
