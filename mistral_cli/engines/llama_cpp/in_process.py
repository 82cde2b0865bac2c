"""llama.cpp through the xllamacpp package, in this process: it runs every current GGUF."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mistral_cli.engines.decoding.streams import StreamStopped
from mistral_cli.engines.hardware.gpu import Gpu
from mistral_cli.engines.hardware.memory import CPU_BATCH
from mistral_cli.engines.llama_cpp.client import LlamaServerClient
from mistral_cli.engines.llama_cpp.server_session import ServerSession, private_listening
from mistral_cli.engines.llama_cpp.server_settings import ServerSettings
from mistral_cli.engines.llama_cpp.slot_state import PrefixStates
from mistral_cli.engines.protocol import Backend, GpuFix, LoadOptions
from mistral_cli.engines.repacking import AVX2
from mistral_cli.errors import EngineFailed, first_line
from mistral_cli.system.signals import native_load

if TYPE_CHECKING:
    from mistral_cli.engines.hardware.cuda import Driver
    from mistral_cli.models.gguf import GGUF

# From xllamacpp's README; the wheels of the package index compute on the CPU, or with Metal.
_WHEEL = (
    "pip install xllamacpp --force-reinstall "
    "--index-url https://xorbitsai.github.io/xllamacpp/whl/{}"
)
_CPU_WHEEL = "pip install --force-reinstall xllamacpp"
_OLDEST_CAPABILITY = (5, 0)

# Without it ggml calls a debugger when it crashes, and that writes to stdout.
os.environ["GGML_NO_BACKTRACE"] = "1"

# What builds for NVIDIA, AMD, Intel and Vulkan load as they are imported.
_GPU_LIBRARY = re.compile(r"/lib(?:cuda|cublas|vulkan|amdhip|hsa-runtime|ze_loader|OpenCL|musa)")


class LlamaCpp(Backend):
    """The xllamacpp package: an in-process llama.cpp server that only this process can reach."""

    name = "llama.cpp"
    package = "xllamacpp"
    max_parallel = CPU_BATCH  # more slots than tokens in a batch end the process
    repacking = AVX2  # which the package is built for
    takes_adapters = True
    listens = True
    speculative = True
    dry = True
    knows_new_models = True

    def missing(self) -> str | None:
        """The package is not installed, or cannot be imported."""
        if importlib.util.find_spec("xllamacpp") is None:
            return "the package xllamacpp is not installed (pip install xllamacpp)"
        return _import_problem()

    def install_hint(self, driver: Driver) -> str | None:
        """The package, or a build that the machine can import."""
        if install := super().install_hint(driver):
            return install
        return (_cuda_wheel(driver) if driver.gpus else None) or _CPU_WHEEL

    def no_gpu(self) -> str | None:
        """The package is missing, or was built without a GPU library."""
        if problem := self.missing():
            return problem
        if not _gpus():
            return "the installed xllamacpp has no GPU support, or sees no GPU"
        return None

    def gpus(self) -> tuple[Gpu, ...]:
        """The devices that the library would use."""
        return _gpus()

    def loads_gpu_driver(self) -> bool:
        """A build for a GPU loads its library, which asks the driver."""
        return not self.missing() and bool(_GPU_LIBRARY.search(_loaded_libraries()))

    def gpu_fix(self, driver: Driver) -> GpuFix | None:
        """The package's CUDA build, and for that maybe a newer driver."""
        if wheel := _cuda_wheel(driver):
            return GpuFix(wheel)
        return GpuFix(driver_version=570) if driver.weakest >= _OLDEST_CAPABILITY else None

    def other_gpu_fix(self, kind: str) -> str | None:
        """The package's builds for AMD and for Vulkan."""
        return _WHEEL.format({"rocm": "rocm-7.2.4"}.get(kind, kind))

    def state_format(self) -> str | None:
        """The package and its version."""
        from importlib.metadata import version

        return f"xllamacpp {version('xllamacpp')}"

    def open(self, model: GGUF, options: LoadOptions) -> LlamaCppSession:
        """Start a server on a private socket.

        Open only one model with grammars in a process. llama.cpp keeps llguidance's tokenizer of
        the last vocabulary, and knows that by its address alone: after that model is freed, another
        can get the same address. Its first grammar then aborts the process, or, if the vocabularies
        have about the same size, follows the wrong tokens.
        """
        return LlamaCppSession(model, options)


