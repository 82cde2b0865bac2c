"""Sessions in a process of their own: real processes, really killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from support.engine_io import GREEDY, text
from support.fake_engine import Script
from support.processes import gone
from synthetic.models import write_mistral

from mistral_cli.engines.isolated import handle as process_handle
from mistral_cli.engines.isolated import watches
from mistral_cli.engines.isolated.children import describe_exit
from mistral_cli.engines.isolated.handle import EngineProcess
from mistral_cli.engines.isolated.messages import OpenModel
from mistral_cli.engines.isolated.session import IsolatedSession, open_in_process
from mistral_cli.engines.protocol import LoadOptions
from mistral_cli.engines.registry import backend
from mistral_cli.engines.selection import EngineSelection
from mistral_cli.engines.types import (
    Finish,
    PrefillProgress,
    Request,
    TextDelta,
)
from mistral_cli.errors import (
    ContextExceeded,
    EngineDied,
    EngineFailed,
    GpuRequired,
    MistralCliError,
    ModelUnusable,
    TimedOut,
)
from mistral_cli.models.gguf import read_gguf
from mistral_cli.structured.grammar import json_grammar

REAL = ("llama.cpp", "ctransformers")

Open = Callable[..., IsolatedSession]


def selection(name: str, **more: object) -> EngineSelection:
    return EngineSelection(backend(name), "a test", 0, "", **more)  # type: ignore[arg-type]


def only_of_a_new_process(warning: str) -> None:
    assert warning.endswith("; starting it again")


@pytest.fixture
def opened(mistral: Path) -> Iterator[Open]:
    """`opened(engine, parallel=1, …)`, closed at the end."""
    engines: list[IsolatedSession] = []

    def opened(
        name: str, parallel: int = 1, model: Path = mistral, context: int = 256
    ) -> IsolatedSession:
        options = LoadOptions(context, threads=1, parallel=parallel)
        engines.append(
            open_in_process(selection(name), read_gguf(model), options, only_of_a_new_process)
        )
        return engines[-1]

    yield opened
    for engine in engines:
        engine.close()


def request(
    engine: IsolatedSession, text: str, max_tokens: int = 20, grammar: str | None = None
) -> Request:
    return Request((1, *engine.tokenize(text)), max_tokens, GREEDY, grammar)


# --- as in this process ------------------------------------------------------------------------


@pytest.mark.parametrize("name", REAL)
def test_events_are_the_same_as_in_this_process(opened: Open, mistral: Path, name: str) -> None:
    there = opened(name)
    grammar = json_grammar(
        {"type": "array", "items": {"type": "integer"}, "maxItems": 3}, many=False
    )
    with backend(name).open(read_gguf(mistral), LoadOptions(256, threads=1)) as here:
        assert there.tokenize("Zoë said </s> 東京") == here.tokenize("Zoë said </s> 東京")
        assert (there.context_length, there.gpu_layers) == (here.context_length, 0)
        for each in (request(there, "Once upon a time " * 20), request(there, "J", 40, grammar)):
            began, *rest = there.stream(each)
            assert began == PrefillProgress(0, len(each.prompt_token_ids))
            assert rest == list(here.stream(each))


@pytest.mark.parametrize("timeout", [None, 60.0])
def test_an_answer_that_does_not_stream_comes_at_once(
    opened: Open, script: Script, timeout: float | None
) -> None:
    script(pieces=["one ", "two ", "three"], delay=0.02)
    engine = opened("fake")
    whole = replace(request(engine, "a text"), stream=False)
    events = list(engine.stream(whole, timeout))
    *progress, delta, finish = events
    assert all(isinstance(event, PrefillProgress) for event in progress)
    assert delta == TextDelta("one two three", tokens=3)
    assert isinstance(finish, Finish)
    assert finish.completion_tokens == 3
    assert finish.seconds is not None
    prompt, generation = finish.seconds
    assert prompt > 0.03  # two delays come before the first piece is waited for
    assert generation > 0.03


def test_an_answer_that_does_not_stream_can_be_left(opened: Open, script: Script) -> None:
    script(pieces=["one ", "two "], delay=0.2)
    engine = opened("fake")
    whole = replace(request(engine, "a text"), stream=False)
    with pytest.raises(TimedOut):
        list(engine.stream(whole, 0.1))
    script(pieces=["later"])
    assert text(list(engine.stream(whole, 60.0))) == "one two "  # the same process, free again


def test_many_streams_at_once_stay_apart(opened: Open, script: Script) -> None:
    script(echo=True, delay=0.01)
    engine = opened("fake", parallel=8)

    def ask(row: int) -> str:
        return text(list(engine.stream(request(engine, f"the text of row number {row}"))))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(60))) == [f"row number {row}" for row in range(60)]


def test_a_process_that_keeps_growing_is_restarted_between_streams(
    opened: Open, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(echo=True, delay=0.001, leak=4 * 2**20)
    engine = opened("fake", parallel=4)
    monkeypatch.setattr(watches, "_CHECK_SECONDS", 0.0)
    monkeypatch.setattr(watches, "_LEAST_BYTES", 0)
    monkeypatch.setattr(watches, "available_memory", lambda: 40 * 2**20)
    processes: dict[int, None] = {engine.pid: None}

    def ask(row: int) -> str:
        answer = text(list(engine.stream(request(engine, f"the text of row number {row}"))))
        processes[engine.pid] = None
        return answer

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(60))) == [f"row number {row}" for row in range(60)]
    # 60 answers leak 240 MiB; a process may grow by 40 MiB and what four streams add.
    assert 60 * 4 / (40 + 4 * 4) - 1 < len(processes) < 60 * 4 / 40 + 1
    assert all(map(gone, list(processes)[:-1]))


def test_a_process_that_does_not_grow_keeps_running(opened: Open, script: Script) -> None:
    script(echo=True)
    engine = opened("fake")
    pid = engine.pid
    for _ in range(50):
        list(engine.stream(request(engine, "one two three")))
    assert engine.pid == pid


def test_an_engine_gets_as_many_threads_as_there_are_free_cores(
    mistral: Path, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(echo=True)
    free = [2.0]
    monkeypatch.setattr(watches, "_CORES_SECONDS", 0.0)
    monkeypatch.setattr(watches, "_LOADS", 0)
    monkeypatch.setattr(watches, "free_cores", lambda _: free[-1])
    options = LoadOptions(256, threads=2, adapts_threads=True)
    with open_in_process(selection("fake"), read_gguf(mistral), options, pytest.fail) as engine:

        def processes(answers: int) -> list[int]:
            pids = []
            for _ in range(answers):
                assert text(list(engine.stream(request(engine, "a b c")))) == "a b c"
                pids.append(engine.pid)
            return pids

        [first] = set(processes(5))
        free.append(1.1)
        assert first not in processes(5)[-3:]
        assert engine.threads == 1
        free.append(1.7)  # not enough to start another load
        assert len(set(processes(5))) == 1
        free.append(1.9)
        processes(5)
        assert engine.threads == 2


def test_other_threads_are_not_worth_a_long_load_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "_CORES_SECONDS", 0.0)
    monkeypatch.setattr(watches, "free_cores", lambda _: 1.0)
    for load_seconds, threads in ((60.0, {None}), (0.0, {None, 1})):
        watch = watches.ThreadsWatch(4, load_seconds)
        assert {watch.better() for _ in range(5)} == threads


def test_too_many_streams_wait_and_none_is_ended(opened: Open) -> None:
    engine = opened("llama.cpp", parallel=2)
    asked = [request(engine, f"Story {row}", 30) for row in range(12)]
    with ThreadPoolExecutor(12) as pool:
        ends = list(pool.map(lambda each: list(engine.stream(each))[-1], asked))
    assert ends == [Finish("length", 30)] * 12


def test_closing_a_generator_does_not_disturb_others(opened: Open) -> None:
    engine = opened("llama.cpp", parallel=3)
    long = request(engine, "Once upon a time", 150)
    whole = text(list(engine.stream(long)))

    def cut_short(row: int) -> None:
        events = engine.stream(request(engine, f"Another story {row}", 150))
        for _ in range(row % 5):
            next(events)
        events.close()

    with ThreadPoolExecutor(3) as pool:
        kept = [pool.submit(lambda: text(list(engine.stream(long)))) for _ in range(4)]
        for row in range(20):
            pool.submit(cut_short, row)
    assert [future.result() for future in kept] == [whole] * 4


def test_a_stream_that_is_closed_early_ends_there_too(opened: Open, script: Script) -> None:
    script(pieces=["x"] * 100_000, delay=0.01)
    engine = opened("fake")
    events = engine.stream(request(engine, "row", 100_000))
    while not isinstance(next(events), TextDelta):
        pass
    events.close()
    second = engine.stream(request(engine, "row", 2), timeout=60)
    assert isinstance(list(second)[-1], Finish)


# --- errors ------------------------------------------------------------------------------------


def test_errors_arrive_unchanged(opened: Open, script: Script) -> None:
    script(fail_on="bad", echo=True)
    engine = opened("fake")
    with pytest.raises(EngineFailed, match="the prompt has bad") as caught:
        list(engine.stream(request(engine, "a bad row")))
    assert type(caught.value) is EngineFailed
    assert caught.value.hint == "This failure is scripted."
    assert text(list(engine.stream(request(engine, "a good row")))) == "a good row"


def test_a_bug_in_the_process_is_reported_with_its_traceback(opened: Open) -> None:
    engine = opened("fake")
    broken = Request(("no number",), 5, GREEDY)  # type: ignore[arg-type]
    with pytest.raises(EngineFailed, match="TypeError") as caught:
        list(engine.stream(broken))
    assert "isolated/child.py" in caught.value.details


@pytest.mark.parametrize("name", REAL)
def test_errors_of_a_load_arrive_unchanged(tmp_path: Path, mistral: Path, name: str) -> None:
    bad = write_mistral(
        tmp_path / "bad.gguf", vocabulary=512, metadata={"llama.rope.dimension_count": 6}
    )
    options = LoadOptions(256, threads=1)
    with pytest.raises(ModelUnusable, match=r"'llama.rope.dimension_count' is 6"):
        open_in_process(selection(name), read_gguf(bad), options, print)
    huge = LoadOptions(10**12, threads=1)
    with pytest.raises(ContextExceeded, match="KV cache") as exceeded:
        open_in_process(selection(name), read_gguf(mistral), huge, print)
    assert "-c/--context-length" in exceeded.value.hint


class CrashingPath:
    """A path that ends the process that receives it, as native code may."""

    def __reduce__(self) -> tuple[Callable[[], object], tuple[()]]:
        return os.abort, ()

    def __str__(self) -> str:
        return "/models/bad.gguf"


@pytest.mark.parametrize(("gpu_layers", "error"), [(0, ModelUnusable), (2, EngineDied)])
def test_a_crash_during_a_load_is_blamed_on_the_file(
    gpu_layers: int, error: type[MistralCliError]
) -> None:
    options = LoadOptions(256, threads=1, gpu_layers=gpu_layers)
    opening = OpenModel(selection("fake"), CrashingPath(), options)  # type: ignore[arg-type]
    process = EngineProcess()
    with pytest.raises(error, match="SIGABRT") as caught:
        process.open(opening, print)
    if error is ModelUnusable:
        assert caught.value.message.startswith("/models/bad.gguf: ")
        assert "models verify /models/bad.gguf" in caught.value.hint


def test_warnings_and_a_required_gpu(mistral: Path) -> None:
    options, warnings = LoadOptions(256, threads=1, gpu_layers=2), list[str]()
    with open_in_process(selection("fake"), read_gguf(mistral), options, warnings.append) as engine:
        assert engine.gpu_layers == 0
    assert warnings == ["0 of the 2 requested layers are on the GPU"]
    with pytest.raises(GpuRequired, match="0 of the 2 requested layers"):
        open_in_process(selection("fake", gpu_required=True), read_gguf(mistral), options, print)


# --- death -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("", "the engine ended with exit code 1"),
        ("Traceback:\nMemoryError", "the engine ran out of memory: MemoryError"),
        ("ggml: failed to allocate 5 MiB", "ran out of memory: ggml: failed to allocate 5 MiB"),
        ("libgomp: Thread creation failed", "exit code 1: libgomp: Thread creation failed"),
    ],
)
def test_an_end_is_described_with_its_reason(log: str, words: str) -> None:
    assert describe_exit(1, log).endswith(words)


def test_what_a_library_writes_before_it_ends_the_process_is_in_our_log(
    tmp_path: Path,
) -> None:
    log = tmp_path / "stderr"
    log.write_text("an older load failed\n")
    program = (
        "import os, sys; from pathlib import Path;"
        "from mistral_cli.engines.isolated.native_calls import captured_stderr\n"
        "with captured_stderr(Path(sys.argv[1])) as read:\n"
        "    os.write(2, b'bad_alloc'); assert read() == 'bad_alloc'; os._exit(1)"
    )
    status = subprocess.run([sys.executable, "-c", program, str(log)], check=False).returncode
    assert describe_exit(status, log.read_text()) == "the engine ran out of memory: bad_alloc"


@pytest.mark.parametrize(
    ("by", "words"),
    [
        (signal.SIGSEGV, "ended by SIGSEGV"),
        (signal.SIGABRT, "ended by SIGABRT"),
        (signal.SIGKILL, "killed (SIGKILL: out of memory?)"),
    ],
)
@pytest.mark.parametrize("name", ["llama.cpp", "ctransformers", "fake"])
def test_streams_in_flight_fail_and_the_next_starts_a_new_process(
    opened: Open, script: Script, name: str, by: signal.Signals, words: str
) -> None:
    script(pieces=["x"] * 200, delay=0.05)
    streams = 1 if name == "ctransformers" else 3
    engine = opened(name, parallel=streams, context=3000)
    asked = request(engine, "Once upon a time", 2900)  # still at work when the signal arrives
    reached = threading.Barrier(streams + 1)

    def follow() -> None:
        events = engine.stream(asked)
        while not isinstance(next(events), TextDelta):
            pass
        reached.wait(60)
        list(events)

    first = engine.pid
    with ThreadPoolExecutor(streams) as pool:
        futures: list[Future[None]] = [pool.submit(follow) for _ in range(streams)]
        reached.wait(60)
        os.kill(first, by)
        for future in futures:
            with pytest.raises(EngineDied) as caught:
                future.result(timeout=60)
            assert words in caught.value.message
            assert caught.value.hint
    again = list(engine.stream(request(engine, "Once upon a time", 3)))
    assert isinstance(again[-1], Finish)
    assert engine.pid != first


def test_a_row_that_crashes_does_not_affect_later_rows(opened: Open, script: Script) -> None:
    script(echo=True, crash_on="poison")
    engine = opened("fake")
    for row in range(3):
        assert text(list(engine.stream(request(engine, f"row {row}")))) == f"row {row}"
        with pytest.raises(EngineDied, match="SIGABRT"):
            list(engine.stream(request(engine, f"poison {row}")))


def test_its_last_words_are_the_reason(opened: Open, script: Script) -> None:
    script(pieces=["x"] * 1000, delay=0.05)
    engine = opened("fake")
    log = Path(f"/proc/{engine.pid}/fd/2")
    if not log.exists():
        pytest.skip("there is no /proc here")
    with log.open("a") as file:
        file.write("ggml.c:12: GGML_ASSERT(a == b) failed\nsome more\n")
    events = engine.stream(request(engine, "row"))
    next(events)
    os.kill(engine.pid, signal.SIGABRT)
    with pytest.raises(EngineDied, match=r"SIGABRT: ggml\.c:12: GGML_ASSERT\(a == b\) failed$"):
        list(events)


def test_a_process_that_dies_while_idle_is_replaced(opened: Open) -> None:
    engine = opened("fake")
    first = engine.pid
    os.kill(first, signal.SIGKILL)
    while engine._process.alive:
        time.sleep(0.01)
    assert engine.tokenize("x")
    assert engine.pid != first


def test_a_process_that_died_is_not_one_that_was_closed(opened: Open) -> None:
    """Even if the next call closes it before everyone who waits has got the error."""
    engine = opened("fake")
    died, closed = engine._process, opened("fake")._process
    os.kill(died.pid, signal.SIGKILL)
    _, answers = died.call("x")
    while answers.get() is not None:
        pass
    assert engine.tokenize("y")  # by the next
    assert isinstance(died.died(), EngineDied)
    closed.close()
    assert not isinstance(closed.died(), EngineDied)


def test_many_calls_after_its_death_start_one_process(opened: Open) -> None:
    engine = opened("fake", parallel=8)
    os.kill(engine.pid, signal.SIGKILL)
    while engine._process.alive:
        time.sleep(0.01)
    pids = set()

    def ask(row: int) -> None:
        engine.tokenize(str(row))
        pids.add(engine.pid)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(8)))
    assert len(pids) == 1


def test_a_restart_that_fails_gives_the_loads_own_error(tmp_path: Path) -> None:
    path = write_mistral(tmp_path / "m.gguf", vocabulary=512)
    options = LoadOptions(256, threads=1)
    with open_in_process(selection("llama.cpp"), read_gguf(path), options, print) as engine:
        kept = path.read_bytes()
        path.write_bytes(b"not a model")
        os.kill(engine.pid, signal.SIGKILL)
        while engine._process.alive:
            time.sleep(0.01)
        for _ in range(2):
            with pytest.raises(MistralCliError, match="GGUF") as caught:
                engine.tokenize("x")
            assert not isinstance(caught.value, EngineDied)
        path.write_bytes(kept)
        assert engine.tokenize("x")


# --- time --------------------------------------------------------------------------------------


def test_a_row_that_takes_too_long(opened: Open, script: Script) -> None:
    script(pieces=["x"] * 10_000, delay=0.02)
    engine = opened("fake")
    first = engine.pid
    with pytest.raises(TimedOut, match=r"after 0\.5 seconds") as caught:
        list(engine.stream(request(engine, "row", 10_000), timeout=0.5))
    assert caught.value.hint == "Raise --timeout."
    assert isinstance(list(engine.stream(request(engine, "row", 2), timeout=60))[-1], Finish)
    assert engine.pid == first


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "in one delta"])
def test_a_real_answer_that_takes_too_long(smollm2: Path, stream: bool) -> None:
    options = LoadOptions(4000, threads=1)
    with open_in_process(selection("llama.cpp"), read_gguf(smollm2), options, print) as engine:
        first = engine.pid
        endless = Request((1, 300), 3900, GREEDY, ignore_eos=True, stream=stream)
        with pytest.raises(TimedOut):
            list(engine.stream(endless, timeout=1.5))
        short = replace(endless, max_tokens=3)
        *_, finish = engine.stream(short, timeout=60)
        assert isinstance(finish, Finish)
        assert (finish.completion_tokens, engine.pid) == (3, first)


def test_a_process_that_does_not_stop_is_killed(
    opened: Open, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_handle, "_STUCK_SECONDS", 1.0)
    script(echo=True, hang_on="stuck")
    engine = opened("fake", parallel=2)
    first = engine.pid
    with pytest.raises(TimedOut):
        list(engine.stream(request(engine, "stuck"), timeout=0.2))
    waiting = engine.stream(request(engine, "stuck"))
    with pytest.raises(EngineDied, match="did not stop when asked to"):
        list(waiting)
    assert gone(first)
    assert text(list(engine.stream(request(engine, "row 1")))) == "row 1"


# --- the end -----------------------------------------------------------------------------------


def test_closing(opened: Open, script: Script) -> None:
    script(pieces=["x"] * 1000, delay=0.05)
    engine = opened("fake", parallel=2)
    asked = request(engine, "row", 1000)
    events = engine.stream(asked)
    next(events)
    folder = engine._process._log.parent
    assert folder.exists()
    engine.close()
    engine.close()
    assert gone(engine.pid)
    assert not folder.exists()
    for use in (lambda: list(events), lambda: engine.tokenize("x"), lambda: engine.stream(asked)):
        with pytest.raises(EngineFailed, match="closed"):
            use()


PROGRAM = """
import sys, time
from pathlib import Path
from mistral_cli.engines.isolated.session import open_in_process
from mistral_cli.engines.protocol import LoadOptions
from mistral_cli.engines.registry import backend
from mistral_cli.engines.selection import EngineSelection
from mistral_cli.engines.types import Request, Sampling
from mistral_cli.models.gguf import read_gguf

