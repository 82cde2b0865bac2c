"""Why an engine could not load a model: its log → an error that names the tensor or the key.

Both engines are llama.cpp, of different years. They check more than we do: every architecture
has tensors and keys of its own. What is wrong with the file they only log.
"""

from __future__ import annotations

import re
import shlex
import signal
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli.errors import EngineFailed, LimitReached, MistralCliError, ModelUnusable
from mistral_cli.models.gguf.checks import CONVERT, DAMAGED
from mistral_cli.system.machine import memory_is_limited

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mistral_cli.models.gguf import GGUF

_NEWER = "Update the engine (pip install --upgrade xllamacpp), or use another model."
_ROOM = "Close other programs, or use a smaller -c/--context-length or another model."

# What a line of the log says about the file: a pattern, the problem, and the next step.
_FILE_PROBLEMS = (
    (r"tensor '(.+?)' not found", "has no tensor {0!r}, which {engine} needs", DAMAGED),
    (
        r"tensor '(.+?)' has wrong shape; expected +(.+?), got +(.+)",
        "tensor {0!r} has the shape {2}, and {engine} expects {1}",
        DAMAGED,
    ),
    (r"key not found in model: (\S+)", "has no metadata {0!r}, which {engine} needs", CONVERT),
    (
        r"key (\S+) has wrong type:? (\w+)(?: but expected type (\w+))?",
        "metadata {0!r} has the type {1}, with which {engine} cannot read it",
        CONVERT,
    ),
    (
        r"tensor '(.+?)' has invalid ggml type (\d+)",
        "tensor {0!r} has the type {1}, which neither this program nor {engine} knows",
        _NEWER,
    ),
    (
        r"unknown model architecture: '(.*?)'",
        "has the architecture {0!r}, which {engine} does not know",
        _NEWER,
    ),
    (
        r"unknown pre-tokenizer type: '(.*?)'",
        "has the pre-tokenizer {0!r} ('tokenizer.ggml.pre'), which {engine} does not know",
        _NEWER,
    ),
    (
        r"invalid n_rot: (\d+), expected (\d+)",
        "metadata '{architecture}.rope.dimension_count' is {0}, and {engine} expects {1}",
        CONVERT,
    ),
    (
        r"(?:gguf_init_from_\w+|error loading model(?: \w+)?|load_tensors): (.*'.+'.*)",
        "{engine} cannot read it: {0}",
        DAMAGED,
    ),
)
_PATH = re.compile(r"failed to load (?:draft )?model,? '(.+)'")
_CRASHES = {-signal.SIGABRT, -signal.SIGBUS, -signal.SIGFPE, -signal.SIGILL, -signal.SIGSEGV}
_COUNT = re.compile(r"wrong number of tensors; expected (\d+), got (\d+)")
_NO_ROOM = re.compile(
    r"(?:failed|unable|cannot|could not) to (?:allocate|mmap|map|lock|create thread)|mmap failed"
    r"|out of memory|bad_alloc|cannot allocate|too many open files|temporarily unavailable"
    r"|no room for its context",
    re.IGNORECASE,
)
_REASON = re.compile(r"error loading model: (?:error loading model \w+: )?(?:\w+: )?(.+)")
_LAYER = re.compile(r"blk\.(\d+)\.(.+)")
_USUAL = re.compile(r"(?:attn_(?:norm|q|k|v|output)|ffn_(?:norm|gate|up|down))\.weight")
# What llama.cpp writes before a message: the time, the level, the place.
_PREFIX = re.compile(r"^[\d.]+ +[A-Z] +(?:\w+ +)?(?:\w+: )?")


def load_failure(engine: str, model: GGUF, log: str, ending: str) -> MistralCliError:
    """The error for a load of `model` that failed with `log`; `ending` describes how.

    ModelUnusable if the file is the reason, LimitReached without memory, else EngineFailed.
    """
    lines = [line.strip() for line in log.splitlines()]
    named = next(filter(None, map(_PATH.search, lines)), None)
    path = Path(named[1]) if named else model.path  # it may be the draft model's
    if reason := next((line for line in lines if _NO_ROOM.search(line)), None):
        return LimitReached(_message(engine, reason), hint=_ROOM)
    for pattern, problem, hint in _FILE_PROBLEMS:
        if found := next(filter(None, (re.search(pattern, line) for line in lines)), None):
            values = [_plain(value) for value in found.groups()]
            names = {"engine": engine, "architecture": model.architecture}
            return ModelUnusable(f"{path}: {problem.format(*values, **names)}", hint=hint)
    if found := _COUNT.search(log):
        problem = _surplus(engine, model, *map(int, found.groups()))
        return ModelUnusable(f"{path}: {problem}", hint=CONVERT)
    if found := _REASON.search("\n".join(lines)):
        return ModelUnusable(f"{path}: {engine} cannot read it: {found[1]}", hint=CONVERT)
    # Some lines contain the path, which may contain the word.
    errors = (line for line in lines if "error" in line.replace(str(path), "").lower())
    hint = f"Check the file: {_verify(path)}"
    return EngineFailed(_message(engine, next(errors, ending)), hint=hint)


def load_crash(path: Path, status: int, ending: str) -> ModelUnusable | None:
    """The error if a process that was loading a file crashed in native code; None if it did not.

    `status` is its exit status as `subprocess` reports it, and `ending` describes that.
    """
    if status not in _CRASHES or _NO_ROOM.search(ending):
        return None
    if memory_is_limited():  # an allocation that fails aborts, and its message may be missing
        return None
    return ModelUnusable(
        f"{path}: the engine crashed while it loaded this file: {ending}",
        hint=f"Check the file: {_verify(path)}",
    )


def _message(engine: str, reason: str) -> str:
    return f"{engine} cannot load the model: {_PREFIX.sub('', reason)}"


def _verify(path: Path) -> str:
    return f"mistral-cli models verify {shlex.quote(str(path))}"


def _plain(value: str | None) -> str:
    """A shape in llama.cpp's columns ("   32,     1") as one without them."""
    return re.sub(r" {2,}", " ", (value or "").strip())


def _surplus(engine: str, model: GGUF, declared: int, used: int) -> str:
    """Name tensors that no model of this kind has: the engine only counts them."""
    names = [tensor.name for tensor in model.tensors]
    problem = f"has {declared} tensors, and {engine} knows {used} of them"
    if likely := _odd_ones(names, model.block_count)[: declared - used]:
        problem += f": probably not {', '.join(map(repr, likely[:3]))}"
        problem += f" and {declared - used - 3} more" if declared - used > 3 else ""
    return problem


def _odd_ones(names: Sequence[str], layers: int) -> list[str]:
    """Tensors of layers that the metadata does not count, of single layers, or of no kind."""
    blocks = {name: match for name in names if (match := _LAYER.fullmatch(name))}
    beyond = [name for name, match in blocks.items() if int(match[1]) >= layers]
    kinds = Counter(match[2] for match in blocks.values())
    rare: Iterable[str] = (n for n, match in blocks.items() if kinds[match[2]] < min(layers, 2))
    usual = ("token_embd", "output", "rope_f")
    others = (n for n in names if n not in blocks and not n.startswith(usual))
    unusual = (name for name, match in blocks.items() if not _USUAL.fullmatch(match[2]))
    last = [name for name in names if name == "output.weight"]  # if it is the embedding's
    return list(dict.fromkeys([*beyond, *rare, *others, *unusual, *last]))
