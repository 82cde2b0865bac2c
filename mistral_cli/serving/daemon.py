"""Background serving: the status of served models, starting one detached, stopping one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from mistral_cli.engines.isolated.children import child_command
from mistral_cli.engines.llama_cpp.client import LlamaServerClient
from mistral_cli.errors import EngineFailed, ExitCode, MistralCliError, first_line
from mistral_cli.serving.registry import ServedModel, served_models
from mistral_cli.system.config import log_dir

if TYPE_CHECKING:
    from mistral_cli.system.reporter import Reporter

_STOP_SECONDS = 30.0
_POLL_SECONDS = 0.05
_METRICS_SECONDS = 2.0
_DETACHED = ("-d", "--detach")
_ERROR = "error: "


def status_of(served: ServedModel) -> dict[str, Any]:
    """Return the status of a served model, as `serve status --json` prints it.

    Sizes are in bytes, times in seconds.
    """
    now = time.time()
    try:
        client = LlamaServerClient(served.socket, served.api_key, seconds=_METRICS_SECONDS)
        metrics = client.metrics()
    except EngineFailed:  # no reply in time: busy with a large batch
        metrics = {}
    busy = metrics.get("requests_processing", 1.0) > 0
    return {
        "model": served.model,
        "path": served.path,
        "pid": served.pid,
        "engine": served.engine,
        "context_length": served.context_length,
        "slots": served.slots,
        "gpu_layers": served.gpu_layers,
        "threads": served.threads,
        "resident": _resident(served.engine_pid),
        "uptime": int(now - served.started),
        "idle": 0 if busy else int(now - served.last_active),
        "idle_timeout": served.idle_seconds,
        "prompt_tokens": _count(metrics, "prompt_tokens_total"),
        "completion_tokens": _count(metrics, "tokens_predicted_total"),
        "http": served.http,
        "api_key": served.http_key,
    }


def stop(served: ServedModel) -> None:
    """End the process and wait until it is gone. Raises MistralCliError if it does not end."""
    os.kill(served.pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    while served.alive:
        if time.monotonic() > deadline:
            raise MistralCliError(
                f"process {served.pid} has not ended within {_STOP_SECONDS:.0f} seconds",
                hint=f"kill -9 {served.pid} ends it; only answers in progress are lost.",
            )
        time.sleep(_POLL_SECONDS)


def start_detached(reporter: Reporter) -> None:
    """Run this command line again in the background, and return once it serves the model.

    Its messages until then are printed here too. Raises MistralCliError if it ends instead.
    """
    arguments = [each for each in sys.argv[1:] if each not in _DETACHED]
    command, environment = child_command("mistral_cli", *arguments)
    path = log_dir() / "serve.log"
    with _appending(path) as log:
        start = log.tell()
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    reporter.status("loading …")
    while not any(served.pid == process.pid for served in served_models()):
        if (status := process.poll()) is not None:
            raise _EndedEarly(_lines(path, start), status)
        time.sleep(_POLL_SECONDS)
    for line in _lines(path, start):
        reporter.note(line.removeprefix("mistral-cli: "))
    reporter.note(f"process {process.pid} keeps running in the background; its log is {path}")


class _EndedEarly(MistralCliError):
    """The background process ended before it served the model; `lines` are its messages."""

    def __init__(self, lines: Sequence[str], status: int) -> None:
        at = next((i for i, line in enumerate(lines) if _ERROR in line), None)
        if at is None:
            message = f"the background process ended with exit code {status}"
            hint = "Run the command without --detach."
        else:
            message, hint = lines[at].partition(_ERROR)[2], " ".join(lines[at + 1 :]).strip()
        super().__init__(message, hint=hint)
        if status in list(ExitCode):
            self.exit_code = ExitCode(status)  # type: ignore[misc]


def _appending(path: Path) -> BinaryIO:
    """Open the log. It holds API keys, so only this user can read it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        log = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")
        log.seek(0, os.SEEK_END)
    except OSError as error:
        hint = "Set XDG_STATE_HOME to a folder of your own."
        raise MistralCliError(f"cannot open the log: {first_line(error)}", hint=hint) from error
    return log


def _lines(path: Path, start: int) -> Sequence[str]:
    return path.read_bytes()[start:].decode(errors="replace").splitlines()


def _resident(pid: int) -> int | None:
    """Return the bytes that the process has in RAM, or None if the system does not report it."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def _count(metrics: dict[str, float], name: str) -> int | None:
    return int(metrics[name]) if name in metrics else None
