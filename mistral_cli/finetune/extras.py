"""The libraries of the extra `finetune`: check that they are installed, and silence them."""

from __future__ import annotations

import importlib.util
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from mistral_cli.errors import UsageError

_NEEDED = ("torch", "transformers", "peft", "trl", "accelerate", "datasets", "gguf", "matplotlib")
_LOUD = ("trl", "accelerate", "peft", "torch", "bitsandbytes")
_INSTALL = "pip install 'mistral-cli[finetune]'"
_INSTALL_NF4 = "pip install 'mistral-cli[finetune,nf4]'"


def check_installed(*, nf4: bool = False) -> None:
    """Raise UsageError with the install command if a library is missing."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"fine-tuning needs {', '.join(missing)}", hint=f"Install: {_INSTALL}")
    if nf4 and importlib.util.find_spec("bitsandbytes") is None:
        raise UsageError("--nf4 needs bitsandbytes", hint=f"Install: {_INSTALL_NF4}")


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Suppress the libraries' log messages, progress bars and warnings."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    for name in _LOUD:
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings(action="ignore"):
        import datasets
        import transformers

        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        datasets.disable_progress_bars()
        yield
