"""JSON from a model: asked for until it is whole and holds, but a few times at most."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mistral_cli.engines.types import Request
from mistral_cli.errors import MistralCliError, OutputCut, OutputInvalid
from mistral_cli.generation.answer import Answer
from mistral_cli.models.chat import Message
from mistral_cli.structured.item_stream import ItemReader
from mistral_cli.structured.schema import output_invalid

if TYPE_CHECKING:
    from mistral_cli.generation.planner import Plan
    from mistral_cli.generation.writers import ItemsOutput
    from mistral_cli.models.chat.formats import Tokenize
    from mistral_cli.structured.spec import BoundSpec, Extraction

Ask = Callable[[Request, Callable[[str], None]], Answer]
"""Run a request, hand on the text as it comes, return the whole."""

# A few characters over and over: more room would be filled with more of them.
_ROUND_AND_ROUND = re.compile(r"(.{1,60}?)\1{5,}.{0,60}\Z", re.DOTALL)
_TAIL = 480  # characters; room for six rounds

_TOO_LONG = "Keep the answer short: all of it must fit in {} tokens."
_WRONG = "That is wrong: {}. Answer again, with the corrected JSON only."


@dataclass(frozen=True)
class Extracted:
    """An answer, what was read from it, and the failures before it."""

    answer: Answer
    extraction: Extraction
    failures: tuple[str, ...] = ()


def extract(
    plan: Plan, expected: BoundSpec, ask: Ask, tokenize: Tokenize, on_text: Callable[[str], None]
) -> Extracted:
    """The first answer that is whole and holds.

    One that was cut is asked for again with more room, and then with the wish to be brief;
    one that is invalid, with what is wrong about it. Raises OutputCut, OutputInvalid.
    """
    request: Request | None = plan.request
    failures = list[str]()
    asked_again = False
    while request:
        answer = ask(request, on_text)
        try:
            _refuse_cut(answer)
            return Extracted(answer, expected.parse(answer.text), tuple(failures))
        except (OutputCut, OutputInvalid) as failure:
            error = _with_answer(failure, answer.text)
            failures.append(failure.message)
        more_room = request.max_tokens < plan.longest_answer and not asked_again
        if more_room and isinstance(error, OutputCut) and not _goes_round(answer.text):
            request = replace(request, max_tokens=plan.longest_answer)
        else:
            request = None if asked_again else _ask_again(plan, answer, error, tokenize)
            asked_again = True
    if len(failures) > 1:
        error.message += f" (asked {len(failures)} times)"
    raise error


def extract_items(plan: Plan, expected: BoundSpec, ask: Ask, output: ItemsOutput) -> Answer:
    """Print every item of a list as it is completed. Raises OutputCut, OutputInvalid."""
    reader, written, printed = ItemReader(), "", 0

    def on_text(text: str) -> None:
        nonlocal written, printed
        output.piece(text)
        written += text
        for item in reader.feed(text):
            output.item(expected.parse_item(item))
            printed += 1

    try:
        answer = ask(plan.request, on_text)
        _refuse_cut(answer)
        if not reader.closed:
            raise output_invalid("the answer is not a complete list")
    except (OutputCut, OutputInvalid) as failure:
        failure.message += f" (items printed before: {printed})"
        raise _with_answer(failure, written) from None
    return answer


def _ask_again(
    plan: Plan, answer: Answer, error: MistralCliError, tokenize: Tokenize
) -> Request | None:
    """A request that says what was wrong; None where there is no chat to say it in."""
    messages = plan.draft.prompt
    if isinstance(messages, str):
        return None
    if isinstance(error, OutputCut):
        wish = _TOO_LONG.format(plan.longest_answer)
        last = Message("user", f"{messages[-1].content}\n\n{wish}")
        return plan.asking([*messages[:-1], last], tokenize)
    wrong = [Message("assistant", answer.text), Message("user", _WRONG.format(error.message))]
    return plan.asking([*messages, *wrong], tokenize)


def _goes_round(text: str) -> bool:
    return _ROUND_AND_ROUND.search(text[-_TAIL:]) is not None


def _refuse_cut(answer: Answer) -> None:
    if answer.finish_reason == "length":
        raise OutputCut(
            f"the JSON was cut at {answer.completion_tokens} tokens",
            hint="Raise -n/--max-tokens, or bound the strings with maxLength in a --schema.",
        )


def _with_answer(error: MistralCliError, text: str) -> MistralCliError:
    error.details = f"The model had written: {text}"
    return error
