"""The prompt cache during a run: when a state is saved, and failures that must do no harm."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from support.prompt_cache import CachingProgram


def test_a_prefix_with_a_short_prefill_is_not_saved(
    caching_program: CachingProgram, text_file: Path
) -> None:
    (caching_program.folder / "fast.json").write_text('{"delay": 0.2}', encoding="utf-8")
    fast = {"MISTRAL_CLI_FAKE": str(caching_program.folder / "fast.json")}
    caching_program.tokens("generate", "What is this?", "-f", text_file, **fast)
    assert caching_program.saved_tokens() == []


def test_an_unusable_folder_is_not_an_error(
    caching_program: CachingProgram, text_file: Path
) -> None:
    caching_program.states.parent.mkdir(parents=True)
    caching_program.states.write_text("a file where the folder should be", encoding="utf-8")
    result = caching_program("generate", "What is this?", "-f", text_file, "-v")
    assert (result.stdout, result.status) == ("yes\n", 0)
    assert "the prompt cache is not used" in result.stderr
    assert caching_program("generate", "What is this?", "-f", text_file).stderr == ""


def test_clear_and_path(caching_program: CachingProgram, text_file: Path) -> None:
    assert caching_program("cache", "path").stdout == f"{caching_program.states}\n"
    assert caching_program("cache", "clear").status == 0
    caching_program.tokens("generate", "What is this?", "-f", text_file)
    (caching_program.states / "x-1.new").write_bytes(b"half")
    freed = json.loads(caching_program("cache", "clear", "--json").stdout)["freed"]
    assert freed > 4
    assert caching_program.saved_tokens() == []
    assert not list(caching_program.states.glob("*.*"))
    assert caching_program.states.stat().st_mode & 0o777 == 0o700


def test_a_run_after_a_killed_one_gets_the_right_answer(
    caching_program: CachingProgram, text_file: Path
) -> None:
    command = [
        sys.executable,
        "-m",
        "mistral_cli",
        "generate",
        "What is this?",
        "-f",
        str(text_file),
    ]
    for instant in (0.6, 0.9, 1.1, 1.3):
        process = subprocess.Popen(
            command, env={**os.environ, **caching_program.environment}, stdout=subprocess.DEVNULL
        )
        time.sleep(instant)
        process.send_signal(signal.SIGKILL)
        process.wait()
        result = caching_program("generate", "What is this?", "-f", text_file)
        assert (result.stdout, result.stderr, result.status) == ("yes\n", "", 0)
        shutil.rmtree(caching_program.states)


def test_a_large_state_is_not_saved(caching_program: CachingProgram, text_file: Path) -> None:
    """The model's KV cache takes 256 bytes a token: two layers, two heads of 16, two bytes."""
    small = {"MISTRAL_CLI_PROMPT_CACHE": "40 KB"}
    result = caching_program("generate", "What is this?", "-f", text_file, "-v", **small)
    assert "too large" in result.stderr
    assert caching_program.saved_tokens() == []
