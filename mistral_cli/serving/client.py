"""A client for a model that another process of this user keeps loaded."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from mistral_cli.engines.llama_cpp.client import LlamaServerClient
from mistral_cli.engines.llama_cpp.server_session import ServerSession
from mistral_cli.engines.registry import backend
from mistral_cli.engines.selection import EngineSelection
from mistral_cli.engines.types import PrefillProgress
from mistral_cli.errors import EngineFailed
from mistral_cli.models.gguf import reread_gguf
from mistral_cli.serving.registry import (
    ServedModel,
    folder_of,
    model_identity,
    read_served,
    why_unusable,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mistral_cli.engines.decoding.streams import Emit
    from mistral_cli.engines.options import ModelOptions
    from mistral_cli.models.gguf import GGUF
    from mistral_cli.system.reporter import Reporter

_POLL_SECONDS = 0.02
_HEALTH_SECONDS = 2.0
_ENDING_SECONDS = 0.5
_HINT = "Run the command again: it loads the model itself if no process serves it."


class ServedSession(ServerSession):
    """A session in the process that serves the model; other calls share its slots."""

    def __init__(self, served: ServedModel, model: GGUF, parallel: int = 1) -> None:
        self._served = served
        super().__init__(
            LlamaServerClient(served.socket, served.api_key),
            model,
            context_length=served.context_length,
            slots=parallel,
            gpu_layers=served.gpu_layers,
            knows_grammars=served.knows_grammars,
        )

    def _in_slot(self, _: int, total: int, emit: Emit, work: Callable[[int], None]) -> None:
        """Wait for a slot of the server; the number passed in only counts our own streams."""
        waiting = PrefillProgress(0, total)
        try:
            while emit(waiting):
                with self._served.slot() as free:
                    if free is not None:
                        return super()._in_slot(free, total, emit, work)
                time.sleep(_POLL_SECONDS)
        except (OSError, EngineFailed) as error:
            if not _has_ended(self._served):
                raise
            raise EngineFailed("the process that served the model has ended", hint=_HINT) from error


def _has_ended(served: ServedModel) -> bool:
    """Return true if its process is ending: its sockets close before its lock is released."""
    deadline = time.monotonic() + _ENDING_SECONDS
    while served.alive and read_served(served.folder) == served:
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def find_served(
    path: Path, options: ModelOptions, engine: str, reporter: Reporter
) -> ServedModel | None:
    """Return the model at `path` if a process serves it and it meets the `options`.

    `engine` is the requested engine, or "auto". With -v the reporter explains why a served model
    is not used.
    """
    if problem := why_unusable():
        reporter.note(f"a model that is served cannot be found: {problem}")
        return None
    served = read_served(folder_of(path))
    if served is None:
        return None
    if reason := _mismatch(served, path, options, engine):
        reporter.info(f"the model that process {served.pid} serves is not used: {reason}")
        return None
    return served


def selection_of(served: ServedModel) -> EngineSelection:
    """Return the selection of the engine that serves the model."""
    reason = f"process {served.pid} has the model loaded (mistral-cli serve)"
    engine = backend(served.engine)
    return EngineSelection(engine, reason, served.gpu_layers, "as the model is served", served=True)


def _mismatch(served: ServedModel, path: Path, options: ModelOptions, engine: str) -> str | None:
    """Return why the served model does not meet the `options`, or None if it does."""
    layers = options.gpu_layers
    if served.version != ServedModel.version:
        return f"mistral-cli {served.version} serves it"
    if served.file != model_identity(path):
        return "the file has changed since it was loaded"
    if engine not in ("auto", served.engine):
        return f"its engine is {served.engine}"
    if not layers.automatic and layers.of(reread_gguf(path)) != served.gpu_layers:
        return f"it has {served.gpu_layers} layers on the GPU"
    if options.require_gpu and not served.gpu_layers:
        return "it has no layers on a GPU"
    if options.lora:
        return "it has no adapters"
    if options.threads not in (None, served.threads):
        return f"it has {served.threads} threads"
    if not LlamaServerClient(served.socket, served.api_key, seconds=_HEALTH_SECONDS).is_healthy():
        return "it does not respond"
    return None
