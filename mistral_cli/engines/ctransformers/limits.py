"""The limits of ctransformers 0.2.27: whatever would end the process is found out before."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mistral_cli.engines.hardware import cuda

if TYPE_CHECKING:
    from mistral_cli.models.dimensions import Dimensions
    from mistral_cli.models.gguf import GGUF

# F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 and Q2_K to Q6_K: the types of September 2023.
_KNOWN_TYPES = frozenset({0, 1, 2, 3, 6, 7, 8, 10, 11, 12, 13, 14})

_F32 = 0

_OWN_OUTPUT = "an output.weight of its own"
_SCORES = "tokenizer scores"
_ARCHITECTURE = "llama"

# The extra "cuda" of this project, wherever the project itself came from.
RUNTIME_COMMAND = "pip install 'ctransformers[cuda]==0.2.27'"
_OLDEST_CAPABILITY = (5, 2)
_RUNTIME_LIBRARIES = {"cuda_runtime": "libcudart.so.12", "cublas": "libcublas.so.12"}

# Printable ASCII, newline, and the replacement for a character that cannot be tokenized.
_COMMON_BYTES = frozenset({*range(0x20, 0x7F), 0x0A, *"\ufffd".encode()})

_LAYER_TENSORS = (
    *("attn_norm", "attn_q", "attn_k", "attn_v", "attn_output"),
    *("ffn_norm", "ffn_gate", "ffn_up", "ffn_down"),
)


def unreadable(model: GGUF) -> str | None:
    """Why the library cannot read `model`, which would end the process; None if it can."""
    if model.other_parts:
        return f"it loads a model from one file, and this one is split into {len(model.files)}"
    if model.architecture != _ARCHITECTURE:
        return _other_architecture(model.architecture)
    tensors = {tensor.name for tensor in model.tensors}
    there = {
        _SCORES: "tokenizer.ggml.scores" in model.metadata,
        "token types": model.token_types is not None,
        _OWN_OUTPUT: "output.weight" in tensors,
        "a token for every common byte": not missing_bytes(model) & _COMMON_BYTES,
    }
    if lacking := _lacking(there):
        return lacking
    unknown = {t.type_name for t in model.tensors if t.type not in _KNOWN_TYPES}
    if unknown:
        return f"it is older than the tensor type {', '.join(sorted(unknown))}"
    if extra := sorted(tensors - _known_tensors(model.block_count)):
        return f"it does not know the tensor {extra[0]}"
    return None


def unreadable_built_in(dimensions: Dimensions) -> str | None:
    """`unreadable` for a built-in model, of which only the dimensions are known."""
    if dimensions.architecture != _ARCHITECTURE:
        return _other_architecture(dimensions.architecture)
    # A vocabulary with merges has no scores.
    return _lacking({_SCORES: not dimensions.merges, _OWN_OUTPUT: dimensions.has_output_weight})


def _lacking(there: Mapping[str, bool]) -> str | None:
    lacking = [what for what, is_there in there.items() if not is_there]
    return f"it needs {', '.join(lacking)}, which this file lacks" if lacking else None


def _other_architecture(name: str) -> str:
    return f"it reads the {_ARCHITECTURE} architecture only, not {name!r}"


def no_kernels(model: GGUF) -> str | None:
    """Why the CUDA library would end the process: seen on an H100 with a model in F32."""
    if any(t.type == _F32 and len(t.shape) > 1 for t in model.tensors):
        return "its CUDA library cannot multiply matrices in F32, which this file has"
    return None


def missing_bytes(model: GGUF) -> frozenset[int]:
    """The bytes without a token of their own; to tokenize one ends the process."""
    tokens = set(model.tokens)
    if model.tokenizer_model == "llama":
        return frozenset(byte for byte in range(256) if b"<0x%02X>" % byte not in tokens)
    return frozenset(byte for byte in range(256) if bytes([byte]) not in tokens)


def _known_tensors(layers: int) -> set[str]:
    known = {"token_embd.weight", "output_norm.weight", "output.weight"}
    return known | {f"blk.{i}.{n}.weight" for i in range(layers) for n in _LAYER_TENSORS}


def too_weak(driver: cuda.Driver) -> bool:
    """Whether a GPU is older than the CUDA library knows."""
    return bool(driver.gpus) and driver.weakest < _OLDEST_CAPABILITY


def no_cuda() -> str | None:
    """Why ctransformers' CUDA 12 library cannot run here, or None if it can.

    We must know before the call: if the driver is missing or too old, that library
    prints "CUDA error 35" and calls exit(1).
    """
    driver = cuda.query_driver()
    if driver.problem:
        return driver.problem
    if driver.cuda_version and driver.too_old:
        return "the NVIDIA driver supports CUDA {}.{}, not 12".format(*driver.cuda_version)
    if too_weak(driver):
        return "compute capability {}.{} is below 5.2".format(*driver.weakest)
    return _library_problem()


def _library_problem() -> str | None:
    if _all_from_pypi():
        return None
    for library in _RUNTIME_LIBRARIES.values():
        try:
            cuda.open_library(library)
        except OSError:
            return f"{library} is missing ({RUNTIME_COMMAND})"
    return None


def _all_from_pypi() -> bool:
    """Whether ctransformers finds NVIDIA's PyPI packages: it looks in the first folder only."""
    spec = importlib.util.find_spec("nvidia")
    folder = next(iter(spec.submodule_search_locations or ()), None) if spec else None
    libraries = _RUNTIME_LIBRARIES.items()
    return folder is not None and all(
        (Path(folder) / package / "lib" / library).is_file() for package, library in libraries
    )


