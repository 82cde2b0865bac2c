"""Checkpoints: the answers about chunks of a long text, on disk until the text is answered.

A file has one JSON line per answer, appended when the answer is complete; a torn line is ignored.
The file is deleted once the text is answered, or after a month in which no run changed it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli.generation.answer import Answer, Timings
from mistral_cli.models.remote import RemoteModel
from mistral_cli.system.config import cache_dir
from mistral_cli.system.strict_json import read_object, to_dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mistral_cli.generation.planner import PreparedRequest, RequestPlanner

_MAX_AGE_SECONDS = 30 * 24 * 3600
_NO_TIME = Timings(0.0, 0.0, 0.0)


class PartialAnswers:
    """The answers to the requests of one job, by digest. Without a file none is saved.

    `resumed` counts the answers of an earlier run. Safe for several threads.
    """

    def __init__(self, planner: RequestPlanner | None = None, path: Path | None = None) -> None:
        self._planner = planner
        self._path = path
        self._answers: dict[str, Answer] = dict(_read(path)) if path else {}
        self._lock = threading.Lock()
        self._saved = set(self._answers)
        self.resumed = len(self._answers)

    @property
    def count(self) -> int:
        """The number of requests whose answers are saved."""
        return len(self._saved)

    @classmethod
    def of(cls, planner: RequestPlanner, requests: Sequence[PreparedRequest]) -> PartialAnswers:
        """The answers saved for exactly these requests. A single request needs no file."""
        if len(requests) < 2:
            return cls()
        folder = cache_dir() / "parts"
        _sweep(folder)
        digests = (request_digest(planner, each) for each in requests)
        name = hashlib.sha256("".join(digests).encode()).hexdigest()
        return cls(planner, folder / f"{name}.jsonl")

    def get(self, prepared: PreparedRequest) -> Answer | None:
        """The answer that an earlier run got to this request."""
        if self._path is None or self._planner is None:
            return None
        return self._answers.get(request_digest(self._planner, prepared))

    def put(self, prepared: PreparedRequest, answer: Answer) -> None:
        """Save an answer, in place of an earlier one. The run goes on if it cannot be written."""
        if self._path is None or self._planner is None:
            return
        key = request_digest(self._planner, prepared)
        line = json.dumps({"key": key, **asdict(answer), "timings": None})
        with self._lock, contextlib.suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(descriptor, "ab") as file:
                file.write(line.encode() + b"\n")
            self._saved.add(key)

    def delete(self) -> None:
        """Delete the file, once the whole text is answered."""
        if self._path:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)


def request_digest(planner: RequestPlanner, prepared: PreparedRequest) -> str:
    """A digest of all that an answer depends on, except for a random seed."""
    request = prepared.request
    model = planner.config.model
    is_remote = isinstance(model, RemoteModel)
    states = [] if is_remote else [(path, path.stat()) for path in model.files]
    sampling = asdict(request.sampling)
    if not prepared.fixed_seed:
        del sampling["seed"]
    content = [
        *([model.identity] if isinstance(model, RemoteModel) else []),
        *(
            value
            for path, state in states
            for value in (str(path.resolve()), state.st_size, state.st_mtime_ns)
        ),
        planner.config.selection.backend.name,
        list(request.prompt_token_ids),
        request.max_tokens,
        request.grammar,
        request.thinking.limit if request.thinking else None,
        sampling,
        prepared.stop,
        *(each.identity for each in planner.load.adapters),
        *(("guessed",) if planner.load.speculative else ()),
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _read(path: Path) -> list[tuple[str, Answer]]:
    answers = []
    with contextlib.suppress(OSError):
        for line in path.read_bytes().splitlines():
            with contextlib.suppress(ValueError, TypeError, KeyError):
                values = read_object(line)
                key = str(values.pop("key"))
                answers.append((key, to_dataclass(Answer, {**values, "timings": _NO_TIME})))
    return answers


def _sweep(folder: Path) -> None:
    oldest = time.time() - _MAX_AGE_SECONDS
    with contextlib.suppress(OSError):
        for path in folder.glob("*.jsonl"):
            if path.stat().st_mtime < oldest:
                path.unlink(missing_ok=True)
