"""The two inference libraries without our engines around them.

Run as a program, it evaluates files in a process of its own, which a bad file may crash:
`bare_engines.py ctransformers|xllamacpp FILE...`.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import sys
import tempfile
from ctypes import c_int
from pathlib import Path
from typing import Any

EVALUATED = "Hello \N{SLIGHTLY SMILING FACE}\n"


def open_ctransformers(path: Path) -> Any:
    from ctransformers.llm import LLM, Config

    return LLM(str(path), "gguf", config=Config(context_length=64, threads=1), lib="basic")


def tokenize_with_ctransformers(llm: Any, text: str) -> Any:
    data = text.encode()
    buffer = (c_int * (len(data) + 18))()
    return buffer[: llm.ctransformers_llm_tokenize(data, True, buffer)]


def open_xllamacpp(path: Path, listener: Path) -> Any:
    """A server that listens at the Unix socket `listener`."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx = params.n_batch = params.n_ubatch = 64
    params.verbosity = -1
    params.warmup = params.ui = params.endpoint_slots = params.fit_params = False
    params.no_extra_bufts = True
    params.cpuparams.n_threads = params.n_threads_http = 1
    params.cache_ram_mib = 0
    params.hostnames = [str(listener)]
    return xllamacpp.Server(params)


def tokenize_with_xllamacpp(listener: Path, text: str, **options: bool) -> list[int]:
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(listener))
    connection.request("POST", "/tokenize", json.dumps({"content": text, **options}))
    tokens: list[int] = json.loads(connection.getresponse().read()).get("tokens", [])
    connection.close()
    return tokens


def evaluate_with_ctransformers(path: Path) -> None:
    try:
        llm = open_ctransformers(path)
    except RuntimeError:
        print("refused by the engine")
        return
    llm.eval(tokenize_with_ctransformers(llm, EVALUATED))
    for _ in range(4):
        token = llm.sample(top_k=1)
        llm.detokenize([token], decode=False)
        llm.eval([token])


def evaluate_with_xllamacpp(path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        listener = Path(folder, "s.sock")
        try:
            server = open_xllamacpp(path, listener)
        except RuntimeError:
            print("refused by the engine")
            return
        ids = tokenize_with_xllamacpp(listener, EVALUATED)
        server.handle_completions({"prompt": [1, *ids], "max_tokens": 4, "temperature": 0})


def main() -> None:
    evaluate = {
        "ctransformers": evaluate_with_ctransformers,
        "xllamacpp": evaluate_with_xllamacpp,
    }[sys.argv[1]]
    for argument in sys.argv[2:]:
        print("open", argument, flush=True)
        evaluate(Path(argument))
        print("done", flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
