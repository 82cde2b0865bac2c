"""A summary of a text of any length: of its parts, of their summaries, and so on."""

from __future__ import annotations

from dataclasses import replace

from mistral_cli.answering.desk import Desk, silent
from mistral_cli.answering.merge import cut_warning, joined
from mistral_cli.answering.wishes import Wish, wish_of
from mistral_cli.engines import Request
from mistral_cli.inputs.texts import Text
from mistral_cli.instruct.messages import Message
from mistral_cli.job import Job, parts_of
from mistral_cli.output.answer import Answer
from mistral_cli.output.printers import Output, Result
from mistral_cli.plan import Plan


def summarize(job: Job, desk: Desk, output: Output) -> Result:
    """The summary that the user wishes; their wishes govern the last step alone."""
    plans, took = job.plans, list[Answer]()
    final, level, cut = plans[0], 0, 0
    while len(plans) > 1:
        level += 1
        answers = []
        for number, answer in enumerate(desk.answers(plans), start=1):
            desk.say(f"level {level}: {number} of {len(plans)} parts are summarized …")
            answers.append(answer)
        took += answers
        cut += sum(answer.finish_reason == "length" for answer in answers)
        text = "\n\n".join(answer.text.strip() for answer in answers)
        draft = replace(
            desk.planner.drafter.again(job.draft, text), text=Text(text, job.draft.text.source)
        )
        fits = desk.planner.fits(draft)
        plans = [desk.planner.plan(draft)] if fits else parts_of(desk.planner, draft, text)
        final = plans[0]
    wish = wish_of(desk.planner.drafter.task.values)
    last, warnings = _final(final, wish, desk, output)
    if cut:
        warnings = (f"{cut} of the parts' summaries were cut at their limit", *warnings)
    answer = joined([*took, *last], last[-1].text) if took or len(last) > 1 else last[-1]
    answer = replace(answer, finish_reason=last[-1].finish_reason)
    return Result(replace(final, draft=job.draft), answer, None, warnings, chunks=len(job.plans))


def _final(
    plan: Plan, wish: Wish | None, desk: Desk, output: Output
) -> tuple[list[Answer], tuple[str, ...]]:
    """The answers asked for, the one that counts last, and what is wrong with that."""
    if wish is None:
        answer = desk.answer(plan, output.piece)
        return [answer], cut_warning(plan, answer)
    first = desk.answer(plan)
    answers = [first]
    if not wish.holds(first.text) or first.finish_reason == "length":
        desk.say(f"asking again for {wish} …")
        second = desk.ask(_again(plan, first, wish, desk), plan.stop, silent)
        answers = sorted([first, second], key=lambda answer: _fault(answer, wish), reverse=True)
    last = answers[-1]
    output.piece(last.text)
    warnings = cut_warning(plan, last)
    if not wish.holds(last.text):
        warnings += (f"the summary has {wish.count(last.text)}, not {wish} (asked twice)",)
    return answers, warnings


def _fault(answer: Answer, wish: Wish) -> tuple[int, bool]:
    return abs(wish.counted(answer.text) - wish.number), answer.finish_reason == "length"


def _again(plan: Plan, answer: Answer, wish: Wish, desk: Desk) -> Request:
    """The request that says what was wrong, with a grammar that leaves no other way."""
    request: Request | None = None
    if isinstance(plan.draft.prompt, list):
        correction = f"That has {wish.count(answer.text)}. Write it again in exactly {wish}."
        said = [Message("assistant", answer.text), Message("user", correction)]
        request = plan.asking([*plan.draft.prompt, *said], desk.planner.tokenize)
    return replace(request or plan.request, grammar=wish.grammar)
