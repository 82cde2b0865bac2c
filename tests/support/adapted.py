"""A llama.cpp server with a model and a LoRA adapter, for tests that ask it directly."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mistral_cli.engines.llama_cpp.client import LlamaServerClient

_KEY = "key"


@dataclass(frozen=True)
class Adapted:
    """An open server; `scale` is the weight of the adapter, 0 without it."""

    client: LlamaServerClient

    def greedy(self, prompt: Sequence[int], limit: int, scale: float = 1.0) -> list[int]:
        """Return the ids of the tokens of a greedy answer."""
        reply = self._complete(prompt, limit, scale, {})
        return [int(token) for token in reply["tokens"]]

    def log_probabilities(self, prompt: Sequence[int], scale: float = 1.0) -> dict[int, float]:
        """Return the log-probabilities of the likeliest tokens after `prompt`, by id."""
        reply = self._complete(prompt, 1, scale, {"n_probs": 50})
        (step,) = reply["completion_probabilities"]
        return {choice["id"]: choice["logprob"] for choice in step["top_logprobs"]}

    def _complete(
        self, prompt: Sequence[int], limit: int, scale: float, more: dict[str, object]
    ) -> dict[str, list[dict[str, list[dict[str, float]]]]]:
        body = {"prompt": list(prompt), "n_predict": limit, "temperature": 0.0, "stream": False}
        body |= {"return_tokens": True, "cache_prompt": False, "lora": [{"id": 0, "scale": scale}]}
        return self.client.post("/completion", body | more)


@contextmanager
def adapted(model: Path, adapter: Path | None, context_length: int = 512) -> Iterator[Adapted]:
    """Load `model`, and `adapter` if given, into a llama.cpp server."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, params.n_ctx, params.n_parallel = str(model), context_length, 1
    params.warmup, params.verbosity, params.fit_params = False, -1, False
    params.n_batch = params.n_ubatch = 64
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.no_extra_bufts, params.chat_template = True, "chatml"
    if adapter:
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(adapter), 1.0)]
    # The path of a Unix socket has a length limit, which pytest's folders may exceed.
    with tempfile.TemporaryDirectory() as folder:
        socket = Path(folder, "s.sock")
        params.hostnames, params.api_keys = [str(socket)], [_KEY]
        params.ui, params.endpoint_slots, params.n_threads_http = False, False, 1
        server = xllamacpp.Server(params)
        client = LlamaServerClient(socket, _KEY)
        client.wait_ready()
        try:
            yield Adapted(client)
        finally:
            del server
