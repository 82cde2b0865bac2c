"""Read and check the header of a GGUF file (format: ggml's `docs/gguf.md`).

Inference engines are native code that trusts its input: a damaged header ends the process without
a Python exception. So no file reaches an engine before `read` has accepted it. Only the header is
looked at, never the weights, which takes milliseconds whatever the size of the model.
"""

from __future__ import annotations

import mmap
import os
import stat
from pathlib import Path

from mistral_cli.errors import ModelUnusable
from mistral_cli.gguf.checks import check
from mistral_cli.gguf.header import HeaderCut, check_magic, parse
from mistral_cli.gguf.model import GGUF, Array, Tensor
from mistral_cli.gguf.refusal import ANOTHER, refuse

__all__ = ["GGUF", "Array", "Tensor", "read", "read_start"]


def read(path: Path) -> GGUF:
    """Read and check the header of the file at `path`.

    What it returns can be given to an engine without danger to the process. Raises
    `ModelUnusable` for everything else, a file that cannot be opened included.
    """
    try:
        # A pipe would block at open, so look before.
        if not stat.S_ISREG(path.stat().st_mode):
            refuse("is not a regular file", ANOTHER)
        with path.open("rb") as file:
            check_magic(file.read(64))
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                model = parse(path, data, len(data))
        check(model)
    except ModelUnusable as error:
        raise ModelUnusable(f"{path}: {error.message}", hint=error.hint) from None
    except (OSError, ValueError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error
        hint = "Check the path and its permissions."
        raise ModelUnusable(f"{path}: cannot be read: {reason}", hint=hint) from error
    return model


def read_start(path: Path, start: bytes, file_size: int) -> GGUF | None:
    """Read and check a header that is in `start`, the first bytes of a file elsewhere.

    Takes the file's name, for messages, and its size in bytes. Returns None when the header
    goes on after `start`. Raises `ModelUnusable` for what `read` would refuse.
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
