"""`--shard`: each row belongs to one share, which stays the same."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from support.batch_program import Batch, texts_of, write_rows

from mistral_cli.batch.input.rows import Row
from mistral_cli.batch.shard import Shard
from mistral_cli.errors import UsageError

ROWS = [Row(f"rows.txt:{n}", f"rows.txt:{n}", f"text number {n}") for n in range(2000)]


def test_each_row_belongs_to_one_share_of_about_the_same_size() -> None:
    for count in (1, 2, 7, 8):
        shares = [Shard(number, count) for number in range(1, count + 1)]
        sizes = Counter(str(share) for row in ROWS for share in shares if share.has(row))
        assert sum(sizes.values()) == len(ROWS)
        assert min(sizes.values()) > 0.8 * len(ROWS) / count


def test_a_share_does_not_depend_on_other_rows_or_on_the_folder() -> None:
    half = Shard(1, 2)
    for row in ROWS[:200]:
        moved = replace(row, id="elsewhere/rows.txt:9", source="elsewhere/rows.txt:9")
        assert half.has(moved) == half.has(row)
        named = replace(row, id=row.text)
        assert half.has(named) == half.has(replace(named, text="a corrected text"))
        file = replace(row, path=Path("in/a.txt"), relative=Path(f"{row.text}.txt"))
        assert half.has(file) == half.has(replace(file, id="other/name.txt", path=Path("b.txt")))


def test_shares_are_part_of_the_interface() -> None:
    """Another version may continue a batch: the digest must not change."""
    assert [Shard(1, 2).has(row) for row in ROWS[:12]] == [
        digit == "1" for digit in EXPECTED_OF_THE_FIRST_ROWS
    ]


EXPECTED_OF_THE_FIRST_ROWS = "101011110111"


@pytest.mark.parametrize("text", ["", "2", "0/2", "3/2", "1/0", "-1/2", "a/b", "1/2/3", "1.5/2"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--shard cannot be"):
        Shard.parse(text)


def test_shards_of_a_batch_are_merged(batch: Batch, here: Path) -> None:
    texts = [f"row number {n}" for n in range(40)]
    write_rows(here / "rows.jsonl", *texts)
    for number in (1, 2, 3):
        result = batch("generate", "rows.jsonl", "-o", f"{number}.jsonl", "--shard", f"{number}/3")
        assert result.status == 0
    sizes = [len(texts_of(here / f"{number}.jsonl")) for number in (1, 2, 3)]
    assert min(sizes) > 3
    assert sum(sizes) == 40
    again = batch("generate", "rows.jsonl", "-o", "1.jsonl", "--shard", "1/3")
    assert f"{sizes[0]} in earlier runs" in again.stderr or again.status == 0
    pruned = batch("generate", "rows.jsonl", "-o", "1.jsonl", "--shard", "1/3", "--prune")
    assert pruned.status == 2
