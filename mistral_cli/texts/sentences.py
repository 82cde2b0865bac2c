"""Finds where sentences end, and tells certain ends from doubtful ones.

Whether "at 5 p.m. Monday" goes on or ends after "p.m." cannot be known without understanding. So
a text has a likely number of sentences and a set of possible ones, and is cut only at certain
ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise
from string import ascii_lowercase

from mistral_cli.texts.languages import language_code, language_rules, recognize
from mistral_cli.texts.sentence_ends import BLANK, LABEL, MARKUP, Block, Chance, End

_ITEM = re.compile(
    r"\s*(?:[-*+\u2022\u2013]\s|#{1,6}\s|[\u2022\u2043](?=\S)|\(?(?:\d{1,3}|[a-zA-Z]|[ivx]{1,4})\)\s"
    r"|(?:\d{1,3}|[a-z])\.\)?\s)\s*(?:\d{1,3}\.\s+)?"
)
_INLINE_ITEM = re.compile(
    r"(?:\A|\s)(?:[\u2022\u2043]\s?(?:\d{1,3}\.\s)?"
    r"|\(?(\d{1,2}|[a-z])(?:\)|\.\)|\.(?=\s+[^\W\da-z]))\s+)"
)


@dataclass(frozen=True)
class Sentences:
    """The ends of the sentences of `text`."""

    text: str
    ends: tuple[End, ...]

    @classmethod
    def of(cls, text: str, language: str | None = None) -> Sentences:
        """Find the sentences of a text in `language`, a code or a name such as "German".

        A language that is None or unknown is recognized from the text. A heading or a list item
        is at least one sentence, even without a full stop. Any other line continues the line
        before it.
        """
        code = (language_code(language) if language else None) or recognize(text)
        return cls(text, tuple(_ends(text, code)))

    @property
    def count(self) -> int:
        """The number of sentences in the likely reading."""
        return sum(end.chance > Chance.UNLIKELY for end in self.ends)

    @property
    def likely_ends(self) -> list[int]:
        """Where sentences end in the likely reading."""
        return [end.position for end in self.ends if end.chance > Chance.UNLIKELY]

    @property
    def possible(self) -> set[int]:
        """The number of sentences in every reading."""
        certain = sum(end.chance is Chance.CERTAIN for end in self.ends)
        doubtful = [end for end in self.ends if end.chance is not Chance.CERTAIN]
        spans = [end.span for end in doubtful if end.span is not None]
        counts = {certain}
        for weight in (*map(spans.count, set(spans)), *(1 for e in doubtful if e.span is None)):
            counts |= {count + weight for count in counts}
        return counts

    def first(self, number: int, *, complete: bool = True) -> str | None:
        """The text up to the certain end of its first `number` sentences; None without one.

        If the text is not `complete`, its last sentence is unfinished and does not count.
        """
        certain = [end.position for end in self.ends if end.chance is Chance.CERTAIN]
        heads = [
            Sentences(self.text[:position], tuple(e for e in self.ends if e.position <= position))
            for position in (certain if complete else certain[:-1])
        ]
        fitting = [head for head in heads if number in head.possible]
        likely = [head for head in fitting if head.count == number]
        return next((head.text.rstrip() for head in (*likely, *fitting)), None)


def _ends(text: str, code: str | None) -> Iterator[End]:
    rules = language_rules(code)
    spans = 0
    for start, stop in _blocks(text):
        block = Block(text[start:stop], code, rules)
        last, ended = 0, True
        for end in block.ends():
            sentence = block.text[last : end.position]
            if any(map(str.isalnum, sentence)):
                label = ended and LABEL.fullmatch(sentence.strip(f"{BLANK}.()"))
                if label and start + end.position < stop:
                    end = end._replace(chance=Chance.UNLIKELY)
                ended = end.chance > Chance.UNLIKELY
                span = None if end.span is None else spans + end.span
                yield end._replace(position=start + end.position, span=span)
                last = end.position
        spans += len(block.spans)


def _blocks(text: str) -> list[tuple[int, int]]:
    """The places of the paragraphs, headings and list items of `text`, without their markers."""
    blocks: list[tuple[int, int]] = []
    continues = False
    for start, stop in pairwise(accumulate(map(len, text.splitlines(keepends=True)), initial=0)):
        line = text[start:stop]
        item = _ITEM.match(line)
        begin = start + (item.end() if item else 0)
        blank = not text[begin:stop].strip(f"{BLANK}\r{MARKUP}")
        if continues and not blank and not item:
            blocks[-1] = blocks[-1][0], stop
        elif not blank:
            more = _inline_items(line)
            begins = [begin, *(start + marker.end() for marker in more)]
            blocks += zip(begins, [*(start + marker.start() for marker in more), stop], strict=True)
        continues = not blank and not line.lstrip().startswith("#")
    return blocks


def _inline_items(line: str) -> list[re.Match[str]]:
    """The markers of the second and later items in a line like "1) One 2) Two 3) Three"."""
    found = list(_INLINE_ITEM.finditer(line))
    if len(found) < 2 or line[: found[0].start()].strip():
        return []
    labels = [marker[1] or "" for marker in found]
    sequences = [""] * len(found), [*map(str, range(1, 100))], [*ascii_lowercase]
    return found[1:] if any(labels == each[: len(labels)] for each in sequences) else []