def wrong_processor(package: Path) -> str | None:
    """Why the packaged library cannot run on this processor, or None; its wheel claims "any"."""
    processor = platform.machine()
    compiled_here = (package / "lib" / "local").is_dir()
    if platform.system() != "Linux" or processor == "x86_64" or compiled_here:
        return None
    return f"the library in the package ctransformers is for x86-64, and this is {processor}"


def variant(gpu_layers: int) -> str | None:
    """The packaged library to load; None leaves the choice to the package.

    The package uses py-cpuinfo, which takes over a second.
    """
    if gpu_layers > 0:
        return "cuda" if platform.system() == "Linux" else None
    try:
        cpu = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    flags = set(next((line for line in cpu.splitlines() if line.startswith("flags")), "").split())
    if {"avx2", "fma", "f16c"} <= flags:
        return "avx2"
    return "avx" if {"avx", "f16c"} <= flags else "basic"


class _Parameters(ctypes.Structure):
    """llama.h's `llama_context_params` of September 2023."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("seed", "ctx", "batch", "gpu_layers", "main_gpu")),
        *(("tensor_split", ctypes.c_void_p), ("rope_base", ctypes.c_float)),
        *(("rope_scale", ctypes.c_float), ("progress", ctypes.c_void_p)),
        ("progress_data", ctypes.c_void_p),
        *((name, ctypes.c_bool) for name in ("low_vram", "mul_mat_q", "f16_kv", "logits_all")),
        *((name, ctypes.c_bool) for name in ("vocab_only", "mmap", "mlock", "embedding")),
    )


_Log = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_silent = _Log(lambda _level, _text, _data: None)  # llama.cpp keeps a pointer: never free it


def load_log(library: Any, path: Path) -> str:
    """Load again through the llama.cpp inside `library`, and return its log."""
    lines: list[str] = []
    log = _Log(lambda _level, text, _data: lines.append(text.decode(errors="replace").strip()))
    library.llama_context_default_params.restype = _Parameters
    library.llama_load_model_from_file.argtypes = [ctypes.c_char_p, _Parameters]
    library.llama_load_model_from_file.restype = ctypes.c_void_p
    library.llama_free_model.argtypes = [ctypes.c_void_p]
    library.llama_log_set(log, None)
    try:
        parameters = library.llama_context_default_params()
        model = library.llama_load_model_from_file(os.fsencode(path), parameters)
    finally:
        library.llama_log_set(_silent, None)
    if model:
        library.llama_free_model(model)
        return "there is no room for its context"
    return "\n".join(lines)
