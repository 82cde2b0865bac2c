"""llama.cpp as `scripts/build-native` made it for this machine, in a process of its own."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import threading
from functools import cache
from typing import TYPE_CHECKING, Any

from mistral_cli.engines.hardware.gpu import Gpu
from mistral_cli.engines.hardware.memory import CPU_BATCH, batch_of
from mistral_cli.engines.llama_cpp import build as native_build
from mistral_cli.engines.llama_cpp.client import checked
from mistral_cli.engines.llama_cpp.load_log import layers_on_gpu
from mistral_cli.engines.llama_cpp.native_process import NativeServer
from mistral_cli.engines.llama_cpp.server_engine import (
    MORE_HTTP_THREADS,
    NO_ORIGIN,
    ServerEngine,
)
from mistral_cli.engines.llama_cpp.slot_state import PrefixStates
from mistral_cli.engines.protocol import Engine, ListenAddress, LoadOptions, LoraAdapter
from mistral_cli.engines.repacking import AVX512
from mistral_cli.engines.speculative import DRAFTED_TOKENS, NGRAM_DRAFT, NGRAM_MATCH
from mistral_cli.errors import EngineFailed

if TYPE_CHECKING:
    from mistral_cli.models.gguf import GGUF

_ERRORS, _DETAILS = "1", "4"  # llama.cpp's verbosity
_DEVICE = re.compile(r"^ +\w+: (.+) \((\d+) MiB, (\d+) MiB free\)$", re.MULTILINE)
_SECONDS = 30.0


class Native(ServerEngine, Engine):
    """A llama-server of the machine build. Where it has died, the next request starts another."""

    name = "native"
    max_parallel = CPU_BATCH  # more slots than tokens in a batch end the process
    repacking = AVX512  # or somewhat better, on a machine without it
    takes_adapters = True
    listens = True
    guesses = True

    @classmethod
    def offered(cls) -> bool:
        """See Engine: to those who have not made a build it is nothing that lacks."""
        return native_build.installed(native_build.native_folder())

    @classmethod
    def missing(cls) -> str | None:
        """See Engine."""
        return native_build.find()[1]

    @classmethod
    def unsupported(cls, model: GGUF) -> str | None:  # noqa: ARG003
        """See Engine: current llama.cpp says itself what it cannot load."""
        return None

    @classmethod
    def no_gpu(cls) -> str | None:
        """See Engine."""
        build, problem = native_build.find()
        if build is None or problem:
            return problem
        if not build.cuda:
            return "the machine build is for the CPU alone (scripts/build-native --cuda)"
        return None if _gpus() else "the machine build sees no GPU"

    @classmethod
    def gpus(cls) -> tuple[Gpu, ...]:
        """See Engine."""
        return _gpus()

    @classmethod
    def state_format(cls) -> str | None:
        """See Engine."""
        return f"{native_build.read(native_build.native_folder())}"

    def __init__(self, model: GGUF, options: LoadOptions) -> None:
        """See Engine."""
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
        """See ServerEngine."""
        return self._server.pid

    def close(self) -> None:
        """See Engine."""
        # First: what its streams compute is of no use, and they would wait for it.
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

    def _complete(self, *arguments: Any) -> None:
        server = self._server
        try:
            super()._complete(*arguments)
        except EngineFailed as error:
            if self._closed or not server.has_ended():
                raise
            raise server.died() from error


def _start(model: GGUF, options: LoadOptions) -> NativeServer:
    program = native_build.server(native_build.native_folder())
    flags = _flags(model, options)
    server = NativeServer(program, flags, options.gpu_layers, options.listening)
    if options.adapters:
        scales = [{"id": n, "scale": each.scale} for n, each in enumerate(options.adapters)]
        checked(server.client.ask("POST", "/lora-adapters", scales))
    return server


def _flags(model: GGUF, options: LoadOptions) -> list[str]:
    """What the engine in our process sets too, and why is said there."""
    batch = str(batch_of(options.gpu_layers))
    threads = str(options.threads)
    values = {
        "--model": os.fspath(model.path),
        "--ctx-size": str(options.context_length * options.parallel),
        "--parallel": str(options.parallel),
        "--gpu-layers": str(options.gpu_layers),
        "--batch-size": batch,
        "--ubatch-size": batch,
        "--threads": threads,
        "--threads-batch": threads,
        "--threads-http": str(options.parallel + MORE_HTTP_THREADS),
        "--fit": "off",
        "--cache-ram": "0",
        "--verbosity": _DETAILS if options.gpu_layers else _ERRORS,
    }
    switches = ["--no-warmup", "--no-kv-unified", "--no-ui", "--no-slots"]
    switches.append("--metrics")
    switches.append("--repack" if options.repack else "--no-repack")
    if not options.gpu_layers:
        values["--device"] = "none"
    values |= _listening_flags(options.listening)
    values |= _guessing_flags(options)
    if options.states:
        values["--slot-save-path"] = f"{options.states}/"
    if options.adapters:
        values["--lora"] = ",".join(map(_quoted, options.adapters))
    return [*(part for pair in values.items() for part in pair), *switches]


def _listening_flags(listening: ListenAddress | None) -> dict[str, str]:
    if listening is None or listening.port is None:
        return {"--chat-template": "chatml"}
    return {
        "--port": str(listening.port),
        "--alias": listening.name,
        "--cors-origins": NO_ORIGIN,
    }


def _guessing_flags(options: LoadOptions) -> dict[str, str]:
    if options.guessing is None:
        return {}
    if draft := options.guessing.draft:
        flags = {
            "--spec-type": "draft-simple",
            "--spec-draft-model": os.fspath(draft),
            "--spec-draft-n-max": str(DRAFTED_TOKENS),
            "--spec-draft-ngl": "all" if options.gpu_layers else "0",
        }
        return flags if options.gpu_layers else {**flags, "--spec-draft-device": "none"}
    return {
        "--spec-type": "ngram-simple",
        "--spec-ngram-simple-size-n": str(NGRAM_MATCH),
        "--spec-ngram-simple-size-m": str(NGRAM_DRAFT),
    }


def _quoted(adapter: LoraAdapter) -> str:
    """A path in a list with commas. `--lora-scaled` would not take one with a colon."""
    return '"' + os.fspath(adapter.path).replace('"', '""') + '"'


@cache
def _gpus() -> tuple[Gpu, ...]:
    """What the build itself would use; asked in a process of its own, which a driver may end."""
    program = native_build.server(native_build.native_folder())
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
