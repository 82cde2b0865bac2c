"""The engine that runs the machine build's llama-server, beyond the contract of all engines."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.engine_io import GREEDY, text
from support.processes import children_of, gone, wait_for_end
from support.program import Result, needs_native
from synthetic.models import write_mistral

from mistral_cli.engines.llama_cpp.native import NativeSession
from mistral_cli.engines.llama_cpp.native_process import NativeServer
from mistral_cli.engines.protocol import LoadOptions
from mistral_cli.engines.registry import backend
from mistral_cli.engines.types import (
    Finish,
    PrefillProgress,
    Prefix,
    Request,
    TextDelta,
)
from mistral_cli.errors import EngineDied, EngineFailed, ModelUnusable
from mistral_cli.models.gguf import read_gguf

NATIVE = backend("native")

LONG = Request((1, 300), 200, GREEDY)

pytestmark = [needs_native, pytest.mark.usefixtures("native")]


@pytest.fixture
def engine(smollm2: Path) -> Iterator[NativeSession]:
    """On a model that takes a while for its answers."""
    with NATIVE.open(read_gguf(smollm2), LoadOptions(1024, threads=1)) as engine:
        yield engine


# --- its end, and ours -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("by", "words"),
    [(signal.SIGSEGV, "ended by SIGSEGV"), (signal.SIGKILL, "killed (SIGKILL: out of memory?)")],
)
def test_a_crash_is_reported_and_the_next_request_starts_another(
    engine: NativeSession, by: signal.Signals, words: str
) -> None:
    first = engine.pid
    events = engine.stream(replace(LONG, max_tokens=800))
    while not isinstance(next(events), TextDelta):
        pass
    os.kill(first, by)
    with pytest.raises(EngineDied) as caught:
        list(events)
    assert words in caught.value.message
    assert isinstance(list(engine.stream(LONG))[-1], Finish)
    assert engine.pid != first
    os.kill(engine.pid, by)
    wait_for_end(engine.pid)
    assert engine.tokenize("x")


def test_the_process_ends_after_close_or_a_failed_load(mistral: Path, tmp_path: Path) -> None:
    with NATIVE.open(read_gguf(mistral), LoadOptions(256, threads=1)) as engine:
        server = engine.pid
    assert gone(server, 0)
    bad = write_mistral(
        tmp_path / "bad.gguf", vocabulary=512, metadata={"llama.rope.dimension_count": 6}
    )
    before = sorted(children_of())
    with pytest.raises(ModelUnusable, match=r"'llama.rope.dimension_count' is 6"):
        NATIVE.open(read_gguf(bad), LoadOptions(256, threads=1))
    assert sorted(children_of()) == before


PROGRAM = """
import sys
from pathlib import Path
from mistral_cli.engines.protocol import LoadOptions
from mistral_cli.engines.registry import backend
from mistral_cli.engines.types import Request, Sampling
from mistral_cli.models.gguf import read_gguf

engine = backend("native").open(read_gguf(Path(sys.argv[1])), LoadOptions(256, 1))
print(engine.pid, flush=True)
while True:
    for _ in engine.stream(Request((1, 300), 200, Sampling(0.0, 40, 1.0, 1.0, 1))):
        pass
    print("answered", flush=True)
