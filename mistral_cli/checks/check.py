"""The result of one check of an answer, and its JSON fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Finding:
    """One thing in the answer that is wrong, or missing from it.

    `text` is the thing itself and `why` a short clause such as "not in the text". `start` and `end`
    count characters of the answer; they are None for what is missing.
    """

    text: str
    why: str
    start: int | None = None
    end: int | None = None


@dataclass(frozen=True)
class Check:
    """What one check expected of an answer and what it found there.

    `name` is a short noun such as "words" or "numbers". `attempts` is the number of answers that
    were requested until this one.
    """

    name: str
    ok: bool
    expected: str | int | None = None
    found: str | int | None = None
    findings: tuple[Finding, ...] = ()
    attempts: int = 1


def check_fields(check: Check, stripped: int = 0) -> dict[str, Any]:
    """The fields of a check in `--json` and in result lines.

    So many characters were `stripped` from the beginning of the answer after it was checked.
    """

    def place(index: int | None) -> int | None:
        return None if index is None else max(index - stripped, 0)

    return {
        "name": check.name,
        "ok": check.ok,
        "expected": check.expected,
        "found": check.found,
        "findings": [
            {
                "text": each.text,
                "why": each.why,
                "start": place(each.start),
                "end": place(each.end),
            }
            for each in check.findings
        ],
        "attempts": check.attempts,
    }
