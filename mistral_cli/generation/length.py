"""What a summary must be that can be counted: so many sentences, or bullet points."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from mistral_cli.texts.sentences import count_sentences

_BULLET = re.compile(r"^\s*(?:[-*•\u2013]|\d+[.)])\s+\S", re.MULTILINE)


@dataclass(frozen=True)
class LengthTarget:
    """Exactly `number` of something; `pieces` are the places where a text can be cut."""

    number: int
    name: str
    counted: Callable[[str], int]
    pieces: Callable[[str], Iterable[str]]

    def __str__(self) -> str:
        return _numbered(self.number, self.name)

    def holds(self, text: str) -> bool:
        """Whether `text` is as wished."""
        return self.counted(text) == self.number

    def count(self, text: str) -> str:
        """How many there are, in words."""
        return _numbered(self.counted(text), self.name)

    def beginning(self, text: str, *, whole: bool = True) -> str | None:
        """The first so many of a text that has more; None if it cannot be had.

        Where the text is not `whole`, its last piece was cut, and is none.
        """
        pieces = list(self.pieces(text.strip()))
        ends = accumulate(pieces if whole else pieces[:-1])
        return next((end.rstrip() for end in ends if self.holds(end)), None)


def length_target(values: Mapping[str, Any]) -> LengthTarget | None:
    """The wish among a task's values, if there is one."""
    if number := values.get("sentences"):
        return LengthTarget(number, "sentence", count_sentences, _sentences)
    if number := values.get("bullets"):
        return LengthTarget(
            number, "bullet point", count_bullets, lambda text: text.splitlines(True)
        )
    return None


def count_bullets(text: str) -> int:
    """Lines that begin as a list's items do."""
    return len(_BULLET.findall(text))


def _sentences(text: str) -> Iterable[str]:
    from sentencex import segment

    return list(segment("en", text))


def _numbered(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"
