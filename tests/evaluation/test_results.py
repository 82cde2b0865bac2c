"""What answers cost, from the records of a results file."""

from __future__ import annotations

from typing import Any

import pytest

from mistral_cli.evaluation.results import Cost


def record(began: float, finished: float, **more: Any) -> dict[str, Any]:
    timings = {"run_began_at": began, "finished_at": finished}
    return {"timings": timings, "error": None, "prompt_tokens": 10, "completion_tokens": 2, **more}


def test_rows_share_the_time_of_their_run() -> None:
    first = [record(100.0, seconds) for seconds in (4.0, 4.0, 8.0, 8.0)]  # two slots
    second = [record(200.0, 3.0)]
    everything = [*first, *second]
    assert Cost.of(everything, everything).seconds == pytest.approx(11)
    assert Cost.of(first[:2], everything).seconds == pytest.approx(4)
    assert Cost.of([first[0], second[0]], everything).seconds == pytest.approx(5)


def test_tokens_are_added_up_and_the_highest_peak_counts() -> None:
    records = [
        record(1.0, 2.0, memory=5),
        record(1.0, 3.0, memory=9),
        record(1.0, 1.0, error={"code": 9}, completion_tokens=0),
    ]
    usage = Cost.of(records, records)
    assert (usage.prompt_tokens, usage.completion_tokens) == (30, 4)
    assert (usage.failed, usage.memory) == (1, 9)


def test_what_people_deleted_from_a_results_file_is_unknown() -> None:
    usage = Cost.of([{"error": None}, {"error": None, "timings": 3, "memory": "x"}], [])
    assert (usage.seconds, usage.memory, usage.prompt_tokens) == (None, None, 0)
