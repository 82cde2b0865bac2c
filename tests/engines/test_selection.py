"""Selecting an engine, and the effects of engines on the process around them."""

from __future__ import annotations

import importlib
import io
import os
import pkgutil
import re
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.nvidia_driver import NOT_READY, Machine, put
from support.terminals import make_terminal
from synthetic.models import write_mistral

from mistral_cli import engines
from mistral_cli.engines import loader as opening
from mistral_cli.engines.ctransformers.limits import wrong_processor
from mistral_cli.engines.ctransformers.model import threads_for
from mistral_cli.engines.gpu_layers import GpuLayers
from mistral_cli.engines.hardware.gpu import Gpu
from mistral_cli.engines.hardware.probe import probe_here
from mistral_cli.engines.llama_cpp import in_process as llama_cpp_module
from mistral_cli.engines.protocol import Backend, LoadOptions
from mistral_cli.engines.registry import BACKENDS, backend
from mistral_cli.engines.selection import EngineRequirements, EngineSelection, select_engine
from mistral_cli.errors import ContextExceeded, GpuRequired, ModelUnusable, UsageError
from mistral_cli.generation.run import _report_layers
from mistral_cli.models.gguf import GGUF, read_gguf

LLAMA_CPP = backend("llama.cpp")
CTRANSFORMERS = backend("ctransformers")

