"""Read and check the header of a GGUF file (format: ggml's `docs/gguf.md`).

Inference engines are native code that trusts its input: a damaged header ends the process without
a Python exception. Therefore no file reaches an engine before `read_gguf` has accepted it.
`read_gguf` reads the header only, never the weights: milliseconds, whatever the model's size.
"""

from __future__ import annotations

from pathlib import Path

from mistral_cli.errors import ModelUnusable
from mistral_cli.models.gguf.checks import check
from mistral_cli.models.gguf.model import GGUF, Array, Tensor
from mistral_cli.models.gguf.reader import HeaderCut, check_magic, open_checked, parse

__all__ = ["GGUF", "Array", "Tensor", "read", "read_known", "read_start"]


def read_gguf(path: Path) -> GGUF:
    """Read and check the header of the file at `path`.

    What it returns can be given to an engine without danger to the process. Raises
    `ModelUnusable` for everything else, a file that cannot be opened included.
    """
    return open_checked(path, check)


def reread_gguf(path: Path) -> GGUF:
    """Read the header of an unchanged file that `read_gguf` has already accepted.

    Skips the checks of the vocabulary, which take half of the time. Raises `ModelUnusable`.
    """
    return open_checked(path, lambda _: None)


def read_gguf_start(path: Path, start: bytes, file_size: int) -> GGUF | None:
    """Read and check a header that is in `start`, the first bytes of a file elsewhere.

    Takes the file's name, for messages, and its size in bytes. Returns None when the header
    goes on after `start`. Raises `ModelUnusable` for what `read_gguf` would refuse.
    """
    try:
        check_magic(start[:64])
        model = parse(path, start, file_size)
        check(model)
    except ModelUnusable as error:
        if isinstance(error, HeaderCut) and len(start) < file_size:
            return None
        raise ModelUnusable(f"{path}: {error.message}", hint=error.hint) from None
    return model
