"""The whole program in this process, with one engine process for all calls about a model.

A process for each call takes a second, and a vocabulary of 150,000 tokens takes another to open.
An engine for each model in this process would abort it: see `LlamaCpp.open`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mistral_cli.cli import app
from mistral_cli.engines import loader
from mistral_cli.engines.isolated.handle import EngineProcess
from mistral_cli.engines.protocol import Session
from mistral_cli.generation import session
from mistral_cli.models import gguf
from mistral_cli.system.terminal import Terminal
from support.program import Result


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Result]]:
    """Run the program: `in_process("generate", "hi", "-m", path)`. It keeps each model open."""
    known: dict[Path, gguf.GGUF] = {}
    opened: dict[tuple[str, Path], Session] = {}
    read = gguf.read_gguf

    def read_once(path: Path) -> gguf.GGUF:
        if path not in known:
            known[path] = read(path)
        return known[path]

    with ExitStack() as engines:

        def open_once(selection: Any, model: gguf.GGUF, options: Any, warn: Any, _: Any) -> Any:
            key = selection.backend.name, model.path
            if key not in opened:
                several = replace(options, parallel=min(8, selection.backend.max_parallel))
                process = EngineProcess()
                opened[key] = loader.open_session(selection, model, several, warn, process)
                engines.enter_context(opened[key])
            return nullcontext(opened[key])

        monkeypatch.setattr(gguf, "read_gguf", read_once)
        monkeypatch.setattr(session, "open_session", open_once)
        yield _run


def _run(*arguments: object) -> Result:
    stdout, stderr = io.StringIO(), io.StringIO()
    terminal = Terminal(None, stdout, stderr)
    status = app.run([str(argument) for argument in arguments], terminal)
    return Result(stdout.getvalue(), stderr.getvalue(), int(status))