"""


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGSEGV])
def test_it_ends_with_us_however_we_end(mistral: Path, by: signal.Signals) -> None:
    command = [sys.executable, "-c", PROGRAM, str(mistral)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, process_group=0
    ) as process:
        assert process.stdout
        server = int(process.stdout.readline())
        assert process.stdout.readline() == "answered\n"
        assert not gone(server, 0.1)
        os.killpg(process.pid, by)  # as the terminal does
        process.stdout.read()
    assert gone(server)


def test_it_ends_with_us_during_the_load(mistral: Path, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "llama-server"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 300\n")
    program.chmod(0o755)
    code = (
        "from pathlib import Path;"
        "from mistral_cli.engines.llama_cpp.native_process import NativeServer;"
        "from mistral_cli.engines.protocol import LoadOptions;"
        "from mistral_cli.models.gguf import read_gguf;"
        f"model = read_gguf(Path({str(mistral)!r}));"
        f"NativeServer(Path({str(program)!r}), model, LoadOptions(64, 1))"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            time.sleep(0.01)
        loading = int((tmp_path / "pid").read_text())
        assert not gone(loading, 0.1)
        process.kill()
    assert gone(loading)


# --- what it is told, and who may ask it -------------------------------------------------------


def test_no_other_user_can_use_it(engine: NativeSession) -> None:
    command = Path(f"/proc/{engine.pid}/cmdline").read_bytes().decode().split("\0")
    path = Path(command[command.index("--host") + 1])
    assert path.parent.stat().st_mode & 0o777 == 0o700
    environment = Path(f"/proc/{engine.pid}/environ").read_bytes().decode().split("\0")
    (key,) = (each.partition("=")[2] for each in environment if "LLAMA_API_KEY" in each)
    assert not any(key in part for part in command)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        body = b'{"content": "x"}'
        head = f"POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        assert b" 401 " in connection.recv(100)
    listening = Path(f"/proc/{engine.pid}/net/tcp").read_text().splitlines()[1:]
    inodes = {line.split()[9] for line in listening}
    descriptors = Path(f"/proc/{engine.pid}/fd").iterdir()
    assert not {str(each.readlink()) for each in descriptors} & {f"socket:[{n}]" for n in inodes}


def test_variables_of_llama_cpp_change_nothing(
    mistral: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"CTX_SIZE": "16", "PORT": "1", "API_KEY_FILE": "/none"}.items():
        monkeypatch.setenv(f"LLAMA_ARG_{name}", value)
    with NATIVE.open(read_gguf(mistral), LoadOptions(256, threads=1)) as engine:
        assert isinstance(list(engine.stream(LONG))[-1], Finish)


def test_a_program_that_cannot_run(tmp_path: Path, mistral: Path) -> None:
    model, options = read_gguf(mistral), LoadOptions(64, 1)
    program = tmp_path / "llama-server"
    program.write_text("#!/bin/sh\necho 'error: no such thing' >&2\nexit 3\n")
    program.chmod(0o755)
    with pytest.raises(EngineFailed, match="cannot load the model: error: no such thing"):
        NativeServer(program, model, options)
    program.unlink()
    with pytest.raises(EngineFailed, match="No such file"):
        NativeServer(program, model, options)


def test_the_server_after_a_crash_restores_a_prefix_too(mistral: Path, tmp_path: Path) -> None:
    prompt = (1, *range(300, 420))
    kept = Prefix(prompt[:100], tmp_path / "one.state")
    asked = Request(prompt, 12, GREEDY, prefixes=(kept,))
    with NATIVE.open(read_gguf(mistral), LoadOptions(256, threads=1, states=tmp_path)) as engine:
        cold = list(engine.stream(asked))
        os.kill(engine.pid, signal.SIGKILL)
        wait_for_end(engine.pid)
        warm = list(engine.stream(asked))
    assert text(warm) == text(cold)
    assert [event.cached for event in warm if isinstance(event, PrefillProgress)][-1] == 100


# --- the program -------------------------------------------------------------------------------


def test_auto_selects_the_machine_build(
    run: Callable[..., Result], smollm2: Path, tmp_path: Path
) -> None:
    task = ["generate", "Say hello.", "-m", smollm2, "-n", "8", "--temperature", "0", "-v"]
    result = run(*task)
    assert result.status == 0, result.stderr
    assert "native" in result.stderr
    assert result.stdout.strip()


def test_a_batch_in_slots(run: Callable[..., Result], smollm2: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    result = run(
        *("batch", "generate", "--prompt", "Continue: {text}", "-", "-m", smollm2),
        *("-n", "8", "--parallel", "4", "-o", out, "--engine", "native"),
        stdin="one\ntwo\nthree\nfour\nfive\n",
    )
    assert result.status == 0, result.stderr
    assert len(out.read_text().splitlines()) == 5
