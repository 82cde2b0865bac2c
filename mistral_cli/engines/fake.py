"""A scripted engine: the product's own code can be tried without any model weights.

`--engine fake` runs it; `MISTRAL_CLI_FAKE` names a JSON file with any of `pieces` (a list
of texts), `finish_reason`, `delay` (seconds before each event) and `error`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from mistral_cli.engines.base import (
    Engine,
    Event,
    Finish,
    FinishReason,
    LoadOptions,
    Piece,
    PromptProgress,
    Request,
)
from mistral_cli.errors import EngineFailed
from mistral_cli.gguf import GGUF


@dataclass(frozen=True)
class Script:
    """What a FakeEngine says to every request."""

    pieces: Sequence[str] = ("Hello", " from", " the", " fake", " engine.")
    finish_reason: FinishReason = "stop"
    delay: float = 0.0
    error: str | None = None

    @classmethod
    def from_environment(cls) -> Script:
        """The script that MISTRAL_CLI_FAKE names, or the default."""
        path = os.environ.get("MISTRAL_CLI_FAKE")
        return cls(**json.loads(Path(path).read_text(encoding="utf-8"))) if path else cls()


class FakeEngine(Engine):
    """Yields its script, a piece a token; remembers the requests it was given."""

    name = "fake"
    requests: ClassVar[list[Request]] = []

    @classmethod
    def missing(cls) -> str | None:
        """See Engine."""
        return None

    @classmethod
    def unsupported(cls, model: GGUF) -> str | None:  # noqa: ARG003
        """See Engine."""
        return None

    @classmethod
    def no_gpu(cls) -> str | None:
        """See Engine."""
        return "the fake engine computes nothing"

    def __init__(self, model: GGUF, options: LoadOptions, script: Script | None = None) -> None:
        """See Engine."""
        self._context_length = options.context_length
        self._script = script or Script.from_environment()
        self._open = True
        self._offset = len(model.tokens) - 256

    @property
    def context_length(self) -> int:
        """See Engine."""
        return self._context_length

    def tokenize(self, text: str) -> list[int]:
        """See Engine: one token a byte, from the end of the vocabulary."""
        self._check_open()
        return [self._offset + byte for byte in text.encode("utf-8", "replace")]

    def stream(self, request: Request) -> Generator[Event, None, None]:
        """See Engine."""
        self._check_open()
        self.requests.append(request)
        return self._events(request)

    def close(self) -> None:
        """See Engine."""
        self._open = False

    def _check_open(self) -> None:
        if not self._open:
            raise EngineFailed("the model is closed", hint="Open it again.")

    def _events(self, request: Request) -> Generator[Event, None, None]:
        script, total = self._script, len(request.prompt_token_ids)
        yield PromptProgress(0, total)
        time.sleep(script.delay)
        yield PromptProgress(total, total)
        if script.error:
            raise EngineFailed(script.error, hint="This failure is scripted.")
        pieces = script.pieces[: request.max_tokens]
        for piece in pieces:
            time.sleep(script.delay)
            yield Piece(piece)
        cut = len(pieces) < len(script.pieces)
        yield Finish("length" if cut else script.finish_reason, len(pieces))
