"""The walk over the trie of continuations, over a model that only has a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pytest

from mistral_cli.engines.decoding.score import NEGLIGIBLE, check_score, score
from mistral_cli.engines.types import Event, ScoreRequest, Scores
from mistral_cli.errors import EngineFailed

Path = tuple[int, ...]


class Table:
    """The probability of each token after each path; it keeps what it was asked."""

    def __init__(self, probabilities: Mapping[Path, Mapping[int, float]]) -> None:
        self.probabilities = probabilities
        self.asked: list[tuple[Path, list[int]]] = []

    def logprobs(self, path: Path, tokens: Sequence[int]) -> list[float]:
        self.asked.append((path, list(tokens)))
        return [math.log(self.probabilities[path][token]) for token in tokens]


def scores(table: Table, *continuations: Path) -> Scores:
    events: list[Event] = []

    def emit(event: Event) -> bool:
        events.append(event)
        return True

    score(table, ScoreRequest((1, 2), continuations), emit)
    (last,) = events
    assert isinstance(last, Scores)
    return last


def test_the_whole_sequence_counts() -> None:
    table = Table({(): {5: 0.5, 6: 0.4}, (5,): {7: 0.1}, (5, 7): {8: 0.5}})
    result = scores(table, (5, 7, 8), (6,))
    assert [math.exp(each) for each in result.logprobs] == pytest.approx([0.025, 0.4])
    assert result.passes == len(table.asked) == 3


def test_continuations_that_share_a_beginning_share_its_evaluation() -> None:
    table = Table({(): {5: 0.9, 6: 0.1}, (5,): {7: 0.2, 8: 0.3, 9: 0.5}})
    result = scores(table, (5, 7), (5, 8), (5, 9), (6,))
    assert table.asked == [((), [5, 6]), ((5,), [7, 8, 9])]
    assert [math.exp(each) for each in result.logprobs] == pytest.approx([0.18, 0.27, 0.45, 0.1])


def test_what_all_begin_with_is_not_evaluated() -> None:
    table = Table({(5,): {7: 0.2, 8: 0.3}})
    assert scores(table, (5, 7), (5, 8)).passes == 1
    assert table.asked == [((5,), [7, 8])]


def test_a_beginning_that_cannot_matter_is_not_read_further() -> None:
    small = math.exp(NEGLIGIBLE) / 2
    table = Table({(): {5: 0.9, 6: small, 7: 0.01}, (7,): {8: 0.5}})
    result = scores(table, (5,), (6, 8), (7, 8))
    assert table.asked == [((), [5, 6, 7]), ((7,), [8])]
    assert [math.exp(each) for each in result.logprobs] == pytest.approx([0.9, small, 0.005])


def test_an_unlikely_beginning_is_read_if_the_likely_ones_turn_out_worse() -> None:
    small = math.exp(NEGLIGIBLE) / 2
    table = Table({(): {5: 0.9, 6: small}, (5,): {8: small / 2}, (6,): {8: 0.5}})
    result = scores(table, (5, 8), (6, 8))
    assert result.passes == 3
    assert [math.exp(each) for each in result.logprobs] == pytest.approx(
        [0.45 * small, 0.5 * small]
    )


@pytest.mark.parametrize("length", [0, 62, 63])
def test_a_prompt_without_room_is_refused(length: int) -> None:
    request = ScoreRequest((300,) * length, ((5, 6, 7), (5, 8)))
    with pytest.raises(EngineFailed, match=f"{length} tokens"):
        check_score(request, 64)
    check_score(ScoreRequest((300,) * 61, ((5, 6, 7), (5, 8))), 64)
