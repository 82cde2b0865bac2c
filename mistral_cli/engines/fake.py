"""A scripted engine, to try the program without any model weights.

`--engine fake` runs it. `MISTRAL_CLI_FAKE` names a JSON file with any of `pieces` (a list
of texts), `finish_reason`, `delay` (seconds before each event, and to prefill a prefix) and
`error`. To tell the rows of a batch apart, `echo` answers with the last words of the prompt
instead. A continuation has the log-probability that `scores` has for its text, or -0.1 if it is
one of those last words, else -3. Where the prompt contains the word `crash_on` the process aborts,
with `hang_on` nothing more comes, and `fail_on` raises an error. Each answer takes `leak` bytes of
memory and keeps them.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli.engines.protocol import Backend, LoadOptions, Session
from mistral_cli.engines.types import (
    Event,
    Finish,
    FinishReason,
    PrefillProgress,
    Request,
    ScoreRequest,
    Scores,
    TextDelta,
)
from mistral_cli.errors import EngineFailed
from mistral_cli.system.files import write_atomically

if TYPE_CHECKING:
    from mistral_cli.models.gguf import GGUF


@dataclass(frozen=True)
class Script:
    """The answer to every request, or what happens instead of one."""

    pieces: Sequence[str] = ("Hello", " from", " the", " fake", " engine.")
    finish_reason: FinishReason = "stop"
    delay: float = 0.0
    error: str | None = None
    echo: bool = False
    crash_on: str | None = None
    hang_on: str | None = None
    fail_on: str | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    leak: int = 0

    @classmethod
    def from_environment(cls) -> Script:
        """The script in the file that MISTRAL_CLI_FAKE names, or the default one."""
        path = os.environ.get("MISTRAL_CLI_FAKE")
        return cls(**json.loads(Path(path).read_text(encoding="utf-8"))) if path else cls()


class Fake(Backend):
    """The scripted engine. Nothing but its name can select it: it is for tests."""

    name = "fake"
    takes_adapters = True

    def offered(self) -> bool:
        """Never."""
        return False

    def missing(self) -> str | None:
        """It needs no library."""
        return None

    def no_gpu(self) -> str | None:
        """It has nothing to compute."""
        return "the fake engine computes nothing"

    def state_format(self) -> str | None:
        """It saves the token ids of a prefix."""
        return "fake"

    def open(self, model: GGUF, options: LoadOptions) -> Session:
        """Open the script that MISTRAL_CLI_FAKE names, or the default one."""
        return FakeSession(model, options)


class FakeSession(Session):
    """Yields its script, one piece per token."""

    def __init__(self, model: GGUF, options: LoadOptions, script: Script | None = None) -> None:
        self._context_length = options.context_length
        self._script = script or Script.from_environment()
        self._open = True
        self._offset = len(model.tokens) - 256
        self._leaked: list[bytes] = []

    @property
    def context_length(self) -> int:
        """The context that it was opened with."""
        return self._context_length

    def tokenize(self, text: str) -> list[int]:
        """One token per byte, from the end of the vocabulary."""
        self._check_open()
        return [self._offset + byte for byte in text.encode("utf-8", "replace")]

    def stream(self, request: Request) -> Generator[Event, None, None]:
        """Yield the script, cut at the request's limit."""
        self._check_open()
        return self._events(request)

    def score(self, request: ScoreRequest) -> Generator[Event, None, None]:
        """Yield the scripted log-probabilities."""
        self._check_open()
        prompt = yield from self._read(request)
        yield Scores(tuple(self._logprob(prompt, each) for each in request.continuations), 1)

    def _logprob(self, prompt: str, continuation: Sequence[int]) -> float:
        text = self._text(continuation).strip()
        spoken = text in [word.strip() for word in _last_words(prompt)]
        return self._script.scores.get(text, -0.1 if spoken else -3.0)

    def close(self) -> None:
        """Refuse further requests."""
        self._open = False

    def _check_open(self) -> None:
        if not self._open:
            raise EngineFailed("the model is closed", hint="Open it again.")

    def _events(self, request: Request) -> Generator[Event, None, None]:
        script = self._script
        self._leaked.append(b"\1" * script.leak)
        prompt = yield from self._read(request)
        whole = _last_words(prompt) if script.echo else _after(request.written, script.pieces)
        pieces = whole[: request.max_tokens]
        markers = [text for _, text in request.thinking.tokens] if request.thinking else []
        for piece in pieces:
            time.sleep(script.delay)
            yield TextDelta(piece, marker=piece in markers)
        cut = len(pieces) < len(whole)
        yield Finish("length" if cut else script.finish_reason, len(pieces))

    def _read(self, request: Request | ScoreRequest) -> Generator[Event, None, str]:
        """Prefill the prompt, and return its text."""
        script, total = self._script, len(request.prompt_token_ids)
        cached = self._restored(request)
        yield PrefillProgress(cached, total, cached)
        time.sleep(script.delay)
        yield PrefillProgress(total, total, cached)
        if script.error:
            raise EngineFailed(script.error, hint="This failure is scripted.")
        prompt = self._text(request.prompt_token_ids)
        _misbehave(script, prompt)
        return prompt

    def _restored(self, request: Request | ScoreRequest) -> int:
        """The number of prompt tokens restored from a state; saves the states of other prefixes."""
        cached = 0
        for prefix in request.prefixes:
            state = json.dumps(prefix.token_ids)
            if prefix.state and prefix.state.exists():
                if prefix.state.read_text(encoding="utf-8") != state:
                    os.abort()  # as native code may
                cached = len(prefix)
            elif prefix.state and self._script.delay >= prefix.least_seconds:
                # Another slot may restore it at any time.
                write_atomically(prefix.state, state.encode())
        return cached

    def _text(self, token_ids: Sequence[int]) -> str:
        """The text that these tokens encode, without control tokens."""
        codes = (token - self._offset for token in token_ids)
        return bytes(code for code in codes if code >= 0).decode("utf-8", "replace")


def _after(written: str, pieces: Sequence[str]) -> Sequence[str]:
    """The rest of the script after its beginning `written`."""
    whole = "".join(pieces)
    return [whole.removeprefix(written)] if written and whole.startswith(written) else pieces


def _last_words(prompt: str) -> list[str]:
    """Up to three words of the user's text, with spaces between."""
    words = (prompt.rpartition("[/INST]")[0] or prompt).split()[-3:]
    return [" " * (index > 0) + word for index, word in enumerate(words)]


def _misbehave(script: Script, prompt: str) -> None:
    if script.crash_on and script.crash_on in prompt:
        os.abort()
    if script.hang_on and script.hang_on in prompt:
        time.sleep(10**6)
    if script.fail_on and script.fail_on in prompt:
        raise EngineFailed(f"the prompt has {script.fail_on}", hint="This failure is scripted.")
