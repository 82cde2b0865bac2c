"""Wraps every call of huggingface_hub: its exceptions become ours, its log goes to the reporter."""

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
def hub_call(
    repo: str, filename: str = "", revision: str | None = None, reporter: Reporter | None = None
) -> Iterator[None]:
    """Turn an exception of the library into one of ours, and send its log to the `reporter`.

    The repository, file and revision are for the messages.
    """
    try:
        from huggingface_hub import constants

        # Imported for its side effect: it installs the log handler that is replaced below.
        # The library itself imports it later and would then override our handler.
        from huggingface_hub.utils import logging as _  # noqa: F401
    except ValueError as error:
        raise UsageError(
            f"an HF_* environment variable has an invalid value: {error}",
            hint="Correct it or unset it.",
        ) from error
    logger = logging.getLogger("huggingface_hub")
    handlers, logger.handlers = logger.handlers, [_LogHandler(reporter)]
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


class _LogHandler(logging.Handler):
    """Shows the library's log ("Retrying in 4s"), which explains why a call takes long.

    The first line is a note. Later lines are status lines, and notes with `-v` only.
    """

    def __init__(self, reporter: Reporter | None) -> None:
        super().__init__()
        self.reporter = reporter
        self.print_line = reporter.note if reporter else None

    def emit(self, record: logging.LogRecord) -> None:
        if self.reporter and self.print_line:
            # The URLs of the storage host contain a signature, which must not reach a log.
            message = re.sub(r"\?\S+", "", " ".join(record.getMessage().split()))
            self.print_line(f"waiting for the hub: {message}")
            self.print_line = self.reporter.info
            self.reporter.status(message)
