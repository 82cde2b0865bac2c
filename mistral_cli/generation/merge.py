"""Several answers → one: texts joined, JSON merged, times and tokens added up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mistral_cli.generation.answer import Answer, Result, Timings

if TYPE_CHECKING:
    from mistral_cli.generation.planner import Job
    from mistral_cli.structured.spec import Extraction


def joined(answers: Sequence[Answer], text: str) -> Answer:
    """One answer with the given `text` and the cost of all; cut if one of them was."""
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


def merge_results(job: Job, results: Sequence[Result]) -> Result:
    """The results for the chunks of a text, as one."""
    answer = joined(
        [r.answer for r in results], "\n\n".join(r.answer.text.strip() for r in results)
    )
    warnings = tuple(
        f"chunk {number}: {warning}"
        for number, result in enumerate(results, start=1)
        for warning in result.warnings
    )
    extractions = [r.extraction for r in results if r.extraction]
    merged = _merge_extractions(job, results, extractions) if extractions else None
    return replace(
        results[0], answer=answer, extraction=merged, warnings=warnings, chunks=len(results)
    )


def _merge_extractions(
    job: Job, results: Sequence[Result], extractions: Sequence[Extraction]
) -> Extraction:
    """Lists one after the other; of objects, for each key the first value that is not null."""
    whole, start = job.prompt.text.text, 0
    empty: Any = [] if isinstance(extractions[0].data, list) else {}
    merged = replace(extractions[0], data=empty, spans=())
    for result, extraction in zip(results, extractions, strict=True):
        text = result.prepared.prompt.text.text
        start = whole.index(text, start)
        spans = (replace(s, start=s.start + start, end=s.end + start) for s in extraction.spans)
        add = _append if isinstance(merged.data, list) else _fill_in
        merged = add(merged, replace(extraction, spans=tuple(spans)))
        start += len(text)
    return merged


def _append(merged: Extraction, more: Extraction) -> Extraction:
    before = len(merged.data)
    spans = []
    for span in more.spans:
        _, index, *rest = span.path.split("/")
        spans.append(replace(span, path="/".join(["", str(int(index) + before), *rest])))
    return replace(merged, data=[*merged.data, *more.data], spans=(*merged.spans, *spans))


def _fill_in(merged: Extraction, more: Extraction) -> Extraction:
    new = {k: v for k, v in more.data.items() if merged.data.get(k) is None}
    filled = {key for key, value in new.items() if value is not None}
    spans = [span for span in more.spans if _unescaped(span.path.split("/")[1]) in filled]
    return replace(merged, data={**merged.data, **new}, spans=(*merged.spans, *spans))


def _unescaped(token: str) -> str:
    """The key that a token of a JSON Pointer names (RFC 6901)."""
    return token.replace("~1", "/").replace("~0", "~")
