"""What a summary must be that can be counted: so many sentences, or bullet points."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mistral_cli.long.sentences import count_sentences, sentences_grammar

_BULLET = re.compile(r"^\s*(?:[-*•\u2013]|\d+[.)])\s+\S", re.MULTILINE)


@dataclass(frozen=True)
class Wish:
    """Exactly `number` of something; `grammar` (llguidance's Lark) admits nothing else."""

    number: int
    name: str
    counted: Callable[[str], int]
    grammar: str

    def __str__(self) -> str:
        return _numbered(self.number, self.name)

    def holds(self, text: str) -> bool:
        """Whether `text` is as wished."""
        return self.counted(text) == self.number

    def count(self, text: str) -> str:
        """How many there are, in words."""
        return _numbered(self.counted(text), self.name)


def wish_of(values: Mapping[str, Any]) -> Wish | None:
    """The wish among a task's values, if there is one."""
    if number := values.get("sentences"):
        return Wish(number, "sentence", count_sentences, sentences_grammar(number))
    if number := values.get("bullets"):
        return Wish(number, "bullet point", count_bullets, bullets_grammar(number))
    return None


def count_bullets(text: str) -> int:
    """Lines that begin as a list's items do."""
    return len(_BULLET.findall(text))


def bullets_grammar(number: int) -> str:
    """Lark for `number` lines that begin with "- "."""
    rest = ' "\\n" item' * (number - 1)
    return f'%llguidance {{}}\nstart: item{rest}\nitem: "- " /[^\\s-][^\\n]*/\n'


def _numbered(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"
