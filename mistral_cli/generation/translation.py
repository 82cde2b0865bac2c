"""A translation piece by piece: what is no prose stays as it is, to the character."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from mistral_cli.generation.answer import Answer
from mistral_cli.generation.executor import Executor, silent
from mistral_cli.generation.merge import joined
from mistral_cli.generation.planner import Plan
from mistral_cli.generation.result import Result
from mistral_cli.models.chat import Message
from mistral_cli.texts.structure import translation_problem

if TYPE_CHECKING:
    from mistral_cli.engines.types import Request
    from mistral_cli.generation.job import Job
    from mistral_cli.generation.writers import Output


def translate(job: Job, desk: Executor, output: Output) -> Result:
    """Every piece translated and put where the original stood, printed in order."""
    plans, wrong = job.plans, dict[int, str]()
    answers = desk.answers(plans, lambda plan: _one(job, plan, desk))
    taken, texts, number = list[Answer](), list[str](), 0
    for piece in job.pieces:
        text = piece if isinstance(piece, str) else None
        if isinstance(piece, Plan):
            answer = next(answers)
            number += 1
            desk.say(f"{number} of {len(plans)} pieces are translated …")
            taken.append(answer)
            text = _in_place(piece, answer)
            if reason := _fault(job, piece, answer, desk):
                wrong[number] = reason
        texts.append(text or "")
        output.piece(text or "")
    warnings = tuple(f"piece {number} of {len(plans)}: {why}" for number, why in wrong.items())
    answer = joined(taken, "".join(texts))
    return Result(replace(plans[0], draft=job.draft), answer, None, warnings, chunks=len(plans))


def _in_place(plan: Plan, answer: Answer) -> str:
    """The translation in the lines of the original: no new line in a heading, none blank in a cue.

    That is for what is broken still, and told.
    """
    text, original = answer.text.strip(), plan.draft.text.text
    if "\n" not in original:
        return " ".join(line.strip() for line in text.splitlines() if line.strip())
    return text if "\n\n" in original else re.sub(r"\n\s*\n", "\n", text)


def _one(job: Job, plan: Plan, desk: Executor) -> Answer:
    """The translation of one piece, asked for again once where something is lost."""
    if found := desk.kept.get(plan):
        return found
    answer = desk.answer(plan)
    if reason := _fault(job, plan, answer, desk):
        second = desk.ask(_again(plan, answer, reason, desk), plan.stop, silent)
        if not _fault(job, plan, second, desk):
            answer = second
    desk.kept.put(plan, answer)
    return answer


def _fault(job: Job, plan: Plan, answer: Answer, desk: Executor) -> str | None:
    if answer.finish_reason == "length":
        return f"the translation was cut at {answer.completion_tokens} tokens"
    original, text = plan.draft.text.text, answer.text.strip()
    if reason := translation_problem(original, text, job.kind):
        return reason
    glossary = desk.planner.drafter.task.glossary
    if glossary and (missing := glossary.missing(original, text)):
        return f"the glossary's {', '.join(missing)} is not used"
    return None


def _again(plan: Plan, answer: Answer, reason: str, desk: Executor) -> Request:
    if isinstance(plan.draft.prompt, list):
        wish = f"That is wrong: {reason}. Translate it again. Answer with the translation only."
        said = [Message("assistant", answer.text), Message("user", wish)]
        if request := plan.asking([*plan.draft.prompt, *said], desk.planner.tokenize):
            return request
    return plan.request
