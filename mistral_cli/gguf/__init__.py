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
from mistral_cli.gguf.header import check_magic, parse
from mistral_cli.gguf.model import GGUF, Array, Tensor
from mistral_cli.gguf.refusal import ANOTHER, refuse

__all__ = ["GGUF", "Array", "Tensor", "read"]


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
                model = parse(path, data)
        check(model)
    except ModelUnusable as error:
        raise ModelUnusable(f"{path}: {error.message}", hint=error.hint) from None
    except (OSError, ValueError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error
        hint = "Check the path and its permissions."
        raise ModelUnusable(f"{path}: cannot be read: {reason}", hint=hint) from error
    return model
