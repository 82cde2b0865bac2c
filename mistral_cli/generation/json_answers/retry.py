"""Retry JSON answers that are cut or invalid, a few times at most."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from mistral_cli.errors import MistralCliError, OutputCut, OutputInvalid
from mistral_cli.generation.answer import in_tokens
from mistral_cli.generation.json_answers.closing import ClosedAnswer, close, reserve
from mistral_cli.generation.json_answers.runaways import Attempt, ask
from mistral_cli.models.chat import Message
from mistral_cli.structured.item_stream import ItemReader
from mistral_cli.structured.schema import output_invalid

if TYPE_CHECKING:
    from mistral_cli.engines.types import Request
    from mistral_cli.generation.answer import Answer, Result
    from mistral_cli.generation.planner import PreparedRequest
    from mistral_cli.generation.session import Executor
    from mistral_cli.generation.writers import ResultWriter

_TOO_LONG = "Keep the answer short: all of it must fit in {} tokens."
_WRONG = "That is wrong: {}. Answer again, with the corrected JSON only."


def extract(
    prepared: PreparedRequest, executor: Executor, on_text: Callable[[str], None]
) -> Result:
    """Run a request until its answer is complete and valid; the failures become warnings.

    An answer that was cut is retried with a higher limit, then with an instruction to be brief;
    if the request `closes`, it is closed instead. An invalid one is retried with the error message
    as a new turn. Raises OutputCut, OutputInvalid.
    """
    spec = prepared.prompt.spec
    assert spec is not None
    request: Request | None = prepared.request
    failures = list[str]()
    retried = False
    while request:
        current = replace(prepared, request=request)
        attempt = _ask(current, executor, on_text, retried=retried)
        answer = attempt.answer
        try:
            closed = _close(current, executor, attempt)
            if not closed:
                _refuse_cut(answer)
                closed = ClosedAnswer(answer, spec.parse(answer.text))
            result = executor.result(prepared, closed.answer)
            warnings = [f"{failure}; retried" for failure in failures]
            warnings += [*attempt.warnings, *closed.warnings]
            return replace(result, extraction=closed.extraction, warnings=tuple(warnings))
        except (OutputCut, OutputInvalid) as failure:
            error = _with_answer(failure, answer.text)
            failures.append(failure.message)
            if prepared.closes and isinstance(failure, OutputCut):
                break  # the limit is too small for any value of the schema
        more_room = request.max_tokens < prepared.longest_answer and not retried
        if more_room and isinstance(error, OutputCut) and not attempt.runs_away:
            request = replace(request, max_tokens=prepared.longest_answer)
        else:
            request = None if retried else _retry(prepared, executor, answer, error)
            retried = True
    if len(failures) > 1:
        raise error.with_message(f"{error.message} (after {len(failures)} attempts)")
    raise error


def extract_items(prepared: PreparedRequest, executor: Executor, writer: ResultWriter) -> Result:
    """Write each item of a list as soon as it is complete. Raises OutputCut, OutputInvalid.

    If the request `closes`, the list is closed where it was cut, behind the items that are written.
    """
    spec = prepared.prompt.spec
    assert spec is not None
    reader, answer_text, printed = ItemReader(), "", 0

    def on_text(text: str) -> None:
        nonlocal answer_text, printed
        writer.delta(text)
        answer_text += text
        for item in reader.feed(text):
            writer.item(spec.parse_item(item))
            printed += 1

    def on_restart(text: str) -> None:
        nonlocal reader, answer_text, printed
        reader, answer_text = ItemReader(), text
        for item in [*reader.feed(text)][printed:]:
            writer.item(spec.parse_item(item))
            printed += 1

    try:
        attempt = _ask(prepared, executor, on_text, on_restart=on_restart, sent=lambda: reader.end)
        answer = attempt.answer
        if closed := _close(prepared, executor, attempt, sent=reader.end):
            for item in [*ItemReader().feed(closed.answer.text)][printed:]:
                writer.item(spec.parse_item(item))
            warnings = (*attempt.warnings, *closed.warnings)
            return replace(executor.result(prepared, closed.answer), warnings=warnings)
        _refuse_cut(answer)
        if not reader.closed:
            raise output_invalid("the answer is not a complete list")
    except (OutputCut, OutputInvalid) as failure:
        message = f"{failure.message} (items already printed: {printed})"
        raise _with_answer(failure.with_message(message), answer_text) from None
    return replace(executor.result(prepared, answer), warnings=attempt.warnings)


def _ask(
    prepared: PreparedRequest,
    executor: Executor,
    on_text: Callable[[str], None],
    *,
    retried: bool = False,
    on_restart: Callable[[str], None] = lambda _: None,
    sent: Callable[[], int] = lambda: 0,
) -> Attempt:
    """Run the request; if it `closes`, without the tokens that closing may need."""
    request = prepared.request
    if prepared.closes:
        kept = reserve(prepared, executor)
        request = replace(request, max_tokens=request.max_tokens - kept)
    room = prepared.request.max_tokens < prepared.longest_answer and not retried
    return ask(
        prepared,
        executor,
        request,
        on_text,
        on_restart=on_restart,
        sent=sent,
        more_room=room and not prepared.closes,
        tight=retried,
    )


def _close(
    prepared: PreparedRequest, executor: Executor, attempt: Attempt, *, sent: int = 0
) -> ClosedAnswer | None:
    """Close an answer that was cut behind its first `sent` characters, if its request `closes`.

    Returns None if it does not, or if no value fits the limit.
    """
    answer, goes_on = attempt.answer, not attempt.runs_away
    if not prepared.closes or answer.finish_reason != "length":
        return None
    limit = prepared.longest_answer if goes_on else prepared.request.max_tokens
    return close(prepared, executor, answer, limit, goes_on=goes_on, sent=sent)


def _retry(
    prepared: PreparedRequest, executor: Executor, answer: Answer, error: MistralCliError
) -> Request | None:
    """A request with a turn about the error; None for a raw prompt, which has no turns."""
    messages = prepared.prompt.content
    if isinstance(messages, str):
        return None
    if isinstance(error, OutputCut):
        brief = _TOO_LONG.format(prepared.longest_answer)
        last = Message("user", f"{messages[-1].content}\n\n{brief}")
        request = executor.planner.with_messages(prepared, [*messages[:-1], last])
    else:
        correction = _WRONG.format(error.message)
        request = executor.planner.with_correction(prepared, answer.text, correction)
    spec = prepared.prompt.spec
    if request and spec:
        is_cut = isinstance(error, OutputCut)
        request = replace(request, grammar=spec.grammar_after(answer.text, is_cut=is_cut))
    return request


def _refuse_cut(answer: Answer) -> None:
    if answer.finish_reason == "length":
        raise OutputCut(
            f"the JSON was cut at {in_tokens(answer.completion_tokens)}",
            hint="Raise -n/--max-tokens, or bound the strings with maxLength in a --schema.",
        )
    if answer.stop_text is not None:
        raise OutputInvalid(f"the stop text {answer.stop_text!r} cut the JSON", hint="Drop --stop.")


def _with_answer(error: MistralCliError, text: str) -> MistralCliError:
    error.details = f"The model had written: {text}"
    return error
