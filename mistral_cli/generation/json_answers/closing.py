"""Close a JSON answer that was cut, with further requests about the same prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mistral_cli.generation.answer import join_parts
from mistral_cli.structured import closing
from mistral_cli.structured.closing import Closing, Continuation

if TYPE_CHECKING:
    from mistral_cli.generation.answer import Answer, AnswerEnd
    from mistral_cli.generation.planner import PreparedRequest
    from mistral_cli.generation.session import Executor
    from mistral_cli.structured.spec import BoundSpec, Extraction


@dataclass(frozen=True)
class ClosedAnswer:
    """A complete answer and its value, with a warning if it was closed by force."""

    answer: Answer
    extraction: Extraction
    warnings: tuple[str, ...] = ()


def reserve(prepared: PreparedRequest, executor: Executor) -> int:
    """The tokens of the limit to keep for closing the answer."""
    spec, request = _spec(prepared), prepared.request
    grammar = request.grammar or spec.grammar
    return closing.reserve(
        spec, grammar, request.max_tokens, lambda text: len(executor.planner.tokenize(text))
    )


def close(
    prepared: PreparedRequest,
    executor: Executor,
    answer: Answer,
    limit: int,
    *,
    goes_on: bool = False,
    sent: int = 0,
) -> ClosedAnswer | None:
    """Close an `answer` that was cut, within `limit` tokens; None if the schema needs more.

    With `goes_on` the model first writes on where it was cut, as long as the limit permits. The
    first `sent` characters stay. Raises OutputInvalid if no value that begins like the answer is
    valid.
    """
    planner, request, parts = executor.planner, prepared.request, [answer]

    def go_on(written: str, max_tokens: int) -> Continuation | None:
        rest = planner.with_written(request, answer, written, max_tokens)
        if rest is None:
            return None
        more = executor.ask(rest, prepared.stop, lambda _: None)
        parts.append(more)
        ended = more.finish_reason == "stop" and more.stop_text is None
        return Continuation(more.text, more.completion_tokens, ended)

    spec = _spec(prepared)
    closed = Closing(
        spec,
        request.grammar or spec.grammar,  # another attempt may have a grammar of its own
        limit,
        answer.completion_tokens,
        lambda text: len(planner.tokenize(text)),
        go_on,
        goes_on,
        sent,
    ).run(answer.text)
    if closed is None:
        return None
    end: AnswerEnd = "closed" if closed.paths else "stop"
    whole = join_parts(parts, closed.text, end, closed.tokens)
    warnings = (closed.paths.warning,) if closed.paths else ()
    return ClosedAnswer(whole, closed.extraction, warnings)


def _spec(prepared: PreparedRequest) -> BoundSpec:
    assert prepared.prompt.spec is not None
    return prepared.prompt.spec
