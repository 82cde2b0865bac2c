"""The index of a results file: what it finds, in windows of any size, and how much it takes."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.batch_records import work_item

from mistral_cli.batch import digests
from mistral_cli.batch.digests import DigestSet, LineColumns, key_digest, text_digest
from mistral_cli.batch.formats import LineSummary
from mistral_cli.batch.index import ResultIndex

NAMES = st.sampled_from("abcdef")
LINES = st.lists(st.tuples(NAMES, NAMES, st.booleans()), max_size=12)  # key, id, failed
ROWS = st.lists(st.tuples(NAMES, NAMES), max_size=6, unique_by=lambda row: row[1])  # key, id


def index_of(lines: list[tuple[str, str, bool]]) -> ResultIndex:
    columns = LineColumns()
    for number, (key, row_id, failed) in enumerate(lines):
        columns.add(LineSummary(key, row_id, "", failed, False), 100 * number, 100)
    return ResultIndex(columns, ids_are_fixed=False)


def assigned(lines: list[tuple[str, str, bool]], rows: list[tuple[str, str]]) -> list[int]:
    """What the index replaced: all rows at once, with dictionaries."""
    free = {(key, row_id): number for number, (key, row_id, _) in enumerate(lines)}
    found = [free.pop(row, None) for row in rows]
    spare: dict[str, list[int]] = {}
    for number in sorted(free.values(), key=lambda number: (not lines[number][2], number)):
        spare.setdefault(lines[number][0], []).append(number)
    result = []
    for (key, _), number in zip(rows, found, strict=True):
        if number is None and spare.get(key):
            number = spare[key].pop()
        result.append(-1 if number is None else number)
    return result


@given(lines=LINES, rows=ROWS)
@settings(max_examples=300, deadline=None)
def test_a_window_takes_lines_as_a_whole_batch_did(
    lines: list[tuple[str, str, bool]], rows: list[tuple[str, str]]
) -> None:
    items = [work_item(row_id, key) for key, row_id in rows]
    assert index_of(lines).claim(items) == assigned(lines, rows)


@given(lines=LINES, rows=ROWS, size=st.integers(1, 4))
@settings(max_examples=300, deadline=None)
def test_as_many_rows_have_results_in_windows_of_any_size(
    lines: list[tuple[str, str, bool]], rows: list[tuple[str, str]], size: int
) -> None:
    """Equal rows may take each other's lines, but none is lost and none has two."""
    items = [work_item(row_id, key) for key, row_id in rows]
    index, found = index_of(lines), list[int]()
    for start in range(0, len(items), size):
        found += index.claim(items[start : start + size])
    taken = [line for line in found if line >= 0]
    assert len(set(taken)) == len(taken) == sum(line >= 0 for line in assigned(lines, rows))
    assert all(lines[line][0] == rows[at][0] for at, line in enumerate(found) if line >= 0)


def test_digests_of_many_ids_are_kept_in_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "_FEW", 10)
    draw = random.Random(1)
    numbers = [draw.randrange(-(2**63), 2**63) for _ in range(1000)]
    known = DigestSet()
    for start in range(0, 900, 7):
        known.add(numbers[start : min(start + 7, 900)])
    assert known.place_of_known(numbers[900:]) is None
    assert known.place_of_known([*numbers[900:950], numbers[3]]) == 50
    assert sorted(n for run in known.runs() for n in run.tolist()) == sorted(numbers[:900])
    assert len(known._runs) < 12


def test_keys_that_are_no_digest_have_one_too() -> None:
    own = "0123456789abcdef" * 2
    assert key_digest(own).hex() == own
    odd = [key_digest(key) for key in ("k1", "", "\ud800", "g" * 32, " " * 32, own[:-1])]
    assert len({*odd}) == 6
    assert {len(digest) for digest in odd} == {16}
    assert text_digest("a") != text_digest("b")
