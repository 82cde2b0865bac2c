"""Separates what a model thinks from what it answers, while both stream."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from mistral_cli.engines.grounded_runs import without_cut_run
from mistral_cli.engines.types import Event, Finish, PrefillProgress, ReasoningDelta, TextDelta
from mistral_cli.models.gguf.plain_text import tokenize_continued

if TYPE_CHECKING:
    from mistral_cli.engines.types import Request, Thinking, TokenLogprob
    from mistral_cli.models.chat.reasoning import Markers
    from mistral_cli.models.gguf import GGUF
    from mistral_cli.models.gguf.plain_text import Tokenize

State = Literal["start", "thought", "answer", "ended"]

_FIRST_NONCHARACTER = 0xFDD0  # of 32 that no text contains; they stand for marker tokens
_FENCE = "```"


class ThoughtParser:
    """Splits a model's text into thought and answer, however it is cut into deltas.

    In the state "start" it is undecided which of the two comes. `tokens` are the texts of the
    markers, or of their parts, that are tokens of the vocabulary. They count only where the
    engine reports the token itself (`TextDelta.marker`): a model that quotes one writes other
    tokens. A marker that is plain text does not count in Markdown code.
    """

    def __init__(self, markers: Markers, state: State, tokens: Iterable[str] = ()) -> None:
        self.state: State = state
        self._atoms = {text: chr(_FIRST_NONCHARACTER + n) for n, text in enumerate(tokens)}
        self._without_atoms = str.maketrans("", "", "".join(self._atoms.values()))
        self._markers = {
            name: self._with_atoms(text.strip()) for name, text in vars(markers).items()
        }
        self._held = ""
        self._written = ""  # since the state began
        self._undecided: list[TextDelta] = []  # deltas of which nothing was written yet
        self._trims = state == "answer"

    def feed(self, delta: TextDelta) -> Iterator[TextDelta | ReasoningDelta]:
        """Take the next delta, and yield the text that is decided by it."""
        self._undecided.append(delta)
        self._held += self._with_atoms(delta.text) if delta.marker else delta.text
        yield from self._advance(last=False)

    def finish(self, *, complete: bool = True) -> Iterator[TextDelta | ReasoningDelta]:
        """Yield the text that was held back: nothing more comes.

        If the model ended its text, but no thought, in code that it did not end either, then the
        last closing marker in that code was no quotation, and the text after it is the answer.
        """
        yield from self._advance(last=True)
        closing = self._markers["closing"]
        if self.state == "thought" and complete and not self._is_token(closing):
            _, marker, answer = self._written.rpartition(closing)
            if marker and answer.strip():
                self.state = "answer"
                yield TextDelta(answer.lstrip(), tokens=0)

    def _advance(self, *, last: bool) -> Iterator[TextDelta | ReasoningDelta]:
        moved = True
        while moved:
            match self.state:
                case "start":
                    moved = yield from self._decide(last=last)
                case "ended":
                    self._held, moved = "", False
                case "thought" | "answer":
                    moved = yield from self._write(last=last)

    def _decide(self, *, last: bool) -> Generator[TextDelta | ReasoningDelta, None, bool]:
        """Decide what begins here. Returns False if more text is needed for that."""
        text = self._held.lstrip()
        nexts: dict[str, State] = {
            self._markers["header"]: "start",
            self._markers["skipping"]: "answer",
            self._markers["opening"]: "thought",
        }
        for marker, state in nexts.items():
            if marker and text.startswith(marker):
                yield from self._enter(state, text[len(marker) :])
                return True
        if not last and any(marker.startswith(text) for marker in nexts if marker):
            return False
        self.state, self._written = "answer", ""
        return True

    def _write(self, *, last: bool) -> Generator[TextDelta | ReasoningDelta, None, bool]:
        """Write up to the next marker. Returns whether there was one."""
        if self._trims:
            self._held = self._held.lstrip()
            self._trims = not self._held
        found = [
            (position, marker, state)
            for marker, state in self._ends().items()
            if (position := self._find(marker)) is not None
        ]
        end, marker, state = min(found, default=(0, "", self.state))
        text = self._held[:end] if marker else self._certain(last=last)
        if text or not marker:
            yield self._event(text)
        if marker:
            yield from self._enter(state, self._held[end + len(marker) :])
        else:
            self._held = self._held[len(text) :]
        return bool(marker)

    def _ends(self) -> dict[str, State]:
        """The markers that end this state, and the states that follow."""
        markers = self._markers
        ends: dict[str, State] = {markers["closing"]: "start"}
        if self.state == "answer":
            ends = {markers["ending"]: "ended", markers["opening"]: "thought"}
            if markers["header"]:
                ends.setdefault(markers["closing"], "start")
        return {marker: state for marker, state in ends.items() if marker}

    def _find(self, marker: str) -> int | None:
        """Where the marker stands in the held text, unless as a quotation of it."""
        position = self._held.find(marker)
        while position >= 0:
            before = self._written + self._held[:position]
            if self._is_token(marker) or self._counts_as_text(before):
                return position
            position = self._held.find(marker, position + 1)
        return None

    def _is_token(self, marker: str) -> bool:
        return marker[:1] in self._atoms.values()

    def _counts_as_text(self, before: str) -> bool:
        if before.count(_FENCE) % 2 or before.endswith("`"):
            return False
        return self.state == "thought" or not before.strip(" ") or before.endswith("\n")

    def _certain(self, *, last: bool) -> str:
        """The held text without what may be the beginning of a marker."""
        if last:
            return self._held
        beginnings = (
            n
            for marker in self._ends()
            for n in range(1, min(len(marker), len(self._held) + 1))
            if self._held.endswith(marker[:n])
        )
        return self._held[: len(self._held) - max(beginnings, default=0)]

    def _enter(self, state: State, rest: str) -> Iterator[TextDelta | ReasoningDelta]:
        """Enter the state that a marker begins. The marker itself counts as thought."""
        if self._undecided:
            yield ReasoningDelta("", self._take_tokens()[0])
        self.state, self._held, self._written, self._trims = state, rest, "", True

    def _event(self, text: str) -> TextDelta | ReasoningDelta:
        """The text as an event, with the tokens that are decided by it."""
        self._written += text
        visible = text.translate(self._without_atoms)
        tokens, logprobs = self._take_tokens()
        if self.state == "answer":
            return TextDelta(visible, logprobs, tokens)
        return ReasoningDelta(visible, tokens)

    def _take_tokens(self) -> tuple[int, tuple[TokenLogprob, ...]]:
        deltas, self._undecided = self._undecided, []
        logprobs = tuple(each for delta in deltas for each in delta.logprobs)
        return sum(delta.tokens for delta in deltas), logprobs

    def _with_atoms(self, text: str) -> str:
        for token, atom in self._atoms.items():
            text = text.replace(token, atom)
        return text


@dataclass(frozen=True)
class SessionCalls:
    """What a request needs of a session; a batch passes a `stream` with a time limit."""

    stream: Callable[[Request], Generator[Event, None, None]]
    tokenize: Callable[[str], list[int]]


def rest_of_answer(
    request: Request,
    thought: str,
    written: str,
    max_tokens: int,
    *,
    model: GGUF,
    tokenize: Tokenize,
    context_length: int,
) -> Request | None:
    """The request for up to `max_tokens` tokens of an answer after `written`; None without room.

    `request` asked for the whole answer. `written` is the beginning of its text, or what takes its
    place; the `thought` before it stays.
    """
    ids, thinking = list(request.prompt_token_ids), request.thinking
    if thinking and thinking.end != "closed":
        ids += thinking.continued(thought, tokenize)
    ids += tokenize_continued(model, written, tokenize)
    limit = min(max_tokens, context_length - len(ids))
    if limit < 1:
        return None
    return replace(
        request, prompt_token_ids=tuple(ids), max_tokens=limit, written=written, thinking=None
    )


def stream_answer(calls: SessionCalls, request: Request) -> Generator[Event, None, None]:
    """Stream `request` with its thought as ReasoningDelta and its answer as TextDelta.

    The thought may have `request.thinking.limit` tokens, and the answer `request.max_tokens`. A
    second request continues the first where the model cannot go on by itself: to end a thought at
    its budget, and to apply a grammar, which allows no thought. Of a grounded text that is cut, an
    unfinished number at the end is left out. Raises EngineFailed.
    """
    events = _stream(calls, request)
    return without_cut_run(events) if request.loose else events


def _stream(calls: SessionCalls, request: Request) -> Generator[Event, None, None]:
    thinking = request.thinking
    if thinking is None:
        yield from calls.stream(request)
    elif thinking.end == "closed":
        yield from _answer(calls, request, "start")
    else:
        thought = yield from _think(calls, request, thinking)
        if thought is not None:
            ids = thinking.continued(thought.text, calls.tokenize)
            request = replace(request, prompt_token_ids=(*request.prompt_token_ids, *ids))
            yield from _answer(calls, request, "answer", thought.tokens)


def _think(
    calls: SessionCalls, request: Request, thinking: Thinking
) -> Generator[Event, None, ReasoningDelta | None]:
    """Stream up to the end of the answer, or of a thought after which another request must answer.

    Returns that thought, or None if the answer is complete.
    """
    parser = _parser(thinking, "thought" if thinking.end == "open" else "start", streams=True)
    most = thinking.limit + (0 if request.grammar else request.max_tokens)
    first = replace(request, max_tokens=most, grammar=None, stream=True)
    thought, answered, ended = ReasoningDelta("", 0), 0, False
    with closing(calls.stream(first)) as events:
        for event in events:
            if isinstance(event, Finish):
                ended = event.reason == "stop"
                parts = parser.finish(complete=ended)
            elif isinstance(event, TextDelta):
                parts = parser.feed(event)
            else:
                yield event
                continue
            for part in parts:
                if isinstance(part, TextDelta):
                    if request.grammar:  # the beginning of an answer that no grammar limited
                        continue
                    answered += part.tokens
                else:
                    thought = ReasoningDelta(thought.text + part.text, thought.tokens + part.tokens)
                yield part
            last = isinstance(event, Finish)
            if parser.state == "thought":
                if last or thought.tokens >= thinking.limit:
                    break
            elif request.grammar:
                return thought
            elif last or parser.state == "ended" or answered >= request.max_tokens:
                whole = (ended or parser.state == "ended") and answered <= request.max_tokens
                yield Finish("stop" if whole else "length", answered, None, thought.tokens)
                return None
    if thinking.closes or ended:
        return thought
    yield Finish("length", 0, None, thought.tokens)
    return None


def _answer(
    calls: SessionCalls, request: Request, state: State, reasoning_tokens: int = 0
) -> Generator[Event, None, None]:
    """Stream an answer; a thought that the model still writes in it is separated."""
    assert request.thinking is not None
    parser = None  # with a grammar, which allows no thought
    if not request.grammar:
        parser = _parser(request.thinking, state, streams=request.stream)
    answered, thought = 0, reasoning_tokens
    with closing(calls.stream(request)) as events:
        for event in events:
            if isinstance(event, PrefillProgress):
                if state == "start":  # the caller knows the prefill of the first request
                    yield event
                continue
            for part in _parts(parser, event):
                yield part
                if isinstance(part, TextDelta):
                    answered += part.tokens
                else:
                    thought += part.tokens
            if isinstance(event, Finish):
                count = event.completion_tokens + reasoning_tokens - thought
                yield replace(event, completion_tokens=count, reasoning_tokens=thought)
            elif parser and parser.state == "ended":
                yield Finish("stop", answered, None, thought)
                return


def _parts(parser: ThoughtParser | None, event: Event) -> Iterable[TextDelta | ReasoningDelta]:
    """What an event contains; the whole of it without a parser."""
    if isinstance(event, TextDelta):
        return parser.feed(event) if parser else [event]
    complete = isinstance(event, Finish) and event.reason == "stop"
    return parser.finish(complete=complete) if parser else []


def _parser(thinking: Thinking, state: State, *, streams: bool) -> ThoughtParser:
    """A parser; only an engine that streams reports the tokens of markers."""
    tokens = [text for _, text in thinking.tokens]
    return ThoughtParser(thinking.markers, state, tokens if streams else ())
