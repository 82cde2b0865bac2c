"""Prefix states in llama.cpp's slots: prefilled once, saved, and restored."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mistral_cli.errors import EngineFailed

if TYPE_CHECKING:
    from mistral_cli.engines.llama_cpp.client import LlamaServerClient
    from mistral_cli.engines.types import Prefix, Request, ScoreRequest

Prefill = Callable[[Sequence[int]], bool]
"""Have a slot prefill tokens; False if the reader has left."""


class PrefixStates:
    """Brings slots into the states after prefixes, for one server with `parallel` slots.

    If several streams need the same prefix at once, one of them prefills it. `silently` keeps
    the server's log of a failure from the terminal.
    """

    def __init__(
        self,
        client: LlamaServerClient,
        parallel: int,
        silently: Callable[[], contextlib.AbstractContextManager[None]],
    ) -> None:
        self._client, self._silently = client, silently
        self._shared = parallel > 1
        self._held: dict[int, tuple[int, ...]] = {}
        self._prefilling: defaultdict[tuple[int, ...], threading.Lock] = defaultdict(threading.Lock)

    def prepare(self, slot: int, request: Request | ScoreRequest, prefill: Prefill) -> int | None:
        """Bring `slot` into the state after the prefixes of `request`.

        Returns the number of tokens prefilled for that, or None if the reader has left.
        """
        held = self._held.pop(slot, ())
        prompt = request.prompt_token_ids
        prefixes = [p for p in request.prefixes if _begins(prompt, p) and len(p) < len(prompt)]
        known = len(prefixes)
        while known:
            longest = prefixes[known - 1]
            if _begins(held, longest) or self._restore(slot, longest):
                break
            known -= 1
        first = now = len(prefixes[known - 1]) if known else 0
        for prefix in prefixes[known:]:
            with self._prefilling[prefix.token_ids]:
                if self._shared and self._restore(slot, prefix):
                    first = len(prefix)
                elif not self._prefill(slot, prefix, prefill):
                    return None
            now = len(prefix)
        self.holds(slot, prompt[:now])
        return now - first

    def holds(self, slot: int, tokens: tuple[int, ...]) -> None:
        """Note that `slot` holds the state after `tokens`."""
        self._held[slot] = tokens

    def _prefill(self, slot: int, prefix: Prefix, prefill: Prefill) -> bool:
        started = time.perf_counter()
        if not prefill(prefix.token_ids):
            return False
        took = time.perf_counter() - started
        if prefix.state and (self._shared or took >= prefix.least_seconds):
            self._save(slot, prefix)
        return True

    def _save(self, slot: int, prefix: Prefix) -> None:
        """Write the state, complete or not at all: restoring a cut file ends the process."""
        assert prefix.state
        unfinished = prefix.state.with_suffix(".unfinished")
        try:
            reply = self._post(slot, "save", unfinished)
            # A full disk may show only when the file is closed, which llama.cpp does not check.
            if unfinished.stat().st_size == reply["n_written"]:
                unfinished.replace(prefix.state)
        except (EngineFailed, OSError):
            pass
        finally:
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)

    def _restore(self, slot: int, prefix: Prefix) -> bool:
        if prefix.state is None or not prefix.state.exists():
            return False
        try:
            self._post(slot, "restore", prefix.state)
        except EngineFailed:  # the file has been deleted meanwhile
            return False
        return True

    def _post(self, slot: int, action: str, file: Path) -> dict[str, Any]:
        with self._silently():
            return self._client.post(f"/slots/{slot}?action={action}", {"filename": file.name})


def _begins(tokens: tuple[int, ...], prefix: Prefix) -> bool:
    return tokens[: len(prefix)] == prefix.token_ids
