"""Stands in for the program on a machine with a T4: `python gpu_program.py COMMAND …`.

Its answers depend on SCRIPT, a JSON object: the bytes of GPU memory that a call takes, and commands
that fail. A machine build exists once `engines build` ran, and fewer layers are taken while the
stub driver's memory is filled.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

LAYERS = 33
CARD = {"name": "Tesla T4", "memory_total": 15835660288, "memory_free": 15720000000}


def main(command: str, *arguments: str) -> None:
    script = json.loads(os.environ["SCRIPT"])
    if command in script.get("fails", ()):
        sys.exit("error: scripted to fail")
    if script.get("hangs") == command:
        time.sleep(60)
    native = Path(os.environ["MISTRAL_CLI_NATIVE"])
    options = dict(itertools.pairwise(arguments))
    if command == "engines":
        native.mkdir()
        return
    answer = _doctor(native) if command == "doctor" else _run(command, options, script, arguments)
    print(json.dumps(answer))


def _doctor(native: Path) -> dict[str, Any]:
    gpu = {"gpus": [CARD], "no_gpu": None, "missing": None}
    engines = {"native": gpu} if native.exists() else {}
    engines["llama.cpp"] = {"gpus": [], "no_gpu": "it has no GPU support", "missing": None}
    card = {**CARD, "compute_capability": [7, 5]}
    driver = {"problem": None, "cuda_version": [12, 4], "gpus": [card]}
    return {"cores": 2, "driver": driver, "engines": {**engines, "ctransformers": gpu}}


def _run(
    command: str, options: dict[str, str], script: dict[str, Any], arguments: tuple[str, ...]
) -> dict[str, Any]:
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "-1" and "--require-gpu" in arguments:
        sys.exit(8)
    asked = options.get("-ngl", "all")
    layers = LAYERS if asked == "all" else min(int(asked), LAYERS)
    filled = Path(os.environ["STUB_FILLED"]).exists()
    layers = min(layers, 5) if filled else layers
    used = Path(os.environ["STUB_USED"])
    used.write_text(str(script.get("used", 0) if layers else 0))
    time.sleep(0.3)
    used.unlink()
    speeds = {"prompt_tokens_per_second": 1000.0 + layers, "generated_tokens_per_second": 50.0}
    if command == "bench":
        return {"benchmarks": [{**speeds, "gpu_layers": layers, "load_seconds": 1.5}]}
    return {"gpu_layers": layers, "warnings": ["5 layers instead"] if filled else []}


if __name__ == "__main__":
    main(*sys.argv[1:])
