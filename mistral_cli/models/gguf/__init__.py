"""Reads and checks the header of a GGUF file (format: ggml's `docs/gguf.md`).

Inference engines are native code that trusts its input: a damaged header crashes the process
without a Python exception. Therefore no file reaches an engine before `read_gguf` has accepted it.
`read_gguf` reads the header, and of the weights only norms and biases: milliseconds, whatever the
model's size.
"""

from __future__ import annotations

from pathlib import Path

from mistral_cli.errors import ModelUnusable
from mistral_cli.models.gguf.checks import check_model
from mistral_cli.models.gguf.model import GGUF, Array, Tensor
from mistral_cli.models.gguf.reader import HeaderCut, check_magic, open_checked, parse_header
from mistral_cli.models.gguf.weights import check_vectors

__all__ = ["GGUF", "Array", "Tensor", "read", "read_known", "read_start"]


def read_gguf(path: Path) -> GGUF:
    """Read and check the header of the file at `path`.

    An engine can load a file that this function accepts without crashing the process. Raises
    `ModelUnusable` for every other file, including one that cannot be opened.
    """
    return open_checked(path, _check)


def _check(model: GGUF) -> None:
    check_model(model)
    check_vectors(model)


def reread_gguf(path: Path) -> GGUF:
    """Read the header of an unchanged file that `read_gguf` has already accepted.

    Skips all checks: those of the vocabulary take half of the time. Raises `ModelUnusable`.
    """
    return open_checked(path, lambda _: None)


def read_gguf_start(path: Path, start: bytes, file_size: int) -> GGUF | None:
    """Read and check the header in `start`, the first bytes of a file that is not on this machine.

    `path` names the file in messages; `file_size` is in bytes. Returns None if the header
    continues after `start`. Raises `ModelUnusable` for a file that `read_gguf` would refuse.
    """
    try:
        check_magic(start[:64])
        model = parse_header(path, start, file_size)
        check_model(model)
    except ModelUnusable as error:
        if isinstance(error, HeaderCut) and len(start) < file_size:
            return None
        raise ModelUnusable(f"{path}: {error.message}", hint=error.hint) from None
    return model
