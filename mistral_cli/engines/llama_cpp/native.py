"""The machine build of llama.cpp, in a process of its own."""

from __future__ import annotations

import contextlib
import re
import subprocess
import threading
from functools import cache
from typing import TYPE_CHECKING, Any

from mistral_cli.engines.hardware.gpu import Gpu
from mistral_cli.engines.hardware.memory import CPU_BATCH
from mistral_cli.engines.llama_cpp import machine_build
from mistral_cli.engines.llama_cpp.client import raise_for_error
from mistral_cli.engines.llama_cpp.load_log import layers_on_gpu
from mistral_cli.engines.llama_cpp.native_process import NativeServer
from mistral_cli.engines.llama_cpp.server_session import ServerSession
from mistral_cli.engines.llama_cpp.slot_state import PrefixStates
from mistral_cli.engines.protocol import Backend, LoadOptions
from mistral_cli.engines.repacking import AVX512
from mistral_cli.errors import EngineFailed

if TYPE_CHECKING:
    from mistral_cli.engines.hardware.cuda import Driver
    from mistral_cli.models.gguf import GGUF

_DEVICE = re.compile(r"^ +\w+: (.+) \((\d+) MiB, (\d+) MiB free\)$", re.MULTILINE)
_SECONDS = 30.0


class Native(Backend):
    """The machine build: llama.cpp compiled on this machine."""

    name = "native"
    max_parallel = CPU_BATCH  # more slots than tokens in a batch end the process
    repacking = AVX512  # or somewhat better, on a machine without it
    takes_adapters = True
    listens = True
    speculative = True
    dry = True
    knows_new_models = True

    def offered(self) -> bool:
        """Only where there is a build: for everyone else it would be one more missing engine."""
        return machine_build.installed(machine_build.native_folder())

    def missing(self) -> str | None:
        """There is no build, or it cannot be used here."""
        return machine_build.find()[1]

    def install_hint(self, driver: Driver) -> str | None:  # noqa: ARG002
        """Build it."""
        return machine_build.COMMAND

    def note(self) -> str | None:
        """The build works, but this version of the program would build it differently."""
        build = machine_build.read(machine_build.native_folder())
        return build.improvable() if build else None

    def no_gpu(self) -> str | None:
        """The build cannot be used, is for the CPU only, or sees no GPU."""
        build, problem = machine_build.find()
        if build is None or problem:
            return problem
        if not build.cuda:
            return f"the machine build is for the CPU only (`{machine_build.COMMAND} --cuda`)"
        return None if _gpus() else "the machine build sees no GPU"

    def gpus(self) -> tuple[Gpu, ...]:
        """The devices that the build lists."""
        return _gpus()

    def state_format(self) -> str | None:
        """The build's whole record."""
        return f"{machine_build.read(machine_build.native_folder())}"

    def open(self, model: GGUF, options: LoadOptions) -> NativeSession:
        """Start the build's llama-server."""
        return NativeSession(model, options)


class NativeSession(ServerSession):
    """A llama-server of the machine build. If it has died, the next request starts another."""

    def __init__(self, model: GGUF, options: LoadOptions) -> None:
        self._options, self._starting = options, threading.Lock()
        self._server = _start(model, options)
        super().__init__(
            self._server.client,
            model,
            context_length=options.context_length,
            slots=options.parallel,
            gpu_layers=min(layers_on_gpu(self._server.log), options.gpu_layers),
            knows_grammars=False,
            states=self._new_states(),
        )

    @property
    def pid(self) -> int:
        """The process of the llama-server."""
        return self._server.pid

    def close(self) -> None:
        """End the server, then the streams."""
        # In this order: the streams would wait for results that are no longer needed.
        self._closed = True
        self._server.close()
        super().close()

    def _check_open(self) -> None:
        super()._check_open()
        with self._starting:
            if not self._server.alive:
                self._server.close()
                self._server = _start(self._model, self._options)
                self._client, self._states = self._server.client, self._new_states()

    def _new_states(self) -> PrefixStates:
        return PrefixStates(self._server.client, self._options.parallel, contextlib.nullcontext)

    def _in_slot(self, *arguments: Any) -> None:
        server = self._server
        try:
            super()._in_slot(*arguments)
        except EngineFailed as error:
            if self._closed or not server.has_ended():
                raise
            raise server.died() from error


def _start(model: GGUF, options: LoadOptions) -> NativeServer:
    program = machine_build.server(machine_build.native_folder())
    server = NativeServer(program, model, options)
    if options.adapters:
        scales = [{"id": n, "scale": each.scale} for n, each in enumerate(options.adapters)]
        raise_for_error(server.client.request("POST", "/lora-adapters", scales))
    return server


@cache
def _gpus() -> tuple[Gpu, ...]:
    """The devices that the build would use. A process of its own asks: a driver may end it."""
    program = machine_build.server(machine_build.native_folder())
    try:
        done = subprocess.run(
            [program, "--list-devices"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(
        Gpu(name, int(total) << 20, int(free) << 20)
        for name, total, free in _DEVICE.findall(done.stdout)
    )
