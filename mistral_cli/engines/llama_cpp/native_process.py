"""The machine build's llama-server as a child process: start it, wait for it, explain its end."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli.engines.isolated import children
from mistral_cli.engines.isolated.children import DEATH_HINT, describe_exit
from mistral_cli.engines.llama_cpp.client import LlamaServerClient
from mistral_cli.engines.llama_cpp.load_log import out_of_memory
from mistral_cli.engines.llama_cpp.server_session import private_listening
from mistral_cli.engines.llama_cpp.server_settings import ServerSettings
from mistral_cli.engines.load_failure import load_failure
from mistral_cli.errors import (
    EngineDied,
    LimitReached,
    MistralCliError,
    OutOfGpuMemory,
    first_line,
)

if TYPE_CHECKING:
    from mistral_cli.engines.protocol import LoadOptions
    from mistral_cli.models.gguf import GGUF

_ERRORS, _DETAILS = "1", "4"  # llama.cpp's verbosity
_LOG_LINES = 1000
_LONGEST_PAUSE = 0.02
_DYING_SECONDS = 2.0


class NativeServer:
    """One llama-server on a socket that only this user can reach. It ends when we do.

    The terminal's Ctrl-C does not reach it. `client` talks to it.
    """

    def __init__(self, program: Path, model: GGUF, options: LoadOptions) -> None:
        """Start `program` and wait until it has loaded `model`.

        Raises ModelUnusable or EngineFailed with the server's reason, and OutOfGpuMemory if it ran
        out of memory with layers on a GPU.
        """
        self._model, self._gpu_layers = model, options.gpu_layers
        self._log: deque[str] = deque(maxlen=_LOG_LINES)
        self._resources = contextlib.ExitStack()
        listening = options.listening or private_listening(self._resources)
        settings = ServerSettings.of(model, options, listening)
        verbosity = _DETAILS if options.gpu_layers else _ERRORS
        command = [str(program), *settings.flags(), "--verbosity", verbosity]
        self.client = LlamaServerClient(listening.socket, listening.api_key)
        try:
            self._process = self._start(command, listening.api_key)
            self._reader = threading.Thread(target=self._read_log, daemon=True, name="native-log")
            self._reader.start()
            self._wait(listening.socket)
        except BaseException:
            self.close()
            raise

    @property
    def alive(self) -> bool:
        """Whether it is running."""
        return self._process.poll() is None

    def has_ended(self) -> bool:
        """Whether it has ended or is about to: its connections break before the process ends."""
        if self.alive and not self.client.is_healthy():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_DYING_SECONDS)
        return not self.alive

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def log(self) -> str:
        """The last lines of what it wrote to stderr."""
        return "".join(self._log)

    def died(self) -> EngineDied:
        """The error for streams that were not complete."""
        return EngineDied(self._how_it_ended(), hint=DEATH_HINT)

    def close(self) -> None:
        """End it. Safe to call twice."""
        if hasattr(self, "_process"):
            self._process.kill()
            self._process.wait()
        self._resources.close()

    def _start(self, command: Sequence[str], api_key: str) -> subprocess.Popen[str]:
        life, our_life = os.pipe()
        self._resources.callback(os.close, our_life)
        # llama.cpp's own variables would change our settings.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("LLAMA_")}
        # The key is not on the command line, which every user can see. Without the other variable
        # ggml would call a debugger when it crashes.
        environment |= {"LLAMA_API_KEY": api_key, "GGML_NO_BACKTRACE": "1"}
        try:
            return subprocess.Popen(
                [sys.executable, "-I", "-S", children.__file__, str(life), *command],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
                pass_fds=(life,),
                start_new_session=True,
            )
        except OSError as error:
            raise LimitReached(
                f"cannot start a process for the engine: {first_line(error)}",
                hint="Close other programs.",
            ) from error
        finally:
            os.close(life)

    def _read_log(self) -> None:
        assert self._process.stderr
        with self._process.stderr as lines:
            self._log.extend(lines)

    def _wait(self, socket: Path) -> None:
        """Return once the model is loaded and the main loop is running."""
        started = time.monotonic()
        while not (socket.exists() and self.client.is_healthy()):
            if not self.alive:
                raise self._load_failure()
            # Often at first, for models that load in milliseconds, but without using up a core.
            waited = time.monotonic() - started
            time.sleep(min(_LONGEST_PAUSE, 0.001 + waited / 50))
        self.client.wait_ready()

    def _load_failure(self) -> MistralCliError:
        ending = self._how_it_ended()
        if self._gpu_layers and (out_of_memory(self.log) or self._process.returncode < 0):
            return OutOfGpuMemory(
                f"{self._gpu_layers} layers do not fit into the GPU's memory",
                hint="Use a smaller -ngl/--gpu-layers.",
            )
        return load_failure("llama.cpp", self._model, self.log, ending)

    def _how_it_ended(self) -> str:
        status = self._process.wait()
        self._reader.join()
        return describe_exit(status, self.log)
