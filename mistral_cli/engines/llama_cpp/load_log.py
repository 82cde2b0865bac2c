"""llama.cpp's load. Only its log tells why it failed and what it put on the GPU."""

from __future__ import annotations

import contextlib
import ctypes
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mistral_cli.engines.isolated.native_calls import captured_stderr
from mistral_cli.engines.load_failure import load_failure
from mistral_cli.errors import OutOfGpuMemory

if TYPE_CHECKING:
    from mistral_cli.models.gguf import GGUF

_NOTHING, _ERRORS, _DETAILS = -1, 1, 4  # llama.cpp's verbosity
_LAST_LINE, _LAST_LINE_OF_FAILURE = "all slots are idle", "exiting due to"
_LOG_SECONDS = 5.0
_OFFLOADED = re.compile(r"offloaded (\d+)/\d+ layers to GPU")
_NO_MEMORY = re.compile(
    r"out of (?:device )?memory|OutOfDeviceMemory|cuBLAS error 3\b|resource allocation failed"
    r"|device memory allocation of size \d+ failed"
    r"|(?:failed|unable) to allocate (?-i:(?!CPU)[A-Z])\w* buffer",
    re.IGNORECASE,
)


def load(library: Any, params: Any, model: GGUF, log_file: Path | None = None) -> tuple[Any, int]:
    """The server of xllamacpp, the `library`, and the layers that it put on the GPU.

    It logs to `log_file` meanwhile. Raises OutOfGpuMemory, ModelUnusable and EngineFailed.
    """
    quieten = _verbosity_setter(library) if params.n_gpu_layers > 0 else None
    params.verbosity = _DETAILS if quieten else _ERRORS
    with captured_stderr(log_file) as read_log:
        try:
            server = library.Server(params)
            # Other threads write the log; the rest of it must not reach the terminal.
            log = _until(read_log, _LAST_LINE) if quieten else ""
        except (RuntimeError, ValueError) as error:
            log = _until(read_log, _LAST_LINE_OF_FAILURE)
            raise _failure(params, model, log, error) from error
        finally:
            if quieten:
                quieten(_ERRORS)
        return server, _offloaded(log, params.n_gpu_layers)


@contextlib.contextmanager
def without_log(library: Any) -> Iterator[None]:
    """Silence llama.cpp's log during a call that may fail without harm."""
    set_verbosity = _verbosity_setter(library) or (lambda _: None)
    set_verbosity(_NOTHING)
    try:
        yield
    finally:
        set_verbosity(_ERRORS)


def _offloaded(log: str, asked: int) -> int:
    """The layers on the GPU according to the log, or those `asked` for if its end is missing."""
    if _LAST_LINE not in log:
        return asked
    return layers_on_gpu(log)


def layers_on_gpu(log: str) -> int:
    """The layers on the GPU, from the complete log of a load, which omits the number if it is 0."""
    found = _OFFLOADED.search(log)
    return int(found[1]) if found else 0


def _failure(params: Any, model: GGUF, log: str, error: Exception) -> Exception:
    if params.n_gpu_layers > 0 and out_of_memory(log):
        return OutOfGpuMemory(
            f"{params.n_gpu_layers} layers do not fit into the GPU's memory",
            hint="Use a smaller -ngl/--gpu-layers.",
        )
    return load_failure("llama.cpp", model, log, str(error))


def out_of_memory(log: str) -> bool:
    """True if a library's log says that GPU memory ran out."""
    return bool(_NO_MEMORY.search(log))


def _until(read: Callable[[], str], line: str) -> str:
    """The log once `line` is in it, or its content after some seconds."""
    deadline = time.monotonic() + _LOG_SECONDS
    while line not in (log := read()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return log


def _verbosity_setter(library: Any) -> Callable[[int], object] | None:
    """The function that sets how much is logged; None if the build does not export it."""
    with contextlib.suppress(OSError, AttributeError):
        native: Any = ctypes.CDLL(library.xllamacpp.__file__)
        setter: Callable[[int], object] = native._Z30common_log_set_verbosity_tholdi
        return setter
    return None
