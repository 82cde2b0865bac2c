"""A summary of a text of any length: of its parts, of their summaries, and so on."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from mistral_cli.errors import ContextExceeded
from mistral_cli.generation.answer import Answer
from mistral_cli.generation.chunking import is_one_part, parts_of
from mistral_cli.generation.executor import Executor, silent
from mistral_cli.generation.length import LengthTarget, length_target
from mistral_cli.generation.merge import cut_warning, joined
from mistral_cli.generation.result import Result
from mistral_cli.models.chat import Message

if TYPE_CHECKING:
    from mistral_cli.engines.types import Request
    from mistral_cli.generation.job import Job
    from mistral_cli.generation.planner import Plan
    from mistral_cli.generation.writers import Output

_INTRODUCTION = re.compile(
    r"\A(?:sure|certainly|of course|here|below)\b[^\n]{0,120}:[*_]*\s*\n\s*(?=\S)", re.IGNORECASE
)


def summarize(job: Job, desk: Executor, output: Output) -> Result:
    """The summary that the user wishes; their wishes govern the last step alone."""
    plans, took = job.plans, list[Answer]()
    final = None if job.split else plans[0]
    level, cut, before = 0, 0, job.draft.text.text
    while final is None:
        level += 1
        answers = []
        desk.say(f"level {level}: 0 of {len(plans)} parts are summarized …")
        for number, answer in enumerate(desk.answers(plans), start=1):
            desk.say(f"level {level}: {number} of {len(plans)} parts are summarized …")
            answers.append(without_introduction(answer))
        took += answers
        cut += sum(answer.finish_reason == "length" for answer in answers)
        text = "\n\n".join(answer.text.strip() for answer in answers)
        draft = desk.planner.drafter.again(job.draft, text)
        if is_one_part(desk.planner, draft):
            desk.say(f"level {level + 1}: the summary of {len(plans)} summaries …")
            final = desk.planner.plan(draft)
        elif len(text) >= len(before):
            raise ContextExceeded(
                "the summaries of the parts are no shorter than the parts",
                hint="Use a larger -c/--context-length, or another model.",
            )
        else:
            plans, before = parts_of(desk.planner, draft), text
    wish = length_target(desk.planner.drafter.task.values)
    asked, last, warnings = _final(final, wish, desk, output)
    if cut:
        warnings = (f"{cut} of the parts' summaries were cut at their limit", *warnings)
    answer = joined([*took, *asked], last.text)
    answer = replace(answer, finish_reason=last.finish_reason)
    return Result(replace(final, draft=job.draft), answer, None, warnings, chunks=len(job.plans))


def _final(
    plan: Plan, wish: LengthTarget | None, desk: Executor, output: Output
) -> tuple[list[Answer], Answer, tuple[str, ...]]:
    """The answers asked for, what is taken of them, and what is wrong with that."""
    if wish is None:
        answer = desk.answer(plan, output.piece)
        return [answer], answer, cut_warning(plan, answer)
    first = without_introduction(desk.answer(plan))
    if _as_wished(first, wish):
        output.piece(first.text)
        return [first], first, ()
    desk.say(f"asking again for {wish} …")
    second = without_introduction(desk.ask(_again(plan, first, wish, desk), plan.stop, silent))
    last, warnings = _nearest(plan, wish, first, second)
    output.piece(last.text)
    return [first, second], last, warnings


def _as_wished(answer: Answer, wish: LengthTarget) -> bool:
    """Whether it holds, and its last sentence is whole."""
    return wish.holds(answer.text) and answer.finish_reason == "stop"


def _nearest(plan: Plan, wish: LengthTarget, *answers: Answer) -> tuple[Answer, tuple[str, ...]]:
    """The answer that is as wished, else the beginning of one that is too long.

    The first before the second, in which a weak model rather talks about the first.
    """
    for answer in answers:
        if _as_wished(answer, wish):
            return answer, ()
    for answer in answers:
        if text := wish.beginning(answer.text, whole=answer.finish_reason == "stop"):
            kept = replace(answer, text=text, finish_reason="stop")
            return kept, (f"the model wrote {wish.count(answer.text)}: cut after {wish}",)
    answer, warnings = answers[0], cut_warning(plan, answers[0])
    if not wish.holds(answer.text):
        has = f"the summary has {wish.count(answer.text)}, not {wish} (asked twice)"
        warnings = (*warnings, has)
    return answer, warnings


def without_introduction(answer: Answer) -> Answer:
    """`answer` without a first line like "Here is the summary:", which is not of the text."""
    text = answer.text.strip()
    return replace(answer, text=_INTRODUCTION.sub("", text) or text)


def _again(plan: Plan, answer: Answer, wish: LengthTarget, desk: Executor) -> Request:
    """The request that says what was wrong, where there is a chat and room to say it in."""
    request: Request | None = None
    if isinstance(plan.draft.prompt, list):
        correction = f"That has {wish.count(answer.text)}. Write it again in exactly {wish}."
        said = [Message("assistant", answer.text), Message("user", correction)]
        request = plan.asking([*plan.draft.prompt, *said], desk.planner.tokenize)
    return request or plan.request
