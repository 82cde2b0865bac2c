"""Around every call of huggingface_hub: its exceptions become ours, its notes the terminal's."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mistral_cli.errors import MistralCliError, UsageError
from mistral_cli.models.hub.errors import explain

if TYPE_CHECKING:
    from mistral_cli.system.reporter import Reporter


@contextmanager
def seam(
    repo: str, filename: str = "", revision: str | None = None, reporter: Reporter | None = None
) -> Iterator[None]:
    """Around every call of the library: its exceptions become ours, its notes the terminal's."""
    try:
        from huggingface_hub import constants

        # Imported for its side effect: it installs the log handler that is replaced below.
        # The library itself imports it late, when our own handler would not be the last word.
        from huggingface_hub.utils import logging as _  # noqa: F401
    except ValueError as error:
        raise UsageError(
            f"a HF_* environment variable has a wrong value: {error}", hint="Correct it."
        ) from error
    logger = logging.getLogger("huggingface_hub")
    handlers, logger.handlers = logger.handlers, [_Notes(reporter)]
    try:
        with warnings.catch_warnings():
            if reporter:
                warnings.showwarning = lambda message, *_: reporter.warn(str(message))
            yield
    except MistralCliError:
        raise
    except Exception as error:
        ours = explain(
            error,
            repo=repo,
            file=filename,
            revision=revision,
            endpoint=constants.ENDPOINT,
            token_file=constants.HF_TOKEN_PATH,
        )
        raise ours from error
    finally:
        logger.handlers = handlers


class _Notes(logging.Handler):
    """The library's log ("Retrying in 4s"): its first line says why it takes so long, the
    others pass by on a terminal and stay with `-v`."""

    def __init__(self, reporter: Reporter | None) -> None:
        super().__init__()
        self.reporter = reporter
        self.say = reporter.note if reporter else None

    def emit(self, record: logging.LogRecord) -> None:
        if self.reporter and self.say:
            # The addresses of the storage host carry a signature: not for logs.
            message = re.sub(r"\?\S+", "", " ".join(record.getMessage().split()))
            self.say(f"waiting for the hub: {message}")
            self.say = self.reporter.info
            self.reporter.status(message)
