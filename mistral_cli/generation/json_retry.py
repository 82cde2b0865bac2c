"""JSON answers: asked for until one is complete and valid, but a few times at most."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from mistral_cli.errors import MistralCliError, OutputCut, OutputInvalid
from mistral_cli.models.chat import Message
from mistral_cli.structured.item_stream import ItemReader
from mistral_cli.structured.schema import output_invalid

if TYPE_CHECKING:
    from mistral_cli.engines.types import Request
    from mistral_cli.generation.answer import Answer, Result
    from mistral_cli.generation.planner import PreparedRequest
    from mistral_cli.generation.session import Executor
    from mistral_cli.generation.writers import ResultWriter

# The same few characters over and over: with more room the model would write more of them.
_LOOP = re.compile(r"(.{1,60}?)\1{5,}.{0,60}\Z", re.DOTALL)
_TAIL = 480  # characters; room for six rounds

_TOO_LONG = "Keep the answer short: all of it must fit in {} tokens."
_WRONG = "That is wrong: {}. Answer again, with the corrected JSON only."


def extract(
    prepared: PreparedRequest, executor: Executor, on_text: Callable[[str], None]
) -> Result:
    """The first answer that is complete and valid; its warnings name the failures before it.

    An answer that was cut is asked for again with more room, then with a request to be brief;
    one that is invalid, with what is wrong about it. Raises OutputCut, OutputInvalid.
    """
    spec = prepared.prompt.spec
    assert spec is not None
    request: Request | None = prepared.request
    failures = list[str]()
    asked_again = False
    while request:
        answer = executor.ask(request, prepared.stop, on_text)
        try:
            _refuse_cut(answer)
            warnings = tuple(f"{failure}; asked again" for failure in failures)
            extraction = spec.parse(answer.text)
            result = executor.result(prepared, answer)
            return replace(result, extraction=extraction, warnings=warnings)
        except (OutputCut, OutputInvalid) as failure:
            error = _with_answer(failure, answer.text)
            failures.append(failure.message)
        more_room = request.max_tokens < prepared.longest_answer and not asked_again
        if more_room and isinstance(error, OutputCut) and not _is_looping(answer.text):
            request = replace(request, max_tokens=prepared.longest_answer)
        else:
            request = None if asked_again else _retry(prepared, executor, answer, error)
            asked_again = True
    if len(failures) > 1:
        raise error.with_message(f"{error.message} (asked {len(failures)} times)")
    raise error


def extract_items(prepared: PreparedRequest, executor: Executor, writer: ResultWriter) -> Result:
    """Write every item of a list as it is completed. Raises OutputCut, OutputInvalid."""
    spec = prepared.prompt.spec
    assert spec is not None
    reader, written, printed = ItemReader(), "", 0

    def on_text(text: str) -> None:
        nonlocal written, printed
        writer.delta(text)
        written += text
        for item in reader.feed(text):
            writer.item(spec.parse_item(item))
            printed += 1

    try:
        answer = executor.answer(prepared, on_text)
        _refuse_cut(answer)
        if not reader.closed:
            raise output_invalid("the answer is not a complete list")
    except (OutputCut, OutputInvalid) as failure:
        message = f"{failure.message} (items printed before: {printed})"
        raise _with_answer(failure.with_message(message), written) from None
    return replace(executor.result(prepared, answer), warnings=())


def _retry(
    prepared: PreparedRequest, executor: Executor, answer: Answer, error: MistralCliError
) -> Request | None:
    """A request that says what was wrong; None where there is no chat to say it in."""
    messages = prepared.prompt.content
    if isinstance(messages, str):
        return None
    if isinstance(error, OutputCut):
        brief = _TOO_LONG.format(prepared.longest_answer)
        last = Message("user", f"{messages[-1].content}\n\n{brief}")
        return executor.planner.with_messages(prepared, [*messages[:-1], last])
    wrong = [Message("assistant", answer.text), Message("user", _WRONG.format(error.message))]
    return executor.planner.with_messages(prepared, [*messages, *wrong])


def _is_looping(text: str) -> bool:
    return _LOOP.search(text[-_TAIL:]) is not None


def _refuse_cut(answer: Answer) -> None:
    if answer.finish_reason == "length":
        raise OutputCut(
            f"the JSON was cut at {answer.completion_tokens} tokens",
            hint="Raise -n/--max-tokens, or bound the strings with maxLength in a --schema.",
        )


def _with_answer(error: MistralCliError, text: str) -> MistralCliError:
    error.details = f"The model had written: {text}"
    return error
