"""`general.sampling.*` in a file neither ends the engine nor replaces what the user asked for."""

from __future__ import annotations

import json
import math
import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from support.gguf_parts import GGUFParts, entry, words
from support.program import Result, Run, needs_native

from mistral_cli.models.gguf.types import ARRAY, BOOL, FLOAT32, INT32

KEYS = (
    *("sequence", "top_k", "top_p", "min_p", "xtc_probability", "xtc_threshold", "temp"),
    *("penalty_last_n", "penalty_repeat", "mirostat", "mirostat_tau", "mirostat_eta"),
)
INT64, FLOAT64 = 11, 12


EVERY_SETTING = (
    *("--temperature", 1, "--top-k", 40, "--top-p", 0.93, "--min-p", 0),
    *("--repetition-penalty", 1.2, "--repeat-last-n", 64),
)
"""Each setting that a file may have a value for, which then must not matter."""


def packed(layout: str, kind: int, value: float) -> Callable[[str], bytes]:
    return partial(entry, kind=kind, value=struct.pack(layout, value))


VALUES = {
    "-1": packed("<i", INT32, -1),
    "0": packed("<i", INT32, 0),
    "1": packed("<i", INT32, 1),
    "2": packed("<i", INT32, 2),
    "9": packed("<i", INT32, 9),
    "huge": packed("<q", INT64, 1 << 62),
    "real": packed("<f", FLOAT32, -0.5),
    "large": packed("<d", FLOAT64, 1e38),
    "nan": packed("<f", FLOAT32, math.nan),
    "nan as a text": partial(words, value="nan"),  # which llama.cpp reads as a number
    "-1 as a text": partial(words, value="-1"),
    "true": packed("<?", BOOL, True),
    "text": partial(words, value="no;such;sampler"),
    "array": partial(entry, kind=ARRAY, value=struct.pack("<IQi", INT32, 1, -1)),
}


def with_sampling(source: Path, path: Path, value: Callable[[str], bytes]) -> Path:
    """A copy of the model at `source` with every sampling key set to `value`."""
    parts = GGUFParts(source)
    for key in KEYS:
        parts.put(value(f"general.sampling.{key}"))
    path.write_bytes(parts.build())
    return path


def sampled(run: Run, model: Path, *options: object, **env: str) -> Result:
    command = ("generate", "Once", "-m", model, "--raw", "-q", "--seed", 5, "-n", 12)
    return run(*command, *EVERY_SETTING, *options, **env)


ENGINES = pytest.mark.parametrize(
    "engine", ["llama.cpp", pytest.param("native", marks=needs_native)]
)


@ENGINES
def test_no_value_of_the_file_matters(
    run: Run, mistral: Path, native: Path, tmp_path: Path, engine: str
) -> None:
    expected = sampled(run, mistral, "--engine", engine)
    assert expected.status == 0
    assert len(expected.stdout.split()) > 5
    for name, value in VALUES.items():
        model = with_sampling(mistral, tmp_path / f"{name}.gguf", value)
        assert sampled(run, model, "--engine", engine) == expected, name


@ENGINES
def test_only_checked_values_are_used_where_no_option_decides(
    run: Run, mistral: Path, native: Path, tmp_path: Path, engine: str
) -> None:
    command = ("generate", "Once", "--raw", "--seed", 5, "-n", 12, "--json", "--engine", engine)
    model = tmp_path / "greedy.gguf"
    parts = GGUFParts(mistral)
    parts.put(packed("<f", FLOAT32, 1.0)("general.sampling.min_p"))
    parts.put(VALUES["text"]("general.sampling.sequence"))
    model.write_bytes(parts.build())
    texts = [
        json.loads(result.stdout)["text"]
        for result in (
            run(*command, "-m", model),
            run(*command, "-m", mistral, "--temperature", 0, "--repetition-penalty", 1),
        )
    ]
    assert texts[0] == texts[1] != ""

    wrong = with_sampling(mistral, tmp_path / "wrong.gguf", VALUES["nan as a text"])
    plan = run(*command, "-m", wrong, "-v", "--dry-run")
    warnings = json.loads(plan.stdout)["warnings"]
    usable = ["top_k", "top_p", "min_p", "temp", "penalty_last_n", "penalty_repeat"]
    assert len(warnings) == len(usable)
    for key in usable:
        assert any(f"'general.sampling.{key}' is 'nan', not a" in each for each in warnings), key
    for key in set(KEYS) - set(usable):
        assert re.search(rf"not supported: .*general\.sampling\.{key}\b", plan.stderr), key


@ENGINES
def test_nor_one_of_the_draft_models_file(
    run: Run, mistral: Path, native: Path, tmp_path: Path, engine: str
) -> None:
    for name in ("-1", "nan as a text"):
        draft = with_sampling(mistral, tmp_path / f"{name}.gguf", VALUES[name])
        result = sampled(run, mistral, "--engine", engine, "--draft-model", draft)
        assert (result.stderr, result.status) == ("", 0)


def test_nor_one_of_a_served_models_file(
    run: Run, mistral: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    model = with_sampling(mistral, tmp_path / "served.gguf", VALUES["-1"])
    expected = sampled(run, mistral)
    runtime = {"XDG_RUNTIME_DIR": str(tmp_path_factory.mktemp("r"))}
    assert run("serve", "-d", "-m", model, "-c", 512, "-q", **runtime).status == 0
    try:
        result = json.loads(sampled(run, model, "--json", **runtime).stdout)
        assert result["served"]
        assert result["text"] == expected.stdout.removesuffix("\n")
    finally:
        run("serve", "stop", **runtime)


def test_a_crash_of_the_library_calls_no_debugger() -> None:
    """It would write to stdout."""
    code = "import os, mistral_cli.engines.llama_cpp.in_process; os.system('env')"
    environment = {k: v for k, v in os.environ.items() if k != "GGML_NO_BACKTRACE"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env=environment, check=True
    )
    assert b"GGML_NO_BACKTRACE=1" in done.stdout.splitlines()
