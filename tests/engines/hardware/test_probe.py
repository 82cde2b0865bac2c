"""The report on engines and GPUs that a child process makes."""

from __future__ import annotations

import json

import pytest
from support.nvidia_driver import T4, Machine, put

from mistral_cli.engines.hardware import probe
from mistral_cli.engines.hardware.probe import probe_here, probe_in_child
from mistral_cli.engines.isolated.children import child_command
from mistral_cli.engines.registry import backend


@pytest.fixture(autouse=True)
def only_nvidia_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend("llama.cpp"), "no_gpu", lambda: "no GPU support")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")


def test_the_answers_of_the_child_are_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, Machine(cards=(T4, T4), physical=2))
    lines = [json.dumps(answer).encode() for answer in probe._answers()]
    again = probe._parse(b"\n".join(lines), "")
    assert again.driver == probe_here().driver
    assert [gpu.memory_free for gpu in again.gpus] == [T4.free, T4.free]
    assert not again.unanswered
    # The last engine asked has ended the process.
    cut = probe._parse(b"\n".join(lines[:-1]), "it ended")
    assert (cut.engines["llama.cpp"].no_gpu, cut.gpu_engine) == ("it ended", "ctransformers")
    assert (cut.unanswered, cut.driver) == (True, again.driver)


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("import time; time.sleep(60)", "has not answered within 1 seconds"),
        ("raise SystemExit(1)", "ended the process (1)"),
        ("print('no answer')", "ended the process (0)"),
        ("import os; os.abort()", "ended the process (-6)"),
    ],
)
def test_a_driver_that_hangs_or_dies(
    monkeypatch: pytest.MonkeyPatch, code: str, problem: str
) -> None:
    command, environment = child_command("unused")
    monkeypatch.setattr(probe, "child_command", lambda *_: ([command[0], "-c", code], environment))
    found = probe_in_child(seconds=1.0)
    assert problem in (found.driver.problem or "")
    assert all(problem in (state.no_gpu or "") for state in found.engines.values())
    assert not any(state.missing for state in found.engines.values())
