"""A job → its result."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mistral_cli.generation.merge import cut_warning, merge
from mistral_cli.generation.result import Result
from mistral_cli.generation.writers import SILENT, ItemsOutput, Output

if TYPE_CHECKING:
    from mistral_cli.generation.executor import Executor
    from mistral_cli.generation.job import Job
    from mistral_cli.generation.planner import Plan


def respond(job: Job, desk: Executor, output: Output) -> Result:
    """Answer a job, printing what can be printed at once. Raises MistralCliError."""
    way = desk.planner.drafter.task.way
    if way == "summary":
        from mistral_cli.generation.summary import summarize

        result = summarize(job, desk, output)
    elif way == "translation" and _in_pieces(job, desk):
        from mistral_cli.generation.translation import translate

        result = translate(job, desk, output)
    elif len(job.plans) == 1:
        result = answer_whole(job.plans[0], desk, output)
    else:
        result = _answer_parts(job, desk, output)
    desk.kept.forget()
    if job.left_out:
        warning = f"the text does not fit: {job.left_out} are left out (--overflow)"
        result = replace(result, left_out=job.left_out, warnings=(warning, *result.warnings))
    return result


def _in_pieces(job: Job, desk: Executor) -> bool:
    """Whether there is more to a translation than one plain paragraph."""
    plain = len(job.pieces) == len(job.plans) == 1 and job.kind == "text"
    return not plain or desk.planner.drafter.task.glossary is not None


def answer_whole(plan: Plan, desk: Executor, output: Output) -> Result:
    """One request, printed as its answer comes; more where JSON does not hold."""
    expected = plan.draft.expected
    if expected:
        from mistral_cli.generation.json_retry import extract, extract_items

        if isinstance(output, ItemsOutput):
            return Result(plan, extract_items(plan, expected, desk.asking(plan), output))
        tokenize = desk.planner.tokenize
        found = extract(plan, expected, desk.asking(plan), tokenize, output.piece)
        again = tuple(f"{failure}; asked again" for failure in found.failures)
        return Result(plan, found.answer, found.extraction, again)
    answer = desk.answer(plan, output.piece)
    return Result(plan, answer, warnings=cut_warning(plan, answer))


def _answer_parts(job: Job, desk: Executor, output: Output) -> Result:
    """Each part by itself; the answers one after the other, or their JSON made one."""
    plans, results = job.plans, list[Result]()
    as_items = isinstance(output, ItemsOutput)
    for number, plan in enumerate(plans, start=1):
        desk.say(f"part {number} of {len(plans)} …")
        shown = output if as_items or not plan.draft.expected else SILENT
        results.append(answer_whole(plan, desk, shown))
        if shown is output and number < len(plans) and not as_items:
            output.piece("\n\n")
    return merge(job, results)
