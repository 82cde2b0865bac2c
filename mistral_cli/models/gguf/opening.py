"""Open a GGUF file and parse its header, whatever it holds."""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli.errors import ModelUnusable
from mistral_cli.models.gguf.reader import check_magic, parse
from mistral_cli.models.gguf.refusal import ANOTHER, refuse

if TYPE_CHECKING:
    from mistral_cli.models.gguf.model import GGUF


def open_checked(path: Path, check: Callable[[GGUF], None]) -> GGUF:
    """The header of the file at `path` if `check` does not raise.

    Raises `ModelUnusable`, which names the file, also for one that cannot be opened.
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
