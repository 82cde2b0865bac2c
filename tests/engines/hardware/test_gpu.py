"""The driver's report, the layers that fit, and loads that do not fit after all."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from support import nvidia_driver
from support.nvidia_driver import GIB, NO_DEVICE, NOT_READY, STUB, T4, Card, Machine, put
from synthetic.models import write_mistral

from mistral_cli.diagnostics.recommend import memory_on
from mistral_cli.engines import trial_load as trial
from mistral_cli.engines.ctransformers import limits
from mistral_cli.engines.ctransformers.model import layers_as_it_counts
from mistral_cli.engines.fake import Fake, FakeSession
from mistral_cli.engines.hardware import cuda
from mistral_cli.engines.hardware.cuda import Obstacle
from mistral_cli.engines.hardware.gpu import Gpu, fits, layers_that_fit
from mistral_cli.engines.hardware.memory import needed
from mistral_cli.engines.hardware.probe import probe_here
from mistral_cli.engines.isolated.children import child_command
from mistral_cli.engines.llama_cpp import in_process as llama_cpp
from mistral_cli.engines.llama_cpp.load_log import load, out_of_memory
from mistral_cli.engines.loader import open_engine, open_tokenizer
from mistral_cli.engines.protocol import Backend, LoadOptions, Session
from mistral_cli.engines.registry import backend
from mistral_cli.engines.selection import (
    EngineRequirements,
    EngineSelection,
    fit_gpu_layers,
    select_engine,
)
from mistral_cli.engines.types import Request, Sampling
from mistral_cli.errors import EngineFailed, GpuRequired, ModelUnusable, OutOfGpuMemory
from mistral_cli.models.catalog import find_built_in
from mistral_cli.models.gguf import GGUF, read_gguf

LLAMA_CPP = backend("llama.cpp")
CTRANSFORMERS = backend("ctransformers")

# --- the driver --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("machine", "problem"),
    [
        (None, "no NVIDIA driver"),
        (Machine(version=11080), "supports CUDA 11.8, not 12"),
        (Machine(cards=(Card(capability=(5, 0)),)), "5.0 is below 5.2"),
        (Machine(cards=(T4, Card(capability=(3, 7)))), "3.7 is below 5.2"),
        (Machine(runtime=False), "libcudart.so.12 is missing"),
        (Machine(status=STUB, physical=0), r"cuInit: CUDA_ERROR_STUB_LIBRARY"),
        (Machine(cards=(), physical=0), "there is no CUDA device"),
        (Machine(), None),
        (Machine(version=13020), None),
    ],
)
def test_whether_ctransformers_can_use_cuda(
    monkeypatch: pytest.MonkeyPatch, machine: Machine | None, problem: str | None
) -> None:
    put(monkeypatch, machine)
    found = limits.no_cuda()
    assert (found is None) == (problem is None)
    assert problem is None or problem in (found or "")


def test_several_gpus_each_with_its_own_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    big = Card("NVIDIA H200", (9, 0), 150_754_820_096, 149_000_000_000)
    put(monkeypatch, Machine(cards=(T4, big), physical=2))
    first, second = cuda.query_driver().gpus
    assert (first.name, first.memory_total, first.memory_free) == (T4.name, T4.total, T4.free)
    assert (second.name, second.compute_capability) == (big.name, (9, 0))
    assert second.memory_free == big.free


def test_unknown_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, Machine(nvml=False))
    (gpu,) = cuda.query_driver().gpus
    assert (gpu.memory_total, gpu.memory_free) == (T4.total, None)


def test_a_mig_slice_has_its_own_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    part = Card("NVIDIA A100 MIG 1g.5gb", (8, 0), 5_100_273_664, 5_000_000_000, slice=True)
    put(monkeypatch, Machine(cards=(part,), mig=True))
    (gpu,) = cuda.query_driver().gpus
    assert (gpu.mig, gpu.memory_free) == (True, part.free)


def test_mig_without_a_slice_differs_from_hidden_gpus(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    put(monkeypatch, Machine(cards=(), status=NO_DEVICE, mig=True))
    assert "MIG mode" in (cuda.query_driver().problem or "")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")  # the whole GPU, of which CUDA takes slices
    put(monkeypatch, Machine(cards=(), status=NO_DEVICE, mig=True))
    assert cuda.query_driver().obstacle is Obstacle.MIG
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    put(monkeypatch, Machine(cards=(), physical=4))
    assert cuda.query_driver().problem == "CUDA_VISIBLE_DEVICES=-1 hides the 4 GPUs of this machine"
    put(monkeypatch, Machine(cards=(), status=NO_DEVICE))
    assert cuda.query_driver().problem == "CUDA_VISIBLE_DEVICES=-1 hides the GPU of this machine"


def test_a_driver_that_fails_is_not_blamed_on_hidden_gpus(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    for mig in (False, True):
        put(monkeypatch, Machine(status=NOT_READY, physical=8, mig=mig))
        driver = cuda.query_driver()
        assert driver.obstacle is Obstacle.FAILED
        assert "cuInit: CUDA_ERROR_SYSTEM_NOT_READY" in (driver.problem or "")


def test_a_management_library_before_mig(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(nvidia_driver.Management, "nvmlDeviceGetMigMode")
    put(monkeypatch, Machine(cards=(), status=NO_DEVICE))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert cuda.query_driver().obstacle is Obstacle.NO_DEVICE


def test_only_the_driver_is_loaded_to_ask_it(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine()
    put(monkeypatch, machine)
    cuda.query_driver()
    assert machine.opened == ["libcuda.so.1", "libnvidia-ml.so.1"]


def test_cuda_libraries_from_pypi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # which hides what this machine has

    def install(root: str, package: str, name: str) -> None:
        library = tmp_path / root / "nvidia" / package / "lib" / name
        library.parent.mkdir(parents=True)
        library.touch()

    monkeypatch.syspath_prepend(str(tmp_path / "second"))
    monkeypatch.syspath_prepend(str(tmp_path / "first"))
    install("first", "cuda_runtime", "libcudart.so.12")
    install("second", "cublas", "libcublas.so.12")
    assert not limits._all_from_pypi()  # ctransformers looks into the first folder alone
    install("first", "cublas", "libcublas.so.12")
    assert limits._all_from_pypi()


def test_cuda_libraries_from_here_and_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """ctransformers leaves all of them to the linker if one is not from PyPI."""
    put(monkeypatch, Machine(runtime="libcudart"))
    assert "libcublas.so.12 is missing" in (limits.no_cuda() or "")


# --- the layers that fit -----------------------------------------------------------------------


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> GGUF:
    path = tmp_path_factory.mktemp("models") / "q8.gguf"
    return read_gguf(write_mistral(path, vocabulary=512, quantization="Q8_0"))


@pytest.fixture(scope="session")
def seven_b() -> GGUF:
    entry = find_built_in("mistral")
    assert entry
    return entry.header()


def gpu(gib: float, free: float | None = -1) -> Gpu:
    """A GPU that is empty, or has so much free memory; None: it does not report any."""
    free = gib if free == -1 else free
    return Gpu("GPU", int(gib * GIB), None if free is None else int(free * GIB))


@pytest.mark.parametrize(
    ("gpus", "context", "least", "most"),
    [
        ([gpu(15)], 4096, 33, 33),
        ([gpu(6)], 4096, 33, 33),
        ([gpu(15)], 32768, 33, 33),
        ([gpu(8)], 32768, 22, 32),
        ([gpu(4)], 4096, 10, 26),
        ([gpu(15, free=2)], 4096, 1, 12),
        ([gpu(1)], 4096, 1, 3),
        ([gpu(15, free=0.2)], 4096, 0, 0),
        ([gpu(4), gpu(4)], 4096, 33, 33),
        ([], 4096, 0, 0),
    ],
)
def test_layers_that_fit(
    seven_b: GGUF, gpus: list[Gpu], context: int, least: int, most: int
) -> None:
    layers = layers_that_fit(needed, seven_b, context, gpus)
    assert least <= layers <= most
    if layers:
        taken = needed(seven_b, context, layers).gpu
        assert taken + 512 * 2**20 < sum(gpu.memory_free or 0 for gpu in gpus)
    if 0 < layers < 33:
        assert not fits(needed(seven_b, context, layers + 1), gpus)


def test_every_gpu_holds_buffers_of_its_own(seven_b: GGUF) -> None:
    memory = needed(seven_b, 4096, 33)
    margin = Gpu("", 0, 2**40).usable
    of_one = memory.gpu + 2**40 - margin
    assert fits(memory, [Gpu("", 0, of_one)])
    assert not fits(memory, [Gpu("", 0, of_one - 1)])
    half = memory.gpu // 2 + memory.compute // 2 + 2**40 - margin
    assert fits(memory, [Gpu("", 0, half + 1)] * 2)
    assert not fits(memory, [Gpu("", 0, half - memory.compute // 4)] * 2)


def test_a_full_gpu_beside_a_free_one(seven_b: GGUF) -> None:
    """Engines put layers and buffers on both."""
    full, free = gpu(16, free=0.2), gpu(24)
    assert fits(needed(seven_b, 4096, 33), [free])
    assert layers_that_fit(needed, seven_b, 4096, [full, free]) == 0
    selection = fit_gpu_layers(automatic(gpus=(replace(full, name="first"), free)), seven_b, 4096)
    assert "first has no room for its buffers" in selection.gpu_reason


def test_ctransformers_needs_more_than_llama_cpp(seven_b: GGUF) -> None:
    """It has no flash attention: at 16,384 tokens its buffer alone takes a GiB."""
    of_its_own = CTRANSFORMERS.memory(seven_b, 16384, 33)
    assert of_its_own.gpu > LLAMA_CPP.memory(seven_b, 16384, 33).gpu + 800 * 2**20
    card = Gpu("", 1, LLAMA_CPP.memory(seven_b, 16384, 33).gpu + 600 * 2**20)
    assert layers_that_fit(LLAMA_CPP.memory, seven_b, 16384, [card]) == 33
    assert 0 < layers_that_fit(CTRANSFORMERS.memory, seven_b, 16384, [card]) < 33


class WithGpu(Fake):
    """A fake engine on a GPU that has room for `room` layers."""

    room: ClassVar[int] = 99
    silent: ClassVar[bool] = False
    """Whether the layers silently stay on the CPU."""
    broken: ClassVar[bool] = False
    """Whether the library cannot be loaded for a GPU."""
    tried: ClassVar[list[int]] = []

    def no_gpu(self) -> str | None:
        return None

    def open(self, model: GGUF, options: LoadOptions) -> Session:
        self.tried.append(options.gpu_layers)
        if options.gpu_layers > self.room:
            raise OutOfGpuMemory(f"{options.gpu_layers} layers do not fit", hint="Fewer.")
        if options.gpu_layers and self.broken:
            raise EngineFailed("undefined symbol: cudaMalloc", hint="")
        return OnGpu(model, options, 0 if self.silent else options.gpu_layers)


class OnGpu(FakeSession):
    def __init__(self, model: GGUF, options: LoadOptions, layers: int) -> None:
        super().__init__(model, options)
        self._layers = layers

    @property
    def gpu_layers(self) -> int:
        return self._layers


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WithGpu, "tried", [])


def automatic(**changes: Any) -> EngineSelection:
    selection = EngineSelection(WithGpu(), "", 33, "", gpus=(gpu(15),), automatic_layers=True)
    return replace(selection, **changes)


def test_auto_is_fitted_to_the_context(seven_b: GGUF) -> None:
    selection = automatic(gpus=(gpu(6),))
    short, long = (fit_gpu_layers(selection, seven_b, context) for context in (4096, 32768))
    assert short.gpu_layers == 33 > long.gpu_layers > 0
    assert long.gpu_reason.startswith(f"{long.gpu_layers} of 33 fit: ")
    assert "32768 tokens of context" in long.gpu_reason


def test_layers_that_the_user_set_are_not_changed(seven_b: GGUF) -> None:
    selection = automatic(gpus=(gpu(0.5),), automatic_layers=False)
    assert fit_gpu_layers(selection, seven_b, 4096).gpu_layers == 33


def test_a_gpu_that_does_not_report_its_memory_gets_all_layers(seven_b: GGUF) -> None:
    silent = (Gpu("Adreno", 0, 0),)
    assert fit_gpu_layers(automatic(gpus=silent), seven_b, 4096).gpu_layers == 33
    assert memory_on("llama.cpp", silent, seven_b, 4096)[0] == 33


def test_a_gpu_that_is_too_small(seven_b: GGUF) -> None:
    small = fit_gpu_layers(automatic(gpus=(gpu(0.5),)), seven_b, 4096)
    assert small.gpu_layers == 0
    assert "the CPU computes all layers (0 of 33 fit" in (small.warning or "")
    with pytest.raises(GpuRequired, match="too small: 0 of 33 fit"):
        fit_gpu_layers(automatic(gpus=(gpu(0.5),), gpu_required=True), seven_b, 4096)


def test_a_cuda_build_without_its_driver_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "xllamacpp" / "__init__.py"
    package.parent.mkdir()
    package.write_text("raise ImportError('libcuda.so.1: cannot open shared object file')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "xllamacpp", raising=False)
    llama_cpp._import_problem.cache_clear()
    assert "cannot be loaded: libcuda.so.1" in (LLAMA_CPP.missing() or "")
    assert LLAMA_CPP.no_gpu() == LLAMA_CPP.missing()
    llama_cpp._import_problem.cache_clear()


def test_ctransformers_takes_its_layers_from_the_driver(
    model: GGUF, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LLAMA_CPP, "no_gpu", lambda: "none")
    put(monkeypatch, Machine())
    selection = select_engine(EngineRequirements(require_gpu=True), model, hardware=probe_here())
    assert fit_gpu_layers(selection, model, 512).gpu_layers == model.block_count + 1
    assert selection.backend is CTRANSFORMERS
    put(monkeypatch, Machine(cards=(replace(T4, free=100),)))
    selection = select_engine(EngineRequirements(require_gpu=True), model, hardware=probe_here())
    with pytest.raises(GpuRequired):
        fit_gpu_layers(selection, model, 512)


def test_ctransformers_counts_the_kv_cache_as_two_layers_more(model: GGUF) -> None:
    everything = model.block_count + 1
    counts = {n: layers_as_it_counts(model, LoadOptions(512, 1, n)) for n in (0, 1, 2, everything)}
    assert counts == {0: 0, 1: 1, 2: 2, everything: everything + 2}


# --- a load that does not fit ------------------------------------------------------------------


def opened(
    model: GGUF,
    layers: int,
    monkeypatch: pytest.MonkeyPatch,
    *,
    room: int,
    required: bool = False,
    **changes: Any,
) -> list[str]:
    monkeypatch.setattr(WithGpu, "room", room)
    selection = automatic(gpu_layers=layers, gpu_required=required, **changes)
    warnings: list[str] = []
    open_engine(selection, model, LoadOptions(512, 1, layers), warnings.append).close()
    return warnings


def test_fewer_layers_are_tried(model: GGUF, monkeypatch: pytest.MonkeyPatch) -> None:
    assert opened(model, 33, monkeypatch, room=99) == []
    warnings = opened(model, 33, monkeypatch, room=10)
    assert WithGpu.tried == [33, 33, 29, 25, 21, 17, 8]  # not too many: each takes a load
    assert warnings[0] == "33 layers do not fit: 29 of them instead"
    assert warnings[-1] == "17 layers do not fit: 8 of them instead"


def test_finally_the_cpu_computes_unless_a_gpu_is_required(
    model: GGUF, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert opened(model, 2, monkeypatch, room=0)[-1].endswith("none of them instead")
    assert WithGpu.tried == [2, 1, 0]
    with pytest.raises(GpuRequired, match="1 layers do not fit"):
        opened(model, 2, monkeypatch, room=0, required=True)


def test_layers_that_silently_stay_on_the_cpu_are_reported(
    model: GGUF, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WithGpu, "silent", True)
    warnings = opened(model, 33, monkeypatch, room=99)
    assert warnings == ["0 of the 33 requested layers are on the GPU"]
    with pytest.raises(GpuRequired, match="0 of the 33 requested layers"):
        opened(model, 33, monkeypatch, room=99, required=True)


def test_a_load_that_may_end_the_process_is_tried_in_a_child(
    model: GGUF, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried_in_child: list[int] = []

    def trial_load(engine: Backend, model: GGUF, options: LoadOptions) -> None:
        tried_in_child.append(options.gpu_layers)
        if options.gpu_layers > 1:
            raise OutOfGpuMemory("too many", hint="Fewer.")

    monkeypatch.setattr("mistral_cli.engines.trial_load.trial_load", trial_load)
    opened(model, 4, monkeypatch, room=99)
    assert tried_in_child == []
    opened(model, 4, monkeypatch, room=99, gpus=(gpu(0.1),))  # by our estimate it will not fit
    assert tried_in_child == [4, 3, 2, 1]
    monkeypatch.setattr(WithGpu, "gpu_failure_ends_process", True)
    tried_in_child.clear()
    opened(model, 1, monkeypatch, room=99, gpus=(gpu(1),))  # it fits, but not easily
    opened(model, 1, monkeypatch, room=99, gpus=(gpu(15, free=None),))
    assert tried_in_child == [1, 1]
    opened(model, 1, monkeypatch, room=99, gpus=(gpu(15),))  # and a load takes time
    assert tried_in_child == [1, 1]


def test_a_trial_load_that_fails_leaves_an_automatic_run_to_the_cpu(
    model: GGUF, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trial_load(engine: Backend, model: GGUF, options: LoadOptions) -> None:
        raise EngineFailed("no kernel image", hint="")

    monkeypatch.setattr("mistral_cli.engines.trial_load.trial_load", trial_load)
    small = (gpu(0.1),)
    warnings = opened(model, 4, monkeypatch, room=99, gpus=small)
    assert (WithGpu.tried, len(warnings)) == ([0], 1)
    assert "no kernel image: the CPU computes all layers" in warnings[0]
    monkeypatch.setattr(WithGpu, "broken", True)
    assert "cudaMalloc: the CPU" in opened(model, 4, monkeypatch, room=99)[0]
    for changes in ({"required": True}, {"automatic_layers": False}):
        with pytest.raises(EngineFailed, match="no kernel image"):
            opened(model, 4, monkeypatch, room=99, gpus=small, **changes)


def child(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the trial load run `code` instead of a real load."""
    command = [sys.executable, "-c", code]
    monkeypatch.setattr(trial, "child_command", lambda *arguments: (command, None))


