"""The program in a process that is forked from one which has imported most of it already.

A call of a new interpreter spends 0.3 to 0.5 s on imports before its command begins, and the tests
make more than a thousand calls. A fork is a process of its own all the same: it has its own
standard streams, folder and environment, runs `mistral_cli.__main__`, and ends as that ends.

As a script this is the process that forks: `forked_program.py CONNECTION`.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import os
import pkgutil
import runpy
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, Pipe
from multiprocessing.reduction import recv_handle, send_handle
from pathlib import Path
from typing import IO, Any

import mistral_cli

_LIBRARIES = (
    "asyncio",
    "filelock",
    "httpx",
    "httpx2",
    "jinja2.sandbox",
    "jsonschema",
    "llguidance",
    "platformdirs",
    "rich.console",
    "tqdm",
    "yaml",
)
"""What the commands import, if it is installed."""

# All of these read the environment or start threads while they are imported.
_NOT_IMPORTED = ("ctransformers", "huggingface_hub", "numpy", "uvicorn", "xllamacpp")
_OUR_OWN_NOT_IMPORTED = (
    "mistral_cli.__main__",
    "mistral_cli.batch.index",
    "mistral_cli.batch.sinks.compaction",
    "mistral_cli.engines.decoding.sampler",
    "mistral_cli.engines.llama_cpp.in_process",
    "mistral_cli.finetune",
    "mistral_cli.serving.http",
)

_READ_AT_START = ("LANG", "LC_", "LD_", "PYTHON", "TERMINAL_", "TYPER_", "TZ")
"""The variables that the interpreter and those modules read when they start begin with these."""


class ForkingProcess:
    """Runs the program in forks of a process that it starts."""

    def __init__(self) -> None:
        self._connection, theirs = Pipe()
        self._environment = _read_at_start(os.environ)
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())],
            # Pipes like those of the forks: Python's streams depend on what they are made for.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        self._free = threading.Lock()

    def close(self) -> None:
        """End it."""
        self._connection.close()
        with self._process:
            pass

    def run(
        self, arguments: Sequence[str], stdin: bytes | None, environment: dict[str, str]
    ) -> tuple[bytes, bytes, int] | None:
        """What the program writes to stdout and to stderr, and its exit status as Popen has it.

        None if a fork would not be the same as a new interpreter, or if one is running.
        """
        if _read_at_start(environment) != self._environment or not self._free.acquire(False):
            return None
        try:
            with _Pipes(stdin) as pipes:
                self._connection.send((list(arguments), str(Path.cwd()), environment))
                for fd in pipes.theirs:
                    send_handle(self._connection, fd, self._process.pid)
                pipes.hand_over()
                status = self._status(self._connection.recv(), arguments)
                return *pipes.outputs(), status
        finally:
            self._free.release()

    def _status(self, pid: int, arguments: Sequence[str]) -> int:
        seconds = 120
        if not self._connection.poll(seconds):
            os.kill(pid, 9)
            self._connection.recv()
            raise subprocess.TimeoutExpired(list(arguments), seconds)
        status: int = self._connection.recv()
        return status


class _Pipes:
    """The three standard streams of one call; threads write and read our ends of them."""

    def __init__(self, stdin: bytes | None) -> None:
        self._threads = list[threading.Thread]()
        self._read: tuple[list[bytes], list[bytes]] = ([], [])
        if stdin is None:
            self.theirs = [os.open(os.devnull, os.O_RDONLY)]
        else:
            theirs, ours = os.pipe()
            self.theirs = [theirs]
            self._start(_write, os.fdopen(ours, "wb"), stdin)
        for read in self._read:
            ours, theirs = os.pipe()
            self.theirs.append(theirs)
            self._start(_read, os.fdopen(ours, "rb"), read)

    def __enter__(self) -> _Pipes:
        return self

    def __exit__(self, *_: object) -> None:
        self.hand_over()

    def hand_over(self) -> None:
        """Close their ends here, so that ours see when the program closes them."""
        while self.theirs:
            os.close(self.theirs.pop())

    def outputs(self) -> tuple[bytes, bytes]:
        """All that was written, once every process that has these streams has closed them."""
        for thread in self._threads:
            thread.join()
        out, err = map(b"".join, self._read)
        return out, err

    def _start(self, work: Any, stream: IO[bytes], data: object) -> None:
        thread = threading.Thread(target=work, args=(stream, data), daemon=True)
        self._threads.append(thread)
        thread.start()


def _write(stream: IO[bytes], data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError), stream:
        stream.write(data)


def _read(stream: IO[bytes], into: list[bytes]) -> None:
    with stream:
        into.append(stream.read())


def _read_at_start(environment: Any) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(_READ_AT_START)}


def _calls(connection: Connection[Any, Any]) -> Iterator[tuple[Any, list[int]]]:
    with contextlib.suppress(EOFError):
        while True:
            call = connection.recv()
            yield call, [recv_handle(connection) for _ in range(3)]


def _forked(connection: Connection[Any, Any]) -> bool:
    """Fork for each call, and report its process id and exit status; return True in the fork."""
    for (arguments, folder, environment), fds in _calls(connection):
        if not (pid := os.fork()):
            connection.close()
            _become(arguments, folder, environment, fds)
            return True
        for fd in fds:
            os.close(fd)
        connection.send(pid)
        connection.send(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    return False


def _become(
    arguments: list[str], folder: str, environment: dict[str, str], fds: Sequence[int]
) -> None:
    """Take over what belongs to a process of its own, as a new interpreter would."""
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
        os.close(fd)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["mistral_cli", *arguments]
    sys.path[0] = folder


def _importable() -> Iterator[str]:
    """The libraries, and every module of ours that may be imported ahead."""
    for name in _LIBRARIES:
        with contextlib.suppress(ModuleNotFoundError):
            if importlib.util.find_spec(name):
                yield name
    for each in pkgutil.walk_packages(mistral_cli.__path__, "mistral_cli."):
        if not each.name.startswith(_OUR_OWN_NOT_IMPORTED):
            yield each.name


def main() -> None:
    """Import the program, then fork until the other end of the connection closes."""
    connection: Connection[Any, Any] = Connection(int(sys.argv[1]))
    for module in _importable():
        importlib.import_module(module)
    assert not {*_NOT_IMPORTED} & {*sys.modules}, "forked_program.py must not import this module"
    assert threading.active_count() == 1
    gc.collect()
    gc.freeze()  # so that collections in a fork copy no pages
    if _forked(connection):
        runpy.run_module("mistral_cli", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
