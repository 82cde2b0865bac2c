"""llama.cpp with a model and a LoRA adapter, spoken to directly: what the engine makes of both."""

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
    """An open server; `scale` is how much the adapter counts, 0 for not at all."""

    client: LlamaServerClient

    def greedy(self, prompt: Sequence[int], limit: int, scale: float = 1.0) -> list[int]:
        """The ids of the likeliest next tokens, one after the other."""
        reply = self._complete(prompt, limit, scale, {})
        return [int(token) for token in reply["tokens"]]

    def log_probabilities(self, prompt: Sequence[int], scale: float = 1.0) -> dict[int, float]:
        """The log-probability of the likeliest tokens after `prompt`, by id."""
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
    """Load `model` and maybe `adapter` into a server of llama.cpp's."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, params.n_ctx, params.n_parallel = str(model), context_length, 1
    params.warmup, params.verbosity, params.fit_params = False, -1, False
    params.n_batch = params.n_ubatch = 64
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.no_extra_bufts, params.chat_template = True, "chatml"
    if adapter:
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(adapter), 1.0)]
    # A Unix socket's path is short: pytest's folders may be too deep.
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
