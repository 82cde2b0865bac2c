"""Close a JSON answer that was cut: end what is open, within the same limit.

The model writes the required values that are still missing, as far as the limit permits. What it
cannot write gets the shortest value that the grammar admits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from mistral_cli.errors import OutputInvalid
from mistral_cli.generation.answer import join_parts
from mistral_cli.structured.completion import complete_json, completions, required_names
from mistral_cli.structured.spans import pointer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mistral_cli.generation.answer import Answer
    from mistral_cli.generation.planner import PreparedRequest
    from mistral_cli.generation.session import Executor
    from mistral_cli.structured.completion import Completion
    from mistral_cli.structured.spans import ValuePath
    from mistral_cli.structured.spec import BoundSpec, Extraction

# Tokens for a value that is missing: a name or a short sentence.
_VALUE = 12
_LEAST = 4  # tokens for which a request pays
_LISTED = 5  # paths in a warning


def reserve(prepared: PreparedRequest, executor: Executor) -> int:
    """The tokens of the limit to keep for closing the answer.

    The shortest value shows how much a schema requires; the model's own may take as much again.
    """
    spec, request = _spec(prepared), prepared.request
    grammar, limit = request.grammar or spec.grammar, request.max_tokens
    shortest = _shortest(grammar, required_names(spec.spec.schema))
    needed = len(executor.planner.tokenize(shortest)) if shortest else 0
    return min(_VALUE + 2 * needed, max(limit // 3, needed + _LEAST), limit - 1)


@lru_cache(maxsize=8)  # the rows of a batch have the same grammar
def _shortest(grammar: str, required: frozenset[str]) -> str:
    found = complete_json(grammar, "", required)
    return found.text if found else ""


def close(
    prepared: PreparedRequest,
    executor: Executor,
    answer: Answer,
    limit: int,
    *,
    goes_on: bool = False,
) -> ClosedAnswer | None:
    """Close an `answer` that was cut, within `limit` tokens; None if the schema needs more.

    With `goes_on` the model first writes on where it was cut, as long as the limit permits. Raises
    OutputInvalid if no value that begins like the answer is valid.
    """
    return _Closing(prepared, executor, limit, [answer], goes_on).run(answer.text)


@dataclass(frozen=True)
class ClosedAnswer:
    """A complete answer and its value.

    Unless the model ended it after all, the values at the paths `cut` were ended by force, and
    those at `placeholders` are not the model's: the schema requires them.
    """

    answer: Answer
    extraction: Extraction
    cut: tuple[ValuePath, ...] = ()
    placeholders: tuple[ValuePath, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """A warning that names the paths; none if the model ended its answer itself."""
        if self.answer.finish_reason != "closed":
            return ()
        warning = f"the answer reached its limit and was closed at {_listed(self.cut)}"
        if self.placeholders:
            warning += f"; not from the model: {_listed(self.placeholders)}"
        return (warning,)


@dataclass
class _Closing:
    """The steps of closing one answer, whose parts are `answers`."""

    prepared: PreparedRequest
    executor: Executor
    limit: int
    answers: list[Answer]
    goes_on: bool

    def __post_init__(self) -> None:
        self._spec = _spec(self.prepared)
        # Another attempt may have a grammar of its own.
        self._grammar = self.prepared.request.grammar or self._spec.grammar
        self._required = required_names(self._spec.spec.schema)
        self._cut: list[ValuePath] = []
        self._forced = 0  # tokens that the model did not write

    def run(self, text: str) -> ClosedAnswer | None:
        """Let the model write what is missing, value by value, and end the text."""
        while found := next(self._fitting(text), None):
            written, share = self._beginning(text, found)
            planner, request = self.executor.planner, None
            if share >= _LEAST:
                request = planner.with_written(
                    self.prepared.request, self.answers[0], written, share
                )
            if request is None:
                return self._closed(text)
            if written != text:
                self._cut.append(found.cut)
                self._forced += self._count(written[found.kept :])
            more = self.executor.ask(request, self.prepared.stop, lambda _: None)
            self.answers.append(more)
            if more.finish_reason == "stop":
                return self._ended(written + more.text, text)
            text = written + more.text
        return None

    def _fitting(self, text: str) -> Iterator[Completion]:
        """The completions of `text` within the limit, the one that keeps most of it first."""
        for found in completions(self._grammar, text, self._required):
            if self._count(found.text) <= self.limit:
                yield found

    def _beginning(self, text: str, found: Completion) -> tuple[str, int]:
        """What the model goes on from, and how many tokens it may write there."""
        left = self.limit - self._spent - self._count(found.ending)
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

    def _ended(self, text: str, before: str) -> ClosedAnswer:
        """The `text` that the model ended; without its last part where that is not valid."""
        try:
            return ClosedAnswer(self._whole(text), self._spec.parse(text), self._paths())
        except OutputInvalid:
            return self._closed(before)

    def _closed(self, text: str) -> ClosedAnswer:
        """The first completion that is valid. Raises OutputInvalid."""
        problem = None
        for found in self._fitting(text):
            try:
                extraction = self._spec.parse(found.text)
            except OutputInvalid as error:
                problem = problem or error
                continue
            self._cut.append(found.cut)
            self._forced += self._count(found.ending)
            gaps = tuple(gap.path for gap in found.gaps)
            return ClosedAnswer(self._whole(found.text), extraction, self._paths(), gaps)
        assert problem
        raise problem

    @property
    def _spent(self) -> int:
        return self._forced + sum(answer.completion_tokens for answer in self.answers)

    def _count(self, text: str) -> int:
        return len(self.executor.planner.tokenize(text))

    def _paths(self) -> tuple[ValuePath, ...]:
        return tuple(dict.fromkeys(self._cut))

    def _whole(self, text: str) -> Answer:
        """The parts as one answer."""
        # The tokenizer may need more tokens for the text than the model did.
        tokens = min(self._count(text), self.limit)
        return join_parts(self.answers, text, "closed" if self._cut else "stop", tokens)


def _spec(prepared: PreparedRequest) -> BoundSpec:
    assert prepared.prompt.spec is not None
    return prepared.prompt.spec


def _listed(paths: tuple[ValuePath, ...]) -> str:
    names = [pointer(path) or "the whole value" for path in paths[:_LISTED]]
    more = f" and {len(paths) - _LISTED} more" if len(paths) > _LISTED else ""
    return ", ".join(names) + more