REAL = ("llama.cpp", "ctransformers")


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> GGUF:
    path = tmp_path_factory.mktemp("models") / "small.gguf"
    return read_gguf(write_mistral(path, vocabulary=512, quantization="Q8_0"))


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test here decides which engine has a GPU."""
    has(monkeypatch, LLAMA_CPP, gpu="no GPU in the test")
    has(monkeypatch, CTRANSFORMERS, gpu="no driver in the test")


def has(
    monkeypatch: pytest.MonkeyPatch,
    engine: Backend,
    *,
    gpu: str | None = None,
    missing: str | None = None,
) -> None:
    monkeypatch.setattr(engine, "no_gpu", lambda: gpu)
    monkeypatch.setattr(engine, "missing", lambda: missing)


def pick(
    model: GGUF, name: str = "auto", layers: str = "auto", required: bool = False
) -> EngineSelection:
    return select_engine(EngineRequirements(name, GpuLayers.parse(layers), required), model)


def test_auto_takes_llama_cpp(model: GGUF) -> None:
    selection = pick(model)
    assert (selection.backend, selection.gpu_layers, selection.warning) == (LLAMA_CPP, 0, None)


def test_auto_falls_back_where_llama_cpp_is_missing(
    model: GGUF, monkeypatch: pytest.MonkeyPatch
) -> None:
    has(monkeypatch, LLAMA_CPP, missing="not installed")
    selection = pick(model)
    assert selection.backend is CTRANSFORMERS
    assert "llama.cpp cannot: not installed" in selection.reason


def test_auto_takes_the_engine_that_has_a_gpu(model: GGUF, monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, CTRANSFORMERS, gpu=None)
    assert (pick(model).backend, pick(model).gpu_layers) == (CTRANSFORMERS, model.block_count + 1)
    assert pick(model, layers="0").backend is LLAMA_CPP
    has(monkeypatch, LLAMA_CPP, gpu=None)
    assert pick(model).backend is LLAMA_CPP


def test_matrices_that_the_old_cuda_library_cannot_multiply_stay_on_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    has(monkeypatch, CTRANSFORMERS, gpu=None)
    floats = read_gguf(write_mistral(tmp_path / "f32.gguf", vocabulary=512, quantization="F32"))
    selection = pick(floats, layers="all")
    assert (selection.backend, selection.gpu_layers) == (LLAMA_CPP, 0)
    assert "cannot multiply matrices in F32" in (selection.warning or "")


@pytest.mark.parametrize(("layers", "threads"), [(0, 8), (2, 8), (3, 1)])
def test_one_thread_if_the_gpu_computes_everything(model: GGUF, layers: int, threads: int) -> None:
    assert threads_for(model, LoadOptions(512, 8, layers)) == threads


@pytest.mark.parametrize("name", ["llama.cpp", "ctransformers", "fake"])
def test_a_named_engine_is_selected(model: GGUF, name: str) -> None:
    assert pick(model, name).backend is backend(name)
    assert pick(model, name).reason == "named by --engine"


def test_an_unknown_engine(model: GGUF) -> None:
    with pytest.raises(UsageError, match="unknown engine 'vllm'") as error:
        pick(model, "vllm")
    assert error.value.hint == "Use one of: auto, llama.cpp, ctransformers."


def test_no_engine_can_be_used(model: GGUF, monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, LLAMA_CPP, missing="first reason")
    has(monkeypatch, CTRANSFORMERS, missing="second reason")
    with pytest.raises(ModelUnusable, match=r"first reason.*second reason"):
        pick(model)


@pytest.mark.parametrize(
    ("layers", "offloaded"), [("auto", 3), ("all", 3), ("0", 0), ("2", 2), ("17", 3)]
)
def test_layers_on_the_gpu(
    model: GGUF, monkeypatch: pytest.MonkeyPatch, layers: str, offloaded: int
) -> None:
    has(monkeypatch, LLAMA_CPP, gpu=None)
    selection = pick(model, layers=layers)
    assert (selection.gpu_layers, selection.warning) == (offloaded, None)


@pytest.mark.parametrize("layers", ["-1", "x", "", "1.5", "²"])
def test_impossible_layers(layers: str) -> None:
    with pytest.raises(UsageError, match="--gpu-layers"):
        GpuLayers.parse(layers)


@pytest.mark.parametrize("layers", ["auto", "all", "0", "12"])
def test_layers_are_shown_as_they_were_written(layers: str) -> None:
    assert str(GpuLayers.parse(layers)) == layers


def test_layers_that_stay_on_the_cpu_cause_a_warning(model: GGUF) -> None:
    assert pick(model, layers="auto").warning is None
    assert pick(model, layers="0").warning is None
    for layers in ("all", "5"):
        selection = pick(model, layers=layers)
        assert selection.gpu_layers == 0
        assert selection.warning
        assert re.search("no GPU in the test.*no driver in the test", selection.warning)


def test_an_unused_gpu_causes_a_warning(model: GGUF, monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, Machine())
    selection = select_engine(EngineRequirements(), model, hardware=probe_here())
    assert selection.gpu_layers == 0
    assert (selection.warning or "").startswith("Tesla T4 is not used, and the CPU computes all")
    put(monkeypatch, Machine(status=NOT_READY))
    broken = select_engine(EngineRequirements(), model, hardware=probe_here())
    assert broken.warning


@pytest.mark.parametrize("terminal", [True, False])
def test_the_layers_on_the_gpu_are_reported_wherever_stderr_goes(
    model: GGUF, terminal: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(meant: int) -> str:
        config = SimpleNamespace(model=model, selection=pick(model, "fake"))
        opened = SimpleNamespace(load=LoadOptions(512, 1, 2), config=config)
        planned = SimpleNamespace(load=LoadOptions(512, 1, meant), config=config)
        stderr = io.StringIO()
        stderr.isatty = lambda: terminal  # type: ignore[method-assign]
        _report_layers(opened, planned, make_terminal(stderr=stderr))  # type: ignore[arg-type]
        return stderr.getvalue()

    assert "2 of 3 layers are on the GPU" in said(3)
    assert said(0) == ""


@pytest.mark.parametrize(
    ("system", "processor", "refused"),
    [("Linux", "x86_64", False), ("Linux", "aarch64", True), ("Darwin", "arm64", False)],
)
def test_the_packaged_library_of_ctransformers_is_for_x86(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, system: str, processor: str, refused: bool
) -> None:
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr("platform.machine", lambda: processor)
    assert bool(wrong_processor(tmp_path)) == refused
    monkeypatch.undo()
    (tmp_path / "lib" / "local").mkdir(parents=True)
    monkeypatch.setattr("platform.machine", lambda: processor)
    assert wrong_processor(tmp_path) is None  # compiled here


def test_a_required_gpu_names_every_reason(model: GGUF, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(GpuRequired, match=r"no GPU in the test.*no driver in the test"):
        pick(model, required=True)
    with pytest.raises(UsageError, match="--require-gpu contradicts --gpu-layers 0"):
        pick(model, layers="0", required=True)
    has(monkeypatch, CTRANSFORMERS, missing="not there")
    with pytest.raises(GpuRequired, match=r"ctransformers: not there; llama\.cpp: no GPU"):
        pick(model, required=True)
    has(monkeypatch, LLAMA_CPP, gpu=None)
    assert pick(model, required=True).backend is LLAMA_CPP


def test_an_accelerator_or_a_cpu_is_not_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    xllamacpp = pytest.importorskip("xllamacpp")
    kinds = xllamacpp.ggml_backend_dev_type
    found = {kind: getattr(kinds, f"GGML_BACKEND_DEVICE_TYPE_{kind}") for kind in
             ("CPU", "ACCEL", "META", "GPU", "IGPU")}  # fmt: skip
    memory = {"memory_total": 8, "memory_free": 5}

    def gpus(*there: str) -> tuple[Gpu, ...]:
        devices = [{"type": found[kind], "description": kind, **memory} for kind in there]
        monkeypatch.setattr(xllamacpp, "get_device_info", lambda: devices)
        llama_cpp_module._gpus.cache_clear()
        return LLAMA_CPP.gpus()

    one, integrated = Gpu("GPU", 8, 5), Gpu("IGPU", 8, 5)
    assert gpus("CPU", "ACCEL", "META") == ()
    assert gpus("CPU", "GPU", "IGPU", "GPU") == (one, one)
    assert gpus("CPU", "IGPU", "IGPU", "ACCEL") == (integrated,)  # as llama.cpp takes them
    llama_cpp_module._gpus.cache_clear()


def test_every_engine_in_the_folder_is_registered() -> None:
    modules = [
        each.name for each in pkgutil.walk_packages(engines.__path__, engines.__name__ + ".")
    ]
    for name in modules:
        importlib.import_module(name)
    # Other tests define backends too, in modules that are no files of this folder.
    defined = {each for each in Backend.__subclasses__() if each.__module__ in modules}
    # Servers are named by their addresses, not by --engine.
    assert {each for each in defined if not each.remote} == {
        type(backend(name)) for name in BACKENDS
    }
    assert all(backend(name).name == name for name in BACKENDS)


def test_a_context_beyond_the_memory_is_refused(
    model: GGUF, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "available_memory", lambda: 1000)
    with pytest.raises(ContextExceeded, match="KV cache"):
        opening.open_engine(pick(model, "fake"), model, LoadOptions(512, threads=1), print)


@pytest.mark.parametrize("name", REAL)
def test_the_vocabulary_alone_counts_tokens(model: GGUF, name: str) -> None:
    with opening.open_tokenizer(backend(name), model) as tokenizer:
        alone = tokenizer.tokenize("Hello, 世界")
    with backend(name).open(model, LoadOptions(512, threads=1)) as engine:
        assert engine.tokenize("Hello, 世界") == alone


# --- the process -------------------------------------------------------------------------------

OPEN = """
import os, sys, threading, time
from pathlib import Path
from mistral_cli.engines.protocol import LoadOptions
from mistral_cli.engines.registry import backend
from mistral_cli.engines.types import Request, Sampling
from mistral_cli.models.gguf import read_gguf
def opened(name, path, context=512):
    return backend(name).open(read_gguf(Path(path)), LoadOptions(context, threads=1))
