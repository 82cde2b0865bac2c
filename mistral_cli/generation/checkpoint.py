"""Answers to the parts of a long text, kept until the whole is there.

One JSON line an answer, appended as it comes; a torn last line is an answer not had. The
file is deleted once the text is answered, and when nobody came back to it for a month.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli.generation.answer import Answer, Timings
from mistral_cli.system.config import cache_dir

if TYPE_CHECKING:
    from mistral_cli.generation.planner import Plan

_SECONDS_KEPT = 30 * 24 * 3600
_NO_TIME = Timings(0.0, 0.0, 0.0)


class PartialAnswers:
    """The answers in one file; without a file nothing is kept.

    `found` are those of an earlier run, `count` all that are there.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._answers: dict[str, Answer] = {}
        self._lock = threading.Lock()
        if path:
            self._answers = dict(_read(path))
        self.found = self.count = len(self._answers)

    @classmethod
    def of(cls, plans: Sequence[Plan]) -> PartialAnswers:
        """What is kept for exactly these plans."""
        folder = cache_dir() / "parts"
        _sweep(folder)
        name = hashlib.sha256("".join(map(identity, plans)).encode()).hexdigest()
        return cls(folder / f"{name}.jsonl")

    def get(self, plan: Plan) -> Answer | None:
        """The answer to `plan`, if an earlier run had it."""
        return self._answers.get(identity(plan)) if self._path else None

    def put(self, plan: Plan, answer: Answer) -> None:
        """Keep an answer. A disk that takes it not is no reason to stop."""
        if self._path is None:
            return
        line = json.dumps({"key": identity(plan), **asdict(answer), "timings": None})
        with self._lock, contextlib.suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(descriptor, "ab") as file:
                file.write(line.encode() + b"\n")
            self.count += 1

    def forget(self) -> None:
        """The whole is there: delete the file."""
        if self._path:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)


def identity(plan: Plan) -> str:
    """A digest of all that an answer depends on, but for a seed that nobody chose."""
    model = plan.model.path.stat()
    sampling = asdict(plan.request.sampling)
    if not plan.seed_given:
        del sampling["seed"]
    told = [
        str(plan.model.path.resolve()),
        model.st_size,
        model.st_mtime_ns,
        plan.selection.backend.name,
        list(plan.request.prompt_token_ids),
        plan.request.max_tokens,
        plan.request.grammar,
        sampling,
        plan.stop,
        *(each.identity for each in plan.load.adapters),
        *(("guessed",) if plan.load.speculative else ()),
    ]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _read(path: Path) -> list[tuple[str, Answer]]:
    answers = []
    with contextlib.suppress(OSError):
        for line in path.read_bytes().splitlines():
            with contextlib.suppress(ValueError, TypeError, KeyError):
                values = json.loads(line)
                answers.append((values.pop("key"), Answer(**{**values, "timings": _NO_TIME})))
    return answers


def _sweep(folder: Path) -> None:
    oldest = time.time() - _SECONDS_KEPT
    with contextlib.suppress(OSError):
        for path in folder.glob("*.jsonl"):
            if path.stat().st_mtime < oldest:
                path.unlink(missing_ok=True)
