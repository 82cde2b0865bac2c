"""The prompt cache during one run: the states it restores and the states it saves."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mistral_cli.errors import first_line
from mistral_cli.system.config import cache_dir
from mistral_cli.system.files import scratch_folder

if TYPE_CHECKING:
    from mistral_cli.engines.protocol import LoadOptions
    from mistral_cli.engines.selection import EngineSelection
    from mistral_cli.engines.types import Prefix, Request, ScoreRequest
    from mistral_cli.generation.prompt_cache.store import Store
    from mistral_cli.models.gguf import GGUF

# A state is saved if the prefill of its tokens took at least this long, and many times as long as
# reading the state from disk takes: on 2 cores a 7B model takes 50 ms and 128 KiB per token.
_MIN_SECONDS = 0.25
_BYTES_PER_SECOND = 100e6

AnyRequest = TypeVar("AnyRequest", "Request", "ScoreRequest")

_SHARE_OF_LIMIT = 2  # one entry may take half of the limit,
_SHARE_OF_FREE = 4  # and a quarter of the free disk space

Report = Callable[[str], None]
"""Report something to a user who asked for details."""


def states_path() -> Path:
    """The folder of the prompt cache, which may not exist yet."""
    return cache_dir() / "states"


@contextlib.contextmanager
def states_folder(
    selection: EngineSelection, limit: int, parallel: int, report: Report
) -> Iterator[Path | None]:
    """The folder for the engine's states during one run, or None.

    It is the prompt cache's folder if the cache is on, else a temporary one if several streams
    can share states.
    """
    if selection.backend.state_format() is None:
        yield None
    elif limit and _is_usable(states_path(), report):
        yield states_path()
    elif parallel > 1:
        with scratch_folder() as folder:
            yield folder
    else:
        yield None


@dataclass
class PromptCache:
    """Gives requests the states of their prefixes. Safe for several threads.

    `load` has the options of the session. With a `limit` of 0 bytes no state outlives the run.
    Failures are only reported: a prompt can always be prefilled without a state.
    """

    model: GGUF
    name: str
    selection: EngineSelection
    load: LoadOptions
    limit: int
    report: Report
    _prefixes: dict[tuple[int, ...], Prefix] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _store: Store | None = None
    _opened: bool = False

    def look_ahead(self, requests: Sequence[Request]) -> None:
        """Find the states for `requests` in a thread, while the session is being opened.

        Checking the hash of a state takes 25 ms for 300 tokens of a 7B model.
        """

        def look() -> None:
            for request in requests:
                self.prepared(request)

        if requests and self.load.states:
            threading.Thread(target=look, daemon=True, name="prompt-cache").start()

    def prepared(self, request: AnyRequest) -> AnyRequest:
        """`request` with the files that the engine restores its prefixes from or saves them to."""
        if not request.prefixes:
            return request
        with self._lock:
            self._open()
            if self._store is None:
                return request
            prefixes = tuple(self._with_state(prefix, self._store) for prefix in request.prefixes)
        return replace(request, prefixes=prefixes)

    def save(self) -> None:
        """Add the states that the engine wrote to the store, for later runs."""
        if self._store is None or not self.limit:
            return
        with self._lock:
            prefixes = list(self._prefixes.values())
        for prefix in prefixes:
            if prefix.state and prefix.state.suffix == ".new" and prefix.state.exists():
                with self._reporting("cannot save a state"):
                    self._store.add(prefix.state, self._key, prefix.token_ids, self.name)
                    self.report(f"prompt cache: saved {len(prefix)} tokens for later runs")

    def _open(self) -> None:
        engine, load = self.selection.backend, self.load
        if self._opened or load.states is None:
            return
        self._opened = True
        from mistral_cli.generation.prompt_cache.key import state_key
        from mistral_cli.generation.prompt_cache.store import Store

        memory = engine.memory(self.model, load.context_length, load.gpu_layers)
        self._token_bytes = (memory.kv_ram + memory.kv_gpu) // load.context_length
        with self._reporting("is not used"):
            self._key = state_key(self.model, engine, load)
            self._store = Store(load.states, self.limit)

    def _with_state(self, prefix: Prefix, store: Store) -> Prefix:
        if prefix.token_ids not in self._prefixes:
            self._prefixes[prefix.token_ids] = prefix
            with self._reporting("cannot be read"):
                self._prefixes[prefix.token_ids] = self._locate(prefix, store)
        return self._prefixes[prefix.token_ids]

    def _locate(self, prefix: Prefix, store: Store) -> Prefix:
        if self.limit and (path := store.find(self._key, prefix.token_ids)):
            self.report(f"prompt cache: found {len(prefix)} tokens of the prompt")
            return replace(prefix, state=path)
        size = len(prefix) * self._token_bytes
        most = shutil.disk_usage(store.folder).free // _SHARE_OF_FREE
        if self.limit:
            most = min(most, self.limit // _SHARE_OF_LIMIT)
        if size > most:
            self.report(f"prompt cache: a state of {size} bytes is too large to save")
            return prefix
        min_seconds = max(_MIN_SECONDS, size / _BYTES_PER_SECOND)
        return replace(
            prefix, state=store.new(self._key, prefix.token_ids), least_seconds=min_seconds
        )

    @contextlib.contextmanager
    def _reporting(self, problem: str) -> Iterator[None]:
        try:
            yield
        except (OSError, KeyError, TypeError) as error:
            self.report(f"the prompt cache {problem}: {first_line(error)}")


def _is_usable(folder: Path, report: Report) -> bool:
    """Create the folder if needed, readable by this user alone; True if it is writable."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The engines' native code trusts the files in it.
        if folder.stat().st_uid != os.getuid():
            raise PermissionError(f"{folder} belongs to another user")
        folder.chmod(0o700)
        if not os.access(folder, os.W_OK):
            raise PermissionError(f"{folder} cannot be written to")
    except OSError as error:
        report(f"the prompt cache is not used: {first_line(error)}")
        return False
    return True
