"""Sampling a token: never a forbidden one, and with llama.cpp's formulas."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mistral_cli.engines.decoding.sampler import Logits, Sampler
from mistral_cli.engines.types import PENALTY_WINDOW, Sampling

SIZE = 12
LOGITS = arrays(np.float32, SIZE, elements=st.floats(-50, 50, width=32))
SAMPLINGS = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 1e-320, 0.5, 1.0, 100.0]),
    top_k=st.integers(0, 2 * SIZE),
    top_p=st.sampled_from([0.0, 1e-9, 0.5, 0.95, 1.0]),
    repetition_penalty=st.sampled_from([0.01, 1.0, 1.2, 1000.0]),
    seed=st.integers(0, 2**40),
    min_p=st.sampled_from([0.0, 1e-9, 0.5, 1.0]),
    repeat_last_n=st.sampled_from([0, 1, 64, 1000]),
)
RECENT = st.lists(st.integers(0, SIZE - 1), max_size=100)


def logits(*values: float) -> Logits:
    return np.array(values, np.float32)


def shares(sampling: Sampling, values: Logits, draws: int = 4000) -> list[float]:
    sampler = Sampler(sampling)
    counts = Counter(sampler.sample(values, []) for _ in range(draws))
    return [counts[token] / draws for token in range(len(values))]


@given(LOGITS, RECENT, SAMPLINGS, st.sets(st.integers(0, SIZE - 1), min_size=1))
def test_only_an_allowed_token_is_sampled(
    values: Logits, recent: list[int], sampling: Sampling, allowed: set[int]
) -> None:
    before = values.copy()
    mask = np.isin(np.arange(SIZE), list(allowed))
    with np.errstate(all="raise", under="ignore"):
        assert Sampler(sampling).sample(values, recent, mask) in allowed
    assert (values == before).all()


@given(LOGITS, st.integers(0, 2**31), st.sampled_from(["temperature", "top_k", "top_p", "min_p"]))
def test_each_way_to_be_greedy(values: Logits, seed: int, way: str) -> None:
    settings = {"temperature": 1.0, "top_k": 0, "top_p": 1.0} | {
        "temperature": {"temperature": 0.0},
        "top_k": {"top_k": 1},
        "top_p": {"top_p": 0.0},
        "min_p": {"min_p": 1.0},
    }[way]
    sampling = Sampling(repetition_penalty=1.0, seed=seed, **settings)  # type: ignore[arg-type]
    assert values[Sampler(sampling).sample(values, [])] == values.max()


def test_one_token_left_of_minus_infinity() -> None:
    values = logits(-np.inf, -np.inf, 3.0, -np.inf)
    for sampling in (Sampling(1.0, 0, 1.0, 1.0, 1), Sampling(1.0, 2, 0.5, 1.2, 1)):
        assert Sampler(sampling).sample(values, [0, 2]) == 2


def test_the_shares_follow_the_softmax() -> None:
    values = logits(2.0, 1.0, 0.0, -1.0)
    for temperature in (0.5, 1.0, 2.0):
        weights = np.exp(values.astype(float) / temperature)
        expected = weights / weights.sum()
        found = shares(Sampling(temperature, 0, 1.0, 1.0, 7), values)
        # Chi-square with 3 degrees of freedom is above 16.3 once in a thousand.
        assert 4000 * sum((f - e) ** 2 / e for f, e in zip(found, expected, strict=True)) < 16.3


def test_top_k_and_top_p_cut_the_tail() -> None:
    values = logits(3.0, 2.0, 1.0, 0.0)  # shares of 64, 24, 9 and 3 %
    assert [s > 0 for s in shares(Sampling(1.0, 3, 1.0, 1.0, 1), values)] == [1, 1, 1, 0]
    # The token that reaches the limit is kept: 64 + 24 < 0.9 <= 64 + 24 + 9.
    assert [s > 0 for s in shares(Sampling(1.0, 0, 0.9, 1.0, 1), values)] == [1, 1, 1, 0]
    assert [s > 0 for s in shares(Sampling(1.0, 0, 0.6, 1.0, 1), values)] == [1, 0, 0, 0]


def test_min_p_keeps_what_is_nearly_as_likely_as_the_first() -> None:
    values = np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32))
    for min_p, kept in ((0.05, 4), (0.2, 3), (0.4, 2), (0.7, 1)):
        found = [s > 0 for s in shares(Sampling(1.0, 0, 1.0, 1.0, 1, min_p=min_p), values)]
        assert found == [1] * kept + [0] * (4 - kept), min_p


def test_min_p_comes_after_top_p_and_before_the_temperature() -> None:
    values = logits(3.0, 2.0, 1.0, 0.0)
    # The temperature would make all tokens nearly as likely as the first.
    assert [s > 0 for s in shares(Sampling(100.0, 0, 1.0, 1.0, 1, min_p=0.2), values)][1:] == [
        *(1, 0, 0)
    ]
    # After min-p, top-p would see two tokens with 73 and 27 %, and keep only the first.
    assert [s > 0 for s in shares(Sampling(1.0, 0, 0.7, 1.0, 1, min_p=0.2), values)][1:] == [
        *(1, 0, 0)
    ]


def test_the_order_is_penalty_top_k_top_p_temperature() -> None:
    values = logits(3.0, 2.0, 1.0, 0.0)
    # Top-p looks at the shares before the temperature, which would flatten them.
    assert [s > 0 for s in shares(Sampling(100.0, 0, 0.6, 1.0, 1), values)] == [1, 0, 0, 0]
    # Top-p looks at what top-k left: 64 of 88 % is more than 0.7, 64 of 100 is less.
    assert [s > 0 for s in shares(Sampling(1.0, 2, 0.7, 1.0, 1), values)] == [1, 0, 0, 0]
    assert [s > 0 for s in shares(Sampling(1.0, 0, 0.7, 1.0, 1), values)] == [1, 1, 0, 0]
    # Top-k looks at what the penalty left of token 0: 3 / 4 < 1.
    assert Sampler(Sampling(1.0, 1, 1.0, 4.0, 1)).sample(values, [0]) == 1


def test_a_mask_comes_before_top_k_and_top_p() -> None:
    values = logits(9.0, 8.0, 1.0, 0.9)
    mask = np.array([False, False, True, True])
    sampler = Sampler(Sampling(1.0, 2, 0.9, 1.0, 1))
    assert {sampler.sample(values, [], mask) for _ in range(100)} == {2, 3}


@pytest.mark.parametrize(("value", "penalized"), [(2.0, 1.0), (-2.0, -4.0), (0.0, 0.0)])
def test_the_penalty(value: float, penalized: float) -> None:
    sampler = Sampler(Sampling(0.0, 0, 1.0, 2.0, 1))
    # Token 0 wins against a rival just below its penalized logit, and loses just above.
    assert sampler.sample(logits(value, penalized - 0.01), [0, 0, 0]) == 0
    assert sampler.sample(logits(value, penalized + 0.01), [0, 0, 0]) == 1


def test_openais_penalties_are_subtracted() -> None:
    twice_of_zero = [0, 0, 1]
    by_count = Sampler(Sampling(0.0, 0, 1.0, 1.0, 1, frequency_penalty=0.5))
    assert by_count.sample(logits(2.0, 0.0, 0.99), twice_of_zero) == 0
    assert by_count.sample(logits(2.0, 0.0, 1.01), twice_of_zero) == 2
    once = Sampler(Sampling(0.0, 0, 1.0, 1.0, 1, presence_penalty=0.5))
    assert once.sample(logits(2.0, 0.0, 1.49), twice_of_zero) == 0
    assert once.sample(logits(2.0, 0.0, 1.51), twice_of_zero) == 2


def test_the_penalty_forgets() -> None:
    sampler = Sampler(Sampling(0.0, 0, 1.0, 2.0, 1))
    assert sampler.sample(logits(2.0, 1.5, 0.0), [0] + [2] * (PENALTY_WINDOW - 1)) == 1
    assert sampler.sample(logits(2.0, 1.5, 0.0), [0] + [2] * PENALTY_WINDOW) == 0


def test_the_window_of_the_penalties() -> None:
    def sampled(window: int, recent: list[int]) -> int:
        sampling = Sampling(0.0, 0, 1.0, 2.0, 1, repeat_last_n=window)
        return Sampler(sampling).sample(logits(2.0, 1.5, 0.0), recent)

    assert [sampled(window, [0, 2]) for window in (0, 1, 2, 1000)] == [0, 0, 1, 1]


def test_the_seed_decides() -> None:
    def drawn(seed: int) -> list[int]:
        sampler = Sampler(Sampling(1.0, 0, 1.0, 1.0, seed))
        return [sampler.sample(np.zeros(50, np.float32), []) for _ in range(20)]

    assert drawn(1) == drawn(1) != drawn(2)
    assert len(set(drawn(1))) > 10
