"""The system refuses a thread: the request fails, and the next one has its slot."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from support.http_api import recorded

MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize("more", [{}, {"stream": True}], ids=["whole", "stream"])
def test_a_thread_that_cannot_start_leaves_its_slot_free(
    smollm2: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, bool]
) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "http-stream":
            raise RuntimeError("can't start new thread")
        start(thread)

    body = {"messages": MESSAGES, **more}
    with recorded(smollm2) as api:
        with monkeypatch.context() as refusing:
            refusing.setattr(threading.Thread, "start", refuse)
            for _ in range(3):  # there are two slots
                status, reply = api.post("/v1/chat/completions", body)
                assert status == 500
                assert reply["error"]["message"] == "the system refuses another thread"
        status, reply = api.post("/v1/chat/completions", {"messages": MESSAGES})
        assert status == 200
        assert reply["choices"][0]["message"]["content"] == "Hello"