GREEDY = Sampling(0.0, 40, 0.95, 1.0, 1)
"""


def start(code: str, *arguments: object, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", OPEN + code, *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen(command, text=True, **pipes)  # type: ignore[call-overload,no-any-return]


def test_importing_the_package_imports_no_engine() -> None:
    code = "print({'xllamacpp', 'ctransformers', 'numpy', 'llguidance'} & set(sys.modules))"
    assert start(code).communicate(timeout=30)[0] == "set()\n"


@pytest.mark.parametrize("name", REAL)
def test_nothing_is_written_to_the_terminal(model: GGUF, name: str) -> None:
    code = """
for grammar in (None, '%llguidance {}\\nstart: "abc def"'):
    with opened(sys.argv[1], sys.argv[2]) as engine:
        ids = (1, *engine.tokenize("Hello"))
        assert len(list(engine.stream(Request(ids, 8, GREEDY, grammar)))) > 2
        events = engine.stream(Request(ids * 50, 100, GREEDY))
        next(events)
        events.close()
os.write(1, b"one")
os.write(2, b"two")
"""
    process = start(code, name, model.path)
    assert (*process.communicate(timeout=60), process.returncode) == ("one", "two", 0)


@pytest.mark.parametrize("name", REAL)
def test_closed_standard_streams_are_harmless(model: GGUF, name: str, tmp_path: Path) -> None:
    done = tmp_path / "done"
    code = """
with opened(sys.argv[1], sys.argv[2]) as engine:
    events = list(engine.stream(Request((1, 300), 4, GREEDY)))
