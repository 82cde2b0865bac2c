"""Measures xllamacpp's library itself, with its default batch sizes; prints JSON.

`wheel_library.py FILE PROMPT_TOKENS NEW_TOKENS THREADS REPACK`.
"""

import json
import random
import sys
import tempfile
import time

import xllamacpp

path, *numbers = sys.argv[1:]
prompt_tokens, new_tokens, threads, repack = map(int, numbers)
params = xllamacpp.CommonParams()
params.model.path = path
params.n_ctx = max(prompt_tokens, new_tokens) + 8
params.n_parallel = 1
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
params.no_extra_bufts = not repack
params.fit_params = False
params.cache_ram_mib = 0
params.verbosity = -1
folder = tempfile.TemporaryDirectory()
params.hostnames = [f"{folder.name}/s.sock"]  # or it would listen on TCP
server = xllamacpp.Server(params)
draw = random.Random(0)


def times(prompt: list[int], count: int) -> tuple[float, float, float]:
    """Return the times of the request, the first token and the last token."""
    seen: list[float] = []

    def on_chunk(chunk: dict) -> bool:  # type: ignore[type-arg]
        if "error" in chunk:
            sys.exit(str(chunk))
        seen.append(time.perf_counter())
        return False

    body = {"prompt": prompt, "max_tokens": count, "temperature": 0, "ignore_eos": True}
    asked = time.perf_counter()
    server.handle_completions({**body, "stream": True}, on_chunk)
    return asked, seen[0], seen[-1]


def tokens(count: int) -> list[int]:
    return [draw.randrange(300, 30000) for _ in range(count)]


times(tokens(1), 2)
asked, first, _ = times(tokens(prompt_tokens), 1)
_, begun, last = times(tokens(1), new_tokens)
speeds = {"prompt": prompt_tokens / (first - asked), "new": (new_tokens - 1) / (last - begun)}
print(json.dumps(speeds), flush=True)
