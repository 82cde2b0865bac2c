"""Result records of a batch, as tests of its report need them."""

from __future__ import annotations

from typing import Any


def record(number: int, **changes: Any) -> dict[str, Any]:
    timings = {"prompt_seconds": 1.0, "generation_seconds": 2.0, "finished_at": 3.0 * number}
    return {
        "id": f"row-{number}",
        "source": f"mails.jsonl:{number}",
        "text": f"Answer {number}.",
        "finish_reason": "stop",
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "timings": timings,
        "error": None,
        "warnings": [],
    } | changes


def failure(message: str, code: int = 5) -> dict[str, Any]:
    error = {"code": code, "message": message, "hint": "Do something else."}
    return {"error": error, "text": None, "finish_reason": None, "completion_tokens": 0}