def test_a_trial_load_that_runs_out_of_memory_and_one_that_fails(
    model: GGUF, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = LoadOptions(512, 1, 3)
    # What ctransformers' CUDA library prints before it calls exit(1).
    said = "CUDA error 2 at ggml-cuda.cu:5031: out of memory"
    child(f"import sys; print({said!r}); sys.exit(1)", monkeypatch)
    with pytest.raises(OutOfGpuMemory, match="3 layers do not fit"):
        trial.trial_load(CTRANSFORMERS, model, options)
    child("print('CUDA error 209: no kernel image'); raise SystemExit(1)", monkeypatch)
    with pytest.raises(EngineFailed, match="no kernel image"):
        trial.trial_load(CTRANSFORMERS, model, options)
    child("import os; os.abort()", monkeypatch)
    with pytest.raises(EngineFailed, match="ended with -6"):
        trial.trial_load(CTRANSFORMERS, model, options)
    # It is tried only if our estimate says that it may not fit.
    with pytest.raises(OutOfGpuMemory, match="3 layers do not fit"):
        trial.trial_load(LLAMA_CPP, model, options)


# What llama.cpp does where its buffers do not fit beside the weights.
CRASHING = """
import os, sys, xllamacpp
class Server:
    def __init__(self, params):
        os.write(2, {log!r})
        {end}
xllamacpp.Server = Server
from mistral_cli.engines import trial_load
trial_load._main()
"""


@pytest.mark.parametrize(
    ("log", "end", "kind", "message"),
    [
        (b"error: bad tensor\n", "os._exit(3)", EngineFailed, "error: bad tensor"),
        (b"cudaMalloc failed: out of memory\n", "os._exit(3)", OutOfGpuMemory, "3 layers"),
        (b"GGML_ASSERT(buffer)\n", "os.abort()", OutOfGpuMemory, "3 layers"),
    ],
)
def test_the_log_of_a_trial_load_survives_its_crash(
    model: GGUF,
    monkeypatch: pytest.MonkeyPatch,
    log: bytes,
    end: str,
    kind: type[Exception],
    message: str,
) -> None:
    command, environment = child_command("unused")
    code = CRASHING.format(log=log, end=end)
    monkeypatch.setattr(
        trial,
        "child_command",
        lambda _, *arguments: ([command[0], "-c", code, *map(str, arguments)], environment),
    )
    with pytest.raises(kind, match=message):
        trial.trial_load(LLAMA_CPP, model, LoadOptions(512, 1, 3))


@pytest.mark.parametrize("engine", ["llama.cpp", "ctransformers"])
def test_a_real_trial_load(
    model: GGUF, engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "json.py").write_text("raise SystemExit('the current folder is read')")
    trial.trial_load(backend(engine), model, LoadOptions(256, 1, 0))


class Library:
    """xllamacpp whose load writes `log` to file descriptor 2, as llama.cpp does."""

    def __init__(self, log: str, *, fails: bool) -> None:
        self._log, self._fails = log, fails

    def Server(self, params: Any) -> object:
        subprocess.run(["sh", "-c", 'printf "%s\n" "$1" >&2', "sh", self._log], check=True)
        if self._fails:
            raise RuntimeError("Failed to init server")
        return self


class Parameters:
    n_gpu_layers = 33
    verbosity = 0


# As llama.cpp prints it; the sizes do not matter.
NO_ROOM = """\
E ggml_backend_cuda_buffer_type_alloc_buffer: allocating 3850.02 MiB on device 0: \
cudaMalloc failed: out of memory
E llama_model_load: error loading model: unable to allocate CUDA0 buffer
E srv load_model: exiting due to model loading error"""
DAMAGED = "E llama_model_load: error loading model: bad tensor\nexiting due to"


def test_llama_cpp_out_of_memory_and_damaged(
    model: GGUF, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(OutOfGpuMemory, match="33 layers do not fit"):
        load(Library(NO_ROOM, fails=True), Parameters(), model)
    with pytest.raises(ModelUnusable, match="bad tensor"):
        load(Library(DAMAGED, fails=True), Parameters(), model)
    assert capfd.readouterr().err == ""


def test_llama_cpp_reports_what_it_did(
    model: GGUF, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    set_to: list[int] = []
    module = sys.modules[load.__module__]
    monkeypatch.setattr(module, "_verbosity_setter", lambda library: set_to.append)
    log = "load_tensors: offloaded 20/33 layers to GPU\nupdate_slots: all slots are idle"
    parameters = Parameters()
    assert load(Library(log, fails=False), parameters, model)[1] == 20
    log_without = "update_slots: all slots are idle"
    assert load(Library(log_without, fails=False), parameters, model)[1] == 0
    assert (parameters.verbosity, set_to) == (4, [1, 1])
    assert capfd.readouterr().err == ""
    monkeypatch.setattr(module, "_verbosity_setter", lambda library: None)
    assert load(Library(log, fails=False), parameters, model)[1] == 33


def test_the_log_of_a_load_with_details_stays_off_the_terminal(
    model: GGUF, capfd: pytest.CaptureFixture[str]
) -> None:
    """The real library: after the load its log is silenced again."""
    with LLAMA_CPP.open(model, LoadOptions(256, 1, gpu_layers=1)) as engine:
        assert engine.tokenize("Hello")
        assert engine.gpu_layers == 0  # a wheel for the CPU; it takes the layers in silence
    assert capfd.readouterr().err == ""


def test_without_layers_llama_cpp_does_not_use_the_gpu(
    model: GGUF, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, int]] = []

    def loaded(library: Any, params: Any, of: GGUF, log_file: Path | None) -> Any:
        seen.append((params.split_mode.name, params.main_gpu))
        return load(library, params, of)

    monkeypatch.setattr("mistral_cli.engines.llama_cpp.load_log.load", loaded)
    greedy = Sampling(0.0, 1, 1.0, 1.0, 1)
    with LLAMA_CPP.open(model, LoadOptions(256, 1)) as engine:
        assert list(engine.stream(Request((1, 300), 2, greedy)))
    with open_tokenizer(LLAMA_CPP, model) as tokenizer:
        assert tokenizer.tokenize("Hello")
    LLAMA_CPP.open(model, LoadOptions(256, 1, gpu_layers=1)).close()
    alone = ("LLAMA_SPLIT_MODE_NONE", -1)
    assert seen == [alone, alone, ("LLAMA_SPLIT_MODE_LAYER", 0)]


@pytest.mark.parametrize(
    ("line", "of_the_gpu"),
    [
        ("cuBLAS error 3 at ggml-cuda.cu:5031", True),
        ("cuBLAS error 1 at ggml-cuda.cu:1: the library was not initialized", False),
        ("CUDA error: the resource allocation failed", True),
        ("CUDA error 2 at ggml-cuda.cu:5031: out of memory", True),
        ("vk::Device::allocateMemory: ErrorOutOfDeviceMemory", True),
        ("ggml_vulkan: Device memory allocation of size 1073741824 failed.", True),
        ("load_tensors: unable to allocate CUDA0 buffer", True),
        ("ggml_gallocr_reserve_n: failed to allocate Vulkan0 buffer of size 9", True),
        ("ggml_gallocr_reserve_n: failed to allocate CPU buffer of size 9", False),
        ("ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size 9", False),
    ],
)
def test_which_lines_say_that_gpu_memory_ran_out(line: str, of_the_gpu: bool) -> None:
    assert out_of_memory(line) == of_the_gpu
