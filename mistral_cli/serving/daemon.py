"""What is served now: find it, start it in the background, end it."""

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
from mistral_cli.errors import EngineFailed, ExitCode, MistralCliError
from mistral_cli.serving.registry import Served, all_served
from mistral_cli.system.config import log_dir

if TYPE_CHECKING:
    from mistral_cli.system.reporter import Reporter

_STOP_SECONDS = 30.0
_LOOK_SECONDS = 0.05
_ANSWER_SECONDS = 2.0
_DETACHED = ("-d", "--detach")
_ERROR = "error: "


def facts(served: Served) -> dict[str, Any]:
    """All there is to say of it: sizes in bytes, times in seconds."""
    now = time.time()
    try:
        client = LlamaServerClient(served.socket, served.api_key, seconds=_ANSWER_SECONDS)
        metrics = client.metrics()
    except EngineFailed:  # in the middle of a large batch
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


def stop(served: Served) -> None:
    """End its process and wait until it has gone. Raises MistralCliError where it does not."""
    os.kill(served.pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    while served.alive:
        if time.monotonic() > deadline:
            raise MistralCliError(
                f"process {served.pid} has not ended in {_STOP_SECONDS:.0f} seconds",
                hint=f"kill -9 {served.pid} ends it; nothing is lost but answers under way.",
            )
        time.sleep(_LOOK_SECONDS)


def start_detached(reporter: Reporter) -> None:
    """Run this command line again in the background, and return once it serves.

    What it says until then is said here too. Raises MistralCliError where it ends instead.
    """
    arguments = [each for each in sys.argv[1:] if each not in _DETACHED]
    command, environment = child_command("mistral_cli", *arguments)
    path = log_dir() / "serve.log"
    with _appending(path) as log:
        begin = log.tell()
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    reporter.status("loading …")
    while not any(served.pid == process.pid for served in all_served()):
        if (status := process.poll()) is not None:
            raise _Ended(_said(path, begin), status)
        time.sleep(_LOOK_SECONDS)
    for line in _said(path, begin):
        reporter.note(line.removeprefix("mistral-cli: "))
    reporter.note(f"process {process.pid} goes on in the background; its log is {path}")


class _Ended(MistralCliError):
    """The process in the background ended before it served anything."""

    def __init__(self, said: Sequence[str], status: int) -> None:
        at = next((i for i, line in enumerate(said) if _ERROR in line), None)
        if at is None:
            message, hint = f"it ended with {status}", "Run it without --detach."
        else:
            message, hint = said[at].partition(_ERROR)[2], " ".join(said[at + 1 :]).strip()
        super().__init__(message, hint=hint)
        if status in list(ExitCode):
            self.exit_code = ExitCode(status)  # type: ignore[misc]


def _appending(path: Path) -> BinaryIO:
    """The log, which holds API keys: this user's alone."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        log = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")
        log.seek(0, os.SEEK_END)
    except OSError as error:
        hint = "Set XDG_STATE_HOME to a folder of yours."
        raise MistralCliError(f"there is no place for the log: {error}", hint=hint) from error
    return log


def _said(path: Path, begin: int) -> Sequence[str]:
    return path.read_bytes()[begin:].decode(errors="replace").splitlines()


def _resident(pid: int) -> int | None:
    """Memory that the process has in RAM, in bytes; None where the system does not say."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def _count(metrics: dict[str, float], name: str) -> int | None:
    return int(metrics[name]) if name in metrics else None
