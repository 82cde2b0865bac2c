"""Sample a token from logits, in the order and with the formulas of llama.cpp's samplers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from mistral_cli.engines.types import Sampling

Logits = npt.NDArray[np.float32]


class Sampler:
    """Samples the tokens of one generation; one seed gives one sequence of random numbers.

    It has all settings but DRY, which needs the texts of tokens: a backend that uses it does not
    have `dry`.
    """

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._random = np.random.default_rng(sampling.seed)

    def sample(
        self,
        logits: Logits,
        recent: Sequence[int],
        allowed: npt.NDArray[np.bool_] | None = None,
    ) -> int:
        """Return a token id.

        `logits` has shape (vocabulary,) and is not changed; `recent` are the tokens so
        far, prompt included; `allowed`, of the same shape, is False where a grammar forbids one.
        """
        logits = self._penalized(logits, recent)
        if allowed is not None:
            logits = np.where(allowed, logits, -np.inf)
        if self._sampling.temperature <= 0:
            return int(np.argmax(logits))
        return self._sample_at_random(logits)

    def _penalized(self, logits: Logits, recent: Sequence[int]) -> Logits:
        """Keskar et al. 2019 (CTRL): shrink positive logits, push negative ones down.

        Then OpenAI's two penalties, which are subtracted.
        """
        sampling, window = self._sampling, self._sampling.repeat_last_n
        if not (sampling.penalizes and recent and window):
            return logits
        logits, penalty = logits.copy(), sampling.repetition_penalty
        seen, counts = np.unique(np.asarray(recent[-window:]), return_counts=True)
        values = logits[seen]
        values = np.where(values > 0, values / penalty, values * penalty)
        logits[seen] = values - counts * sampling.frequency_penalty - sampling.presence_penalty
        return logits

    def _sample_at_random(self, logits: Logits) -> int:
        top_k, top_p, min_p = self._sampling.top_k, self._sampling.top_p, self._sampling.min_p
        count = min(top_k, len(logits)) if top_k > 0 else len(logits)
        ids = np.argpartition(-logits, count - 1)[:count]
        ids = ids[np.argsort(-logits[ids], kind="stable")]
        kept = logits[ids].astype(np.float64)
        if top_p < 1.0:
            cumulative = np.cumsum(_softmax(kept))
            kept = kept[: int(np.searchsorted(cumulative, top_p)) + 1]
        if min_p > 0.0:
            kept = kept[kept >= kept[0] + np.log(min_p)]
        temperature = max(self._sampling.temperature, 1e-30)  # the division must not overflow
        probabilities = _softmax(kept / temperature)
        return int(ids[self._random.choice(len(kept), p=probabilities)])


def _softmax(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Probabilities of `logits`, which are sorted from high to low."""
    weights = np.exp(logits - logits[0])
    total: npt.NDArray[np.float64] = weights / weights.sum()
    return total