class LlamaCppSession(ServerSession):
    """A llama.cpp server in this process."""

    def __init__(self, model: GGUF, options: LoadOptions) -> None:
        self._resources = contextlib.ExitStack()
        listening = options.listening or private_listening(self._resources)
        client = LlamaServerClient(listening.socket, listening.api_key)
        self._server: Any = None
        try:
            import xllamacpp

            from mistral_cli.engines.llama_cpp.load_log import load, without_log

            params = ServerSettings.of(model, options, listening).parameters(xllamacpp)
            # A server that is freed before its loop runs waits forever for that loop to end.
            with native_load():
                self._server, gpu_layers = load(xllamacpp, params, model, options.log_file)
                client.wait_ready()
        except BaseException:
            self._resources.close()
            raise
        super().__init__(
            client,
            model,
            context_length=options.context_length,
            slots=options.parallel,
            gpu_layers=gpu_layers,
            states=PrefixStates(client, options.parallel, lambda: without_log(xllamacpp)),
        )

    def _in_slot(self, *arguments: Any) -> None:
        # Held until its stream is closed: a server freed under a stream waits for it forever.
        _held = self._server
        try:
            super()._in_slot(*arguments)
        except StreamStopped:
            # Until the batch in progress ends, freeing the server would stop the whole process.
            with contextlib.suppress(EngineFailed):
                self._client.wait_ready()
            raise

    def close(self) -> None:
        """End the streams and free the server."""
        super().close()
        self._server = None
        self._resources.close()

    def abandon(self) -> None:
        """Close without freeing the server: that waits for the current batch, for seconds."""
        import ctypes  # which takes 2 ms of a call that loads no model

        # A reference that is never dropped.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._server))
        self.close()


def _cuda_wheel(driver: Driver) -> str | None:
    """The newest CUDA build that the driver and all GPUs can run; CUDA 13 dropped older GPUs."""
    version = driver.cuda_version or (0, 0)
    if version >= (13, 2) and driver.weakest >= (7, 5):
        return _WHEEL.format("cu132")
    if version >= (12, 8) and driver.weakest >= _OLDEST_CAPABILITY:
        return _WHEEL.format("cu128")
    return None


@cache
def _import_problem() -> str | None:
    """Why the package cannot be imported; a CUDA build needs the driver's libraries."""
    try:
        import xllamacpp  # noqa: F401
    except ImportError as error:
        return f"the package xllamacpp cannot be loaded: {first_line(error)}"
    return None


@cache
def _gpus() -> tuple[Gpu, ...]:
    import xllamacpp

    from mistral_cli.engines.isolated.native_calls import captured_stderr

    kinds = xllamacpp.ggml_backend_dev_type
    with captured_stderr():  # the CUDA build prints its devices
        devices = xllamacpp.get_device_info()
    found = {
        kind: [
            Gpu(device["description"], device["memory_total"], device["memory_free"])
            for device in devices
            if device["type"] == kind
        ]
        for kind in (kinds.GGML_BACKEND_DEVICE_TYPE_GPU, kinds.GGML_BACKEND_DEVICE_TYPE_IGPU)
    }
    discrete, integrated = found.values()
    return tuple(discrete or integrated[:1])  # as llama.cpp takes them


def _loaded_libraries() -> str:
    """The files in the memory of this process, as far as the system lists them."""
    with contextlib.suppress(OSError):
        return Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    return ""
