"""Close a JSON answer that was cut: end what is open, within the same limit.

The model writes the required values that are still missing, as far as the limit permits. What it
cannot write gets the shortest value that the grammar admits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from mistral_cli.errors import OutputInvalid
from mistral_cli.structured.completion import complete_json, completions, required_names
from mistral_cli.structured.spans import pointer

if TYPE_CHECKING:
    from mistral_cli.structured.completion import Completion
    from mistral_cli.structured.spans import ValuePath
    from mistral_cli.structured.spec import BoundSpec, Extraction

# Tokens for a value that is missing: a name or a short sentence.
_VALUE = 12
_LEAST = 4  # tokens for which a request pays
_MOST_SILENT = 2  # requests in a row for which the model writes nothing
_LISTED = 5  # paths in a warning


@dataclass(frozen=True)
class Continuation:
    """What the model wrote behind the beginning of an answer; `ended` if it ended the answer."""

    text: str
    tokens: int
    ended: bool


@dataclass(frozen=True)
class ClosedPaths:
    """Where a value was closed: those at `cut` were ended by force.

    Those at `placeholders` are not the model's: the schema requires them.
    """

    cut: tuple[ValuePath, ...]
    placeholders: tuple[ValuePath, ...] = ()

    @property
    def warning(self) -> str:
        """One line for the user."""
        warning = f"the answer reached its limit and was closed at {_listed(self.cut)}"
        if self.placeholders:
            warning += f"; not from the model: {_listed(self.placeholders)}"
        return warning


@dataclass(frozen=True)
class ClosedText:
    """A complete answer of so many `tokens`, and its value.

    `paths` is None if the model ended it after all.
    """

    text: str
    tokens: int
    extraction: Extraction
    paths: ClosedPaths | None


def reserve(spec: BoundSpec, grammar: str, limit: int, count: Callable[[str], int]) -> int:
    """The tokens of the `limit` to keep for closing an answer.

    The shortest value shows how much a schema requires; the model's own may take as much again.
    """
    shortest = _shortest(grammar, required_names(spec.spec.schema))
    needed = count(shortest) if shortest else 0
    return min(_VALUE + 2 * needed, max(limit // 3, needed + _LEAST), limit - 1)


@lru_cache(maxsize=8)  # the rows of a batch have the same grammar
def _shortest(grammar: str, required: frozenset[str]) -> str:
    found = complete_json(grammar, "", required)
    return found.text if found else ""


@dataclass
class Closing:
    """Closes one answer within `limit` tokens, of which the model has `spent` some.

    `count` counts the tokens of a text. `go_on` lets the model write up to a number of tokens
    behind a text; it returns None without room. With `goes_on` the model first writes on where it
    was cut, as long as the limit permits. The first `sent` characters stay: a reader has them.
    """

    spec: BoundSpec
    grammar: str
    limit: int
    spent: int
    count: Callable[[str], int]
    go_on: Callable[[str, int], Continuation | None]
    goes_on: bool = True
    sent: int = 0
    _cut: list[ValuePath] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._required = required_names(self.spec.spec.schema)

    def run(self, text: str) -> ClosedText | None:
        """Let the model write what is missing, value by value, and end the text.

        Returns None if the schema needs more than the limit. Raises OutputInvalid if no value that
        begins like the answer is valid.
        """
        silent = 0
        while found := next(self._fitting(text), None):
            written, share = self._beginning(text, found)
            if share < _LEAST or (more := self.go_on(written, share)) is None:
                return self._closed(text)
            if written != text:
                self._cut.append(found.cut)
                self.spent += self.count(written[found.kept :])
            self.spent += more.tokens
            if more.ended:
                return self._ended(written + more.text, text)
            text = written + more.text
            silent = 0 if more.text else silent + 1
            if silent == _MOST_SILENT:  # else it might be asked forever
                return self._closed(text)
        return None

    def _fitting(self, text: str) -> Iterator[Completion]:
        """The completions of `text` within the limit, the one that keeps most of it first."""
        for found in completions(self.grammar, text, self._required):
            if found.kept >= self.sent and self._fits(found):
                yield found

    def _fits(self, found: Completion) -> bool:
        # The tokenizer may need more tokens for the text than the model did.
        with_ending = self.spent + self.count(found.ending)
        return with_ending <= self.limit or self.count(found.text) <= self.limit

    def _beginning(self, text: str, found: Completion) -> tuple[str, int]:
        """What the model goes on from, and how many tokens it may write there."""
        left = self.limit - self.spent - self.count(found.ending)
        free = left - _VALUE * len(found.gaps)
        if self.goes_on and free >= _LEAST:
            self.goes_on = False
            return text, free
        self.goes_on = True  # with the next value
        if not found.gaps:
            return text, 0
        share = max(left // len(found.gaps), min(left, _VALUE))
        # A space belongs to the token that follows it.
        return found.text[: found.gaps[0].start].rstrip(" "), share

    def _ended(self, text: str, before: str) -> ClosedText | None:
        """The `text` that the model ended; without its last part where that is not valid."""
        try:
            return self._whole(text, self.spec.parse(text))
        except OutputInvalid:
            return self._closed(before)

    def _closed(self, text: str) -> ClosedText | None:
        """The first completion that is valid. Raises OutputInvalid."""
        problem = None
        for found in self._fitting(text):
            try:
                extraction = self.spec.parse(found.text)
            except OutputInvalid as error:
                problem = problem or error
                continue
            self._cut.append(found.cut)
            gaps = tuple(gap.path for gap in found.gaps)
            return self._whole(found.text, extraction, gaps)
        if problem:
            raise problem
        return None

    def _whole(
        self, text: str, extraction: Extraction, placeholders: tuple[ValuePath, ...] = ()
    ) -> ClosedText:
        tokens = min(self.count(text), self.limit)
        paths = ClosedPaths(tuple(dict.fromkeys(self._cut)), placeholders) if self._cut else None
        return ClosedText(text, tokens, extraction, paths)


def _listed(paths: tuple[ValuePath, ...]) -> str:
    names = [pointer(path) or "the whole value" for path in paths[:_LISTED]]
    more = f" and {len(paths) - _LISTED} more" if len(paths) > _LISTED else ""
    return ", ".join(names) + more
