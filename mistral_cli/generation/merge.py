"""The answers to several requests, made one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mistral_cli.generation.answer import Answer, Timings
from mistral_cli.generation.result import Result

if TYPE_CHECKING:
    from mistral_cli.generation.job import Job
    from mistral_cli.generation.planner import Plan
    from mistral_cli.structured.spec import Extraction


def joined(answers: Sequence[Answer], text: str) -> Answer:
    """One answer that says `text` and took what all of them took; cut if one was."""
    times = [answer.timings for answer in answers]
    return Answer(
        text,
        "length" if any(answer.finish_reason == "length" for answer in answers) else "stop",
        sum(answer.completion_tokens for answer in answers),
        Timings(
            sum(each.load for each in times),
            sum(each.prompt for each in times),
            sum(each.generation for each in times),
        ),
        sum(answer.prompt_tokens for answer in answers),
        sum(answer.cached_tokens for answer in answers),
    )


def merge(job: Job, results: Sequence[Result]) -> Result:
    """The results of the parts of a text, as one."""
    answer = joined(
        [r.answer for r in results], "\n\n".join(r.answer.text.strip() for r in results)
    )
    warnings = tuple(
        f"part {number}: {warning}"
        for number, result in enumerate(results, start=1)
        for warning in result.warnings
    )
    extractions = [r.extraction for r in results if r.extraction]
    merged = _extraction(job, results, extractions) if extractions else None
    return Result(job.plans[0], answer, merged, warnings, chunks=len(results))


def _extraction(
    job: Job, results: Sequence[Result], extractions: Sequence[Extraction]
) -> Extraction:
    """Lists one after the other; of objects, for each key the first value that is one."""
    whole, start = job.draft.text.text, 0
    empty: Any = [] if isinstance(extractions[0].data, list) else {}
    merged = replace(extractions[0], data=empty, spans=())
    for result, extraction in zip(results, extractions, strict=True):
        text = result.plan.draft.text.text
        start = whole.index(text, start)
        spans = (replace(s, start=s.start + start, end=s.end + start) for s in extraction.spans)
        add = _longer if isinstance(merged.data, list) else _fuller
        merged = add(merged, replace(extraction, spans=tuple(spans)))
        start += len(text)
    return merged


def _longer(merged: Extraction, more: Extraction) -> Extraction:
    before = len(merged.data)
    spans = []
    for span in more.spans:
        _, index, *rest = span.path.split("/")
        spans.append(replace(span, path="/".join(["", str(int(index) + before), *rest])))
    return replace(merged, data=[*merged.data, *more.data], spans=(*merged.spans, *spans))


def _fuller(merged: Extraction, more: Extraction) -> Extraction:
    new = {k: v for k, v in more.data.items() if merged.data.get(k) is None}
    told = {key for key, value in new.items() if value is not None}
    spans = [span for span in more.spans if _unescaped(span.path.split("/")[1]) in told]
    return replace(merged, data={**merged.data, **new}, spans=(*merged.spans, *spans))


def _unescaped(token: str) -> str:
    """The key that a token of a JSON Pointer names (RFC 6901)."""
    return token.replace("~1", "/").replace("~0", "~")


def cut_warning(plan: Plan, answer: Answer) -> tuple[str, ...]:
    """That an answer was cut, and by which limit."""
    if answer.finish_reason != "length":
        return ()
    limit = f"the context of {plan.load.context_length} tokens"
    if plan.prompt_tokens + plan.request.max_tokens < plan.load.context_length:
        limit = "-n/--max-tokens"
    return (f"the answer was cut at {answer.completion_tokens} tokens ({limit})",)