name, path, wait = sys.argv[1:]
selection = EngineSelection(backend(name), "", 0, "")
engine = open_in_process(selection, read_gguf(Path(path)), LoadOptions(256, 1), print)
asked = Request((1, *engine.tokenize("Once upon a time")), 200, Sampling(0.0, 40, 1.0, 1.0, 1))
print(engine.pid, flush=True)
while True:
    try:
        for _ in engine.stream(asked):
            pass
        print("answered", flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    if wait == "idle":
        time.sleep(1000)
"""


@pytest.fixture
def parent(mistral: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[str], int]]]:
    """Start a program with an engine in a process, and find both process ids."""
    started: list[subprocess.Popen[str]] = []

    def parent(name: str, wait: str = "busy") -> tuple[subprocess.Popen[str], int]:
        command = [sys.executable, "-c", PROGRAM, name, str(mistral), wait]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        started.append(process)
        assert process.stdout
        return process, int(process.stdout.readline())

    yield parent
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("wait", ["busy", "idle"])
@pytest.mark.parametrize("name", ["llama.cpp", "ctransformers", "fake"])
def test_it_ends_with_us_even_when_we_are_killed(parent, name: str, wait: str) -> None:  # type: ignore[no-untyped-def]
    process, child = parent(name, wait)
    assert process.stdout.readline() == "answered\n"
    assert not gone(child, 0.1)
    process.kill()
    assert gone(child)


def test_ctrl_c_at_the_terminal_does_not_reach_it(parent) -> None:  # type: ignore[no-untyped-def]
    process, child = parent("llama.cpp")
    assert process.stdout.readline() == "answered\n"
    os.killpg(process.pid, signal.SIGINT)
    while process.stdout.readline() != "interrupted\n":
        assert process.poll() is None
    assert process.stdout.readline() == "answered\n"
    assert not gone(child, 0.1)


@pytest.mark.skipif(sys.platform != "linux", reason="SIGIO kills on Linux only")
def test_it_ends_with_us_even_in_native_code_that_blocks_python() -> None:
    """As llama.cpp's load does."""
    program = (
        "import ctypes, sys; from mistral_cli.engines.isolated.children import die_with;"
        "die_with(int(sys.argv[1])); print(flush=True); ctypes.PyDLL(None).sleep(300)"
    )
    life, ours = os.pipe()
    command = [sys.executable, "-c", program, str(life)]
    with subprocess.Popen(command, pass_fds=(life,), stdout=subprocess.PIPE) as child:
        os.close(life)
        assert child.stdout
        child.stdout.readline()
        assert not gone(child.pid, 0.2)
        os.close(ours)
        ended = gone(child.pid)
        child.kill()
    assert ended
