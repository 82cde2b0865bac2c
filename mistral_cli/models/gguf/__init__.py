"""Reads and checks the header of a GGUF file (format: ggml's `docs/gguf.md`).

Inference engines are native code that trusts its input: a damaged header crashes the process
without a Python exception. Therefore no file reaches an engine before `read_gguf` has accepted it.
`read_gguf` reads the header, and of the weights only norms and biases: milliseconds, whatever the
model's size.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mistral_cli.models.gguf.checks import check_model
from mistral_cli.models.gguf.model import GGUF, Array, Tensor
from mistral_cli.models.gguf.reader import HeaderCut, check_magic, errors_about, parse_header
from mistral_cli.models.gguf.split import check_part, join, open_model
from mistral_cli.models.gguf.weights import check_vectors

__all__ = [
    "GGUF",
    "Array",
    "Tensor",
    "join_gguf",
    "read_gguf",
    "read_gguf_start",
    "reread_gguf",
]


def read_gguf(path: Path) -> GGUF:
    """Read and check the header of the model at `path`: a file, or any part of a split model.

    An engine can load a file that this function accepts without crashing the process. Raises
    `ModelUnusable` for every other file, including one that cannot be opened, and
    `ModelNotAvailable` for a missing part of a split model.
    """
    return open_model(path, _check)


def _check(model: GGUF) -> None:
    check_model(model)
    check_vectors(model)


def reread_gguf(path: Path) -> GGUF:
    """Read the header of an unchanged file that `read_gguf` has already accepted.

    Skips the checks: those of the vocabulary take half of the time. Raises as `read_gguf` does.
    """
    return open_model(path, lambda _: None)


def read_gguf_start(path: Path, start: bytes, file_size: int) -> GGUF | None:
    """Read the header in `start`, the first bytes of a file that is not on this machine.

    `path` names the file in messages; `file_size` is in bytes. Returns None if the header
    continues after `start`. Raises `ModelUnusable` for what is not a GGUF file.
    """
    with errors_about(path):
        check_magic(start[:64])
        try:
            header = parse_header(path, start, file_size)
        except HeaderCut:
            if len(start) < file_size:
                return None
            raise
        check_part(header)
    return header


def join_gguf(parts: Sequence[GGUF]) -> GGUF:
    """Check the headers that `read_gguf_start` returned for all files of a model, as one model.

    Raises `ModelUnusable` for a model that `read_gguf` would refuse.
    """
    with errors_about(parts[0].path):
        model = join(parts)
        check_model(model)
    return model