Path(sys.argv[3]).write_text(str(events[-1]))
"""
    arguments = [sys.executable, "-c", OPEN + code, name, str(model.path), str(done)]
    command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *arguments]
    subprocess.run(command, timeout=60, check=True)
    assert "length" in done.read_text()


@pytest.fixture(scope="session")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose prefill takes a long time."""
    return write_mistral(
        tmp_path_factory.mktemp("models") / "slow.gguf",
        vocabulary=512,
        layers=8,
        embedding=1024,
        heads=8,
        kv_heads=8,
        feed_forward=4096,
        context_length=8192,
        quantization="Q8_0",
    )


@pytest.mark.parametrize("name", REAL)
def test_ctrl_c_while_the_prompt_is_read(slow: Path, name: str) -> None:
    code = """
engine = opened(sys.argv[1], sys.argv[2], 8192)
events = engine.stream(Request(tuple(300 + i % 200 for i in range(8000)), 5, GREEDY))
try:
    for event in events:
        print(type(event).__name__, flush=True)
except KeyboardInterrupt:
    interrupted = time.monotonic()
    engine.close()
    print("closed in time" if time.monotonic() - interrupted < 1.5 else "late", flush=True)
    os._exit(130)
"""
    process = start(code, name, slow)
    assert process.stdout
    assert process.stdout.readline() == "PrefillProgress\n"
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    sent = time.monotonic()
    output, errors = process.communicate(timeout=30)
    assert time.monotonic() - sent < 2.5
    assert process.returncode == 130, errors
    assert output.splitlines()[-1] == "closed in time"


@pytest.mark.parametrize("name", REAL)
def test_ctrl_c_while_the_model_loads(model: GGUF, name: str) -> None:
    code = """
import importlib
engine = backend(sys.argv[1])
module = "xllamacpp" if engine.name == "llama.cpp" else "ctransformers.llm"
library = importlib.import_module(module)
# A load that takes long and does not let Python's signal handler run.
import ctypes
def load(*_, **__):
    print("loading", flush=True)
    ctypes.PyDLL(None).sleep(20)
setattr(library, "Server" if engine.name == "llama.cpp" else "LLM", load)
try:
    opened(sys.argv[1], sys.argv[2])
except KeyboardInterrupt:
    os._exit(1)
"""
    process = start(code, name, model.path)
    assert process.stdout
    assert process.stdout.readline() == "loading\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=3)
    assert process.returncode == -signal.SIGINT


# --- llama.cpp's listener and its folder -------------------------------------------------------


def sockets_of_this_process() -> set[str]:
    links = [Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd")]  # noqa: PTH208
    targets = [os.readlink(link) for link in links if link.is_symlink()]  # noqa: PTH115
    return {target[8:-1] for target in targets if target.startswith("socket:[")}


def listening_on_tcp() -> set[str]:
    """Inodes of the TCP sockets that listen, in this network namespace."""
    lines = [
        line.split()
        for table in ("tcp", "tcp6")
        if (path := Path(f"/proc/net/{table}")).exists()
        for line in path.read_text().splitlines()[1:]
    ]
    return {fields[9] for fields in lines if fields[3] == "0A"}


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="there is no /proc")
def test_only_this_user_can_reach_the_listener(model: GGUF) -> None:
    with socket.create_server(("127.0.0.1", 0)):  # the check sees what it looks for
        assert listening_on_tcp() & sockets_of_this_process()
    with LLAMA_CPP.open(model, LoadOptions(512, threads=1)) as engine:
        assert not listening_on_tcp() & sockets_of_this_process()
        path = engine._client._path
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        engine._client._headers["Authorization"] = "Bearer wrong"
        with pytest.raises(Exception, match=r"(?i)api key"):
            engine.tokenize("x")
    assert not path.parent.exists()


def test_a_failed_load_leaves_no_folder(
    tmp_path: Path, short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(short_folder))
    path = write_mistral(
        tmp_path / "bad.gguf", vocabulary=512, metadata={"llama.rope.dimension_count": 6}
    )
    with pytest.raises(ModelUnusable, match=r"'llama\.rope\.dimension_count' is 6"):
        LLAMA_CPP.open(read_gguf(path), LoadOptions(512, threads=1))
    assert not list(short_folder.iterdir())


def test_a_very_long_temporary_folder(
    model: GGUF, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with LLAMA_CPP.open(model, LoadOptions(512, threads=1)) as engine:
        assert engine.tokenize("Hello")
