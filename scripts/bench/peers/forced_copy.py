"""Prints the tokens/s of a model that must copy: `forced_copy.py FILE TEXT TOKENS LOOKUP`.

A model with random weights never copies by itself: a grammar of token ids forces it to repeat its
prompt. All is as the wheel's engine opens it, with or without `--lookup`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from mistral_cli.engines.llama_cpp.client import LlamaServerClient
from mistral_cli.engines.protocol import ListenAddress, LoadOptions, SpeculativeConfig
from mistral_cli.engines.registry import backend
from mistral_cli.models.gguf import read_gguf
from mistral_cli.system.files import scratch_folder
from mistral_cli.system.machine import usable_cores


def main(file: str, text: str, tokens: str, lookup: str) -> None:
    with scratch_folder() as folder:
        listening = ListenAddress(folder / "s.sock", ("key",))
        speculative = SpeculativeConfig() if lookup == "1" else None
        options = LoadOptions(1024, usable_cores(), speculative=speculative, listening=listening)
        with backend("llama.cpp").open(read_gguf(Path(file)), options) as engine:
            ids = engine.tokenize(text)
            wanted = ids[1 : int(tokens) + 1]
            body = {
                "prompt": [*ids, ids[0]],
                "n_predict": len(wanted),
                "temperature": 0,
                "samplers": ["top_k"],
                "grammar": "root ::= " + " ".join(f"<[{token}]>" for token in wanted),
                "return_tokens": True,
            }
            reply = LlamaServerClient(listening.socket, "key").post("/completion", body)
    assert reply["tokens"] == wanted
    print(reply["timings"]["predicted_per_second"])


if __name__ == "__main__":
    main(*sys.argv[1:])
