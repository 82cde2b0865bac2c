"""Load a model, read a prompt, and print how many bytes that added to resident memory.

Run it in a process of its own: `python resident.py ENGINE FILE CONTEXT TOKENS PARALLEL`.
"""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

from mistral_cli.engines.protocol import LoadOptions
from mistral_cli.engines.registry import backend
from mistral_cli.engines.types import Request, Sampling
from mistral_cli.models.gguf import read_gguf
from mistral_cli.system.machine import usable_cores


def resident() -> int:
    """Return the resident bytes of this process, mapped files included."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return sum(int(found) * 1024 for found in re.findall(r"Rss(?:Anon|File):\s+(\d+) kB", status))


def main() -> None:
    engine, path, context, tokens, parallel = sys.argv[1:]
    model = read_gguf(Path(path))
    vocabulary = len(model.tokens)
    importlib.import_module("xllamacpp" if engine == "llama.cpp" else "ctransformers.llm")
    importlib.import_module("numpy")
    before = resident()
    prompt = tuple(1 + index * 7919 % (vocabulary - 1) for index in range(int(tokens)))
    options = LoadOptions(int(context), usable_cores(), parallel=int(parallel))
    with backend(engine).open(model, options) as opened:
        for _ in opened.stream(Request(prompt, 2, Sampling(0.0, 1, 1.0, 1.0, 1))):
            pass
        print(resident() - before)


if __name__ == "__main__":
    main()
