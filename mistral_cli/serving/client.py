"""Use a model that another process of this user keeps loaded."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli.engines.llama_cpp.client import LlamaServerClient
from mistral_cli.engines.llama_cpp.server_session import ServerSession
from mistral_cli.engines.registry import backend
from mistral_cli.engines.selection import EngineSelection
from mistral_cli.engines.types import PrefillProgress, Request
from mistral_cli.errors import EngineFailed
from mistral_cli.models.gguf import reread_gguf
from mistral_cli.serving.registry import Served, folder_of, identity, read

if TYPE_CHECKING:
    from mistral_cli.engines.decoding.streams import Emit
    from mistral_cli.engines.options import GpuLayers, ModelOptions
    from mistral_cli.engines.protocol import Backend
    from mistral_cli.models.gguf import GGUF
    from mistral_cli.system.reporter import Reporter

_WAIT_SECONDS = 0.02
_ANSWER_SECONDS = 2.0
_ENDING_SECONDS = 0.5
_HINT = "Run it again: the model is loaded for the call where nobody serves it."


class ServedSession(ServerSession):
    """An engine in the process that serves the model; its slots are shared with other calls."""

    def __init__(self, served: Served, model: GGUF, parallel: int = 1) -> None:
        self._served = served
        super().__init__(
            LlamaServerClient(served.socket, served.api_key),
            model,
            context_length=served.context_length,
            slots=parallel,
            gpu_layers=served.gpu_layers,
            knows_grammars=served.knows_grammars,
        )

    def _complete(self, _: int, request: Request, limit: int, emit: Emit) -> None:
        """Wait for a slot of the server; the number is only that of a stream of this process."""
        waiting = PrefillProgress(0, len(request.prompt_token_ids))
        try:
            while emit(waiting):
                with self._served.slot() as free:
                    if free is not None:
                        return super()._complete(free, request, limit, emit)
                time.sleep(_WAIT_SECONDS)
        except (OSError, EngineFailed) as error:
            if not _has_ended(self._served):
                raise
            raise EngineFailed("the process that served the model has ended", hint=_HINT) from error


def _has_ended(served: Served) -> bool:
    """Whether its process is going: its sockets close before its lock is free."""
    deadline = time.monotonic() + _ENDING_SECONDS
    while served.alive and read(served.folder) == served:
        if time.monotonic() > deadline:
            return False
        time.sleep(_WAIT_SECONDS)
    return True


def find(path: Path, options: ModelOptions, engine: str, reporter: Reporter) -> Served | None:
    """The process that has the model at `path` loaded, if there is one that fits the `options`.

    `engine` is the name of the engine asked for, or "auto". With -v it says why one that is
    there is not used.
    """
    served = read(folder_of(path))
    if served is None:
        return None
    if reason := _unfit(served, options, engine):
        reporter.info(f"the model that process {served.pid} serves is not used: {reason}")
        return None
    return served


def selection_of(served: Served) -> EngineSelection:
    """The engine of a model that is loaded already."""
    engine: Backend = backend(served.engine)
    reason = f"process {served.pid} has the model loaded (mistral-cli serve)"
    return EngineSelection(engine, reason, served.gpu_layers, "as the model is served", served=True)


def _unfit(served: Served, options: ModelOptions, engine: str) -> str | None:
    layers = options.gpu_layers
    if served.version != Served.version:
        return f"it is of version {served.version}"
    if served.file != identity(Path(served.path)):
        return "the file has changed since"
    if engine not in ("auto", served.engine):
        return f"its engine is {served.engine}"
    if not layers.automatic and _layers_of(served, layers) != served.gpu_layers:
        return f"it has {served.gpu_layers} layers on the GPU"
    if options.require_gpu and not served.gpu_layers:
        return "it has no layer on a GPU"
    if options.lora:
        return "it has no adapters"
    if options.threads not in (None, served.threads):
        return f"it has {served.threads} threads"
    if not LlamaServerClient(served.socket, served.api_key, seconds=_ANSWER_SECONDS).is_healthy():
        return "it does not answer"
    return None


def _layers_of(served: Served, gpu_layers: GpuLayers) -> int:
    return gpu_layers.of(reread_gguf(Path(served.path)))
