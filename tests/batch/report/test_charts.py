"""The bars and labels of a report's charts."""

from __future__ import annotations

import pytest

from mistral_cli.batch.report import charts
from mistral_cli.batch.report.charts import Work


def test_throughput_spreads_tokens_over_the_time_they_took() -> None:
    # 2 s of prompt at 50 tokens/s, then 8 s of answer at 5 tokens/s.
    chart = charts.throughput([Work(10.0, 2.0, 8.0, 100, 40)])
    assert chart is not None
    assert chart.summary == "4.0 answer and 10.0 prompt tokens/s on average"
    assert len(chart.bars) == 50  # of 0.2 s
    assert chart.bars[0].title == "0 s to 0.2 s: 0.0 answer and 50.0 prompt tokens/s"
    assert chart.bars[-1].title == "9.8 s to 10 s: 5.0 answer and 0.0 prompt tokens/s"
    (answer, prompt) = chart.bars[0].parts
    assert answer == pytest.approx((100, 0))
    assert prompt == pytest.approx((100 / 6, 500 / 6))  # of 60, the highest label
    assert sum(bar.width for bar in chart.bars) == pytest.approx(100)


def test_throughput_adds_up_concurrent_rows() -> None:
    work = [Work(100.0, 0.0, 100.0, 0, 1000), Work(50.0, 0.0, 50.0, 0, 1000)]
    chart = charts.throughput(work)
    assert chart is not None
    assert "30.0 answer" in chart.bars[0].title
    assert "10.0 answer" in chart.bars[-1].title
    assert chart.x_labels[-1] == (90.0, "1:30")


def test_inconsistent_times_lose_no_tokens() -> None:
    work = [Work(1.0, 50.0, 50.0, 300, 700), Work(0.0, 0.0, 0.0, 10, 10), Work(9.5, 0.0, 0.0, 1, 1)]
    chart = charts.throughput(work)
    assert chart is not None
    assert (
        chart.summary == f"{711 / 9.5:,.1f} answer and {311 / 9.5:,.1f} prompt tokens/s on average"
    )


def test_times_that_are_whole_intervals_leave_no_empty_one() -> None:
    for end in (0.14, 0.28, 0.56, 1.12):  # of all milliseconds below 30 s
        chart = charts.throughput([Work(end, 0.0, end, 0, 100)])
        assert chart is not None
        assert sum(bar.width for bar in chart.bars) == pytest.approx(100)
        assert {round(bar.width / chart.bars[0].width, 6) for bar in chart.bars} == {1}, end


def test_no_times_make_no_throughput_chart() -> None:
    assert charts.throughput([]) is None
    assert charts.throughput([Work(0.0, 0.0, 0.0, 1, 1)]) is None


def test_a_histogram_counts_every_row_once() -> None:
    chart = charts.histogram("Tokens", [0, 9, 10, 11, 19, 45, 99, 99])
    assert chart is not None
    assert chart.summary == "Rows by number of tokens; median 11, longest 99"
    counts = {bar.title: bar.parts[0][1] for bar in chart.bars if bar.parts[0][1]}
    assert counts == {
        "0 to 4 tokens: 1 row": 50.0,
        "5 to 9 tokens: 1 row": 50.0,
        "10 to 14 tokens: 2 rows": 100.0,
        "15 to 19 tokens: 1 row": 50.0,
        "45 to 49 tokens: 1 row": 50.0,
        "95 to 99 tokens: 2 rows": 100.0,
    }
    assert [label for _, label in chart.y_labels] == ["0", "1", "2"]


def test_an_outlier_does_not_squeeze_the_others() -> None:
    chart = charts.histogram("Tokens", [*range(100), 1_000_000])
    assert chart is not None
    assert len(chart.bars) < 50
    assert chart.bars[-1].title == "100 tokens or more: 1 row"
    assert chart.x_labels[-1][1] == "100+"


@pytest.mark.parametrize("seconds", [1e-9, 0.003, 0.7, 1, 29.9, 61, 3599, 86_400, 9e6])
def test_batches_of_any_duration_can_be_drawn(seconds: float) -> None:
    chart = charts.throughput([Work(seconds, 0.0, seconds / 2, 0, 5)])
    assert chart is not None
    assert 1 <= len(chart.bars) <= 61
    assert len({label for _, label in chart.x_labels}) == len(chart.x_labels) >= 2
    assert all(0 <= top <= 100 for bar in chart.bars for top, _ in bar.parts)
