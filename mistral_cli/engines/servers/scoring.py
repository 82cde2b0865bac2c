"""Log-probabilities of continuations from a server."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mistral_cli.engines.decoding.score import score
from mistral_cli.engines.servers.trouble import ServerTrouble
from mistral_cli.engines.types import Scores
from mistral_cli.errors import UsageError

if TYPE_CHECKING:
    from mistral_cli.engines.servers.balance import Server
    from mistral_cli.engines.types import Event, ScoreRequest

_BIAS = 512.0  # as in `llama_cpp.scoring`: far above any logit
_LEAST = math.log(1e-38)


def scores(server: Server, request: ScoreRequest, deadline: float | None) -> Scores:
    """The log-probability of each continuation, by the `deadline` (of `time.monotonic`).

    Raises UsageError if the server reports none, and TimedOut.
    """
    if server.facts.scores == "n_probs":
        found: list[Event] = []

        def emit(event: Event) -> bool:
            found.append(event)
            return True

        score(_NextTokens(server, request, deadline), request, emit)
        (result,) = found
        assert isinstance(result, Scores)
        return result
    if server.facts.scores == "prompt_logprobs":
        return _of_whole_prompts(server, request, deadline)
    raise UsageError(
        f"{server.client.name} ({server.kind.name}) does not report the probability of a text",
        hint="Use vLLM or llama-server, or the model's GGUF on this machine.",
    )


def _of_whole_prompts(server: Server, request: ScoreRequest, deadline: float | None) -> Scores:
    """vLLM reports the log-probability of each token of a prompt that includes a continuation."""
    prompt = list(request.prompt_token_ids)
    totals = []
    for continuation in request.continuations:
        body = {
            "model": server.facts.model,
            "prompt": [*prompt, *continuation],
            "max_tokens": 1,
            "temperature": 0.0,
            "prompt_logprobs": 0,
        }
        reply = server.client.post("/v1/completions", body, deadline=deadline)
        steps = _first_choice(reply, server).get("prompt_logprobs")
        if not isinstance(steps, list) or len(steps) != len(prompt) + len(continuation):
            raise _nonsense(server)
        pairs = zip(continuation, steps[len(prompt) :], strict=True)
        totals.append(sum(_reported(step, token, server) for token, step in pairs))
    return Scores(tuple(totals), len(totals))


def _reported(step: Any, token: int, server: Server) -> float:
    entry = step.get(str(token)) if isinstance(step, dict) else None
    value = entry.get("logprob") if isinstance(entry, dict) else None
    if not isinstance(value, int | float):
        raise _nonsense(server)
    return max(float(value), _LEAST)


def _first_choice(reply: Any, server: Server) -> Mapping[str, Any]:
    choices = reply.get("choices") if isinstance(reply, dict) else None
    if not (isinstance(choices, list) and choices and isinstance(choices[0], dict)):
        raise _nonsense(server)
    return choices[0]


def _nonsense(server: Server) -> ServerTrouble:
    return ServerTrouble(
        f"{server.client.name} does not report probabilities as it should",
        hint="Use another version of the server, or the model's GGUF on this machine.",
    )


@dataclass
class _NextTokens:
    """llama-server after the prompt of `request`, in any of its slots.

    A bias makes it sample the token in question; the log-probability that it reports is the one
    without the bias. `llama_cpp.scoring` needs fewer requests: it has a slot to itself.
    """

    server: Server
    request: ScoreRequest
    deadline: float | None

    def logprobs(self, path: tuple[int, ...], tokens: Sequence[int]) -> list[float]:
        """As `decoding.score.NextTokens`."""
        return [self._logprob(path, token) for token in tokens]

    def _logprob(self, path: tuple[int, ...], token: int) -> float:
        body = {
            "prompt": [*self.request.prompt_token_ids, *path],
            "n_predict": 1,
            "temperature": 1.0,
            "samplers": ["top_k"],
            "top_k": 1,
            "seed": 0,
            "n_probs": 1,
            "cache_prompt": True,
            "logit_bias": [[token, _BIAS]],
            "stream": False,
        }
        reply = self.server.client.post("/completion", body, deadline=self.deadline)
        steps = reply.get("completion_probabilities") if isinstance(reply, dict) else None
        if not (isinstance(steps, list) and steps and isinstance(steps[0], dict)):
            raise _nonsense(self.server)
        value = steps[0].get("logprob")
        if not isinstance(value, int | float) or steps[0].get("id") != token:
            raise _nonsense(self.server)
        return max(float(value), _LEAST)
