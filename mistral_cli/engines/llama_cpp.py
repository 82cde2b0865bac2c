"""llama.cpp through the xllamacpp package: every current GGUF, native JSON sampling."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import os
import secrets
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import EngineFailed
from ..gguf import GGUF
from ..scratch import scratch_folder
from .background import BackgroundStream, Emit
from .base import (
    PENALTY_WINDOW,
    Engine,
    Event,
    Finish,
    LoadOptions,
    Piece,
    PromptProgress,
    Request,
)

# A prompt batch is the unit of Ctrl-C and of progress; 64 costs no speed on a CPU.
_CPU_BATCH = 64
_GPU_BATCH = 512


class LlamaCpp(Engine):
    """An in-process llama.cpp server that only this process can talk to."""

    name = "llama.cpp"

    @classmethod
    def missing(cls) -> str | None:
        """See Engine."""
        if importlib.util.find_spec("xllamacpp") is None:
            return "the package xllamacpp is not installed (pip install xllamacpp)"
        return None

    @classmethod
    def unsupported(cls, model: GGUF) -> str | None:  # noqa: ARG003
        """See Engine: current llama.cpp says itself what it cannot load."""
        return None

    @classmethod
    def no_gpu(cls) -> str | None:
        """See Engine."""
        if cls.missing():
            return cls.missing()
        if not _gpu_names():
            return "the installed xllamacpp has no GPU support or sees no GPU"
        return None

    def __init__(self, model: GGUF, options: LoadOptions) -> None:
        """See Engine."""
        self._context_length = options.context_length
        self._api_key = secrets.token_hex(16)
        self._background = BackgroundStream()
        self._resources = contextlib.ExitStack()
        folder = self._resources.enter_context(scratch_folder())
        self._socket = folder / "s.sock"
        try:
            self._server: Any = _load(_params(model, options, self._socket, self._api_key))
            # The server deadlocks when it is freed before it has served one request.
            self.tokenize("ready")
        except BaseException:
            self._resources.close()
            raise

    @property
    def context_length(self) -> int:
        """See Engine."""
        return self._context_length

    def tokenize(self, text: str) -> list[int]:
        """See Engine."""
        body = {"content": _clean(text), "add_special": False, "parse_special": False}
        reply = self._post("/tokenize", body)
        return [int(token) for token in reply["tokens"]]

    def stream(self, request: Request) -> Iterator[Event]:
        """See Engine."""
        return self._background.run(lambda emit: self._complete(request, emit))

    def close(self) -> None:
        """See Engine."""
        # Freeing the server under a running batch waits for it: the process ends instead.
        if not self._background.busy:
            self._server = None
        self._resources.close()

    def _complete(self, request: Request, emit: Emit) -> None:
        failure: list[EngineFailed] = []

        def on_chunk(chunk: dict[str, Any]) -> bool:
            # Whatever is raised in here is swallowed by the library.
            try:
                wanted = [emit(event) for event in _events(chunk)]
                return not all(wanted)
            except EngineFailed as error:
                failure.append(error)
                return True

        self._server.handle_completions(_body(request), on_chunk)
        if failure:
            raise failure[0]

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        connection = _UnixConnection(self._socket)
        headers = {"Authorization": f"Bearer {self._api_key}", "Content-Type": "application/json"}
        try:
            connection.request("POST", path, json.dumps(body), headers)
            reply = json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _engine_failed(f"llama.cpp did not answer {path}: {error}") from error
        finally:
            connection.close()
        if "error" in reply:
            raise _engine_failed(str(reply["error"].get("message", reply["error"])))
        return reply


def _events(chunk: dict[str, Any]) -> Iterator[Event]:
    """Translate one chunk of a streamed reply."""
    if "error" in chunk:
        raise _engine_failed(str(chunk["error"].get("message", chunk["error"])))
    if progress := chunk.get("prompt_progress"):
        yield PromptProgress(progress["processed"], progress["total"])
    for choice in chunk.get("choices", ()):
        reason = choice.get("finish_reason")
        # Cutting at the limit can leave half a character, which arrives as U+FFFD.
        text = choice["text"].rstrip("\ufffd") if reason == "length" else choice["text"]
        if text:
            yield Piece(text)
        if reason:
            tokens = chunk.get("usage", {}).get("completion_tokens", 0)
            yield Finish("length" if reason == "length" else "stop", tokens)


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket; made anew for each call, since idle ones go dead."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(str(self._path))


def _params(model: GGUF, options: LoadOptions, socket_path: Path, api_key: str) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = os.fspath(model.path)
    params.n_ctx = options.context_length
    params.n_parallel = 1
    params.n_gpu_layers = options.gpu_layers
    params.n_batch = params.n_ubatch = _GPU_BATCH if options.gpu_layers else _CPU_BATCH
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = options.threads
    params.fit_params = False  # takes seconds, and would change the context length
    params.warmup = False
    # Repacking weights makes the load ten times slower; it pays after hundreds of tokens.
    params.no_extra_bufts = True
    params.cache_ram_mib = 0  # grows to 8 GiB otherwise
    params.verbosity = 1  # errors only
    # By default it listens on TCP, without a key, for every local user and web page.
    params.hostnames = [os.fspath(socket_path)]
    params.api_keys = [api_key]
    params.ui = False
    params.endpoint_slots = False
    params.n_threads_http = 1
    # Prompts are sent as token ids: a broken template in the file must not matter.
    params.chat_template = "chatml"
    return params


def _body(request: Request) -> dict[str, Any]:
    sampling = request.sampling
    body: dict[str, Any] = {
        "prompt": list(request.prompt_token_ids),
        "max_tokens": request.max_tokens,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": 0.0,
        "repeat_penalty": sampling.repetition_penalty,
        "repeat_last_n": PENALTY_WINDOW,
        "samplers": ["penalties", "top_k", "top_p", "temperature"],
        "seed": sampling.seed,
        "stream": True,
        "return_progress": True,
    }
    if request.grammar is not None:
        body["grammar"] = request.grammar
    return body


def _load(params: Any) -> Any:
    import xllamacpp

    with _captured_stderr() as read_stderr, _interruptible():
        try:
            return xllamacpp.Server(params)
        except (RuntimeError, ValueError) as error:
            reason = _last_error_line(read_stderr()) or str(error)
            raise _engine_failed(f"llama.cpp cannot load the model: {reason}") from error


@contextlib.contextmanager
def _captured_stderr() -> Iterator[Any]:
    """Send file descriptor 2 to a temporary file: there alone stands why a load failed."""
    with tempfile.TemporaryFile() as log:
        sys.stderr.flush() if sys.stderr else None
        try:
            saved = os.dup(2)
        except OSError:  # closed
            yield lambda: ""
            return
        os.dup2(log.fileno(), 2)

        def read() -> str:
            log.seek(0)
            return log.read().decode(errors="replace")

        try:
            yield read
        finally:
            os.dup2(saved, 2)
            os.close(saved)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C end the process at once: the load holds the GIL from start to end."""
    previous = signal.getsignal(signal.SIGINT)
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or previous is not signal.default_int_handler:  # nohup ignores it
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _last_error_line(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if "error" in line.lower()]
    return lines[0] if lines else ""


@cache
def _gpu_names() -> tuple[str, ...]:
    import xllamacpp

    cpu = xllamacpp.ggml_backend_dev_type.GGML_BACKEND_DEVICE_TYPE_CPU
    gpus = [d for d in xllamacpp.get_device_info() if d["type"] != cpu]
    return tuple(d["description"] for d in gpus)


def _clean(text: str) -> str:
    # A NUL would end the text in C, a lone surrogate cannot be encoded.
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def _engine_failed(message: str) -> EngineFailed:
    return EngineFailed(message, hint="Try --engine ctransformers, or another model file.")
