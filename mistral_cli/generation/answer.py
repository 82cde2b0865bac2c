"""An engine's events → an answer → the result for one text, and its JSON fields.

The results for the chunks of a text are merged into one.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from mistral_cli.checks.check import check_fields
from mistral_cli.engines.types import (
    Event,
    Finish,
    FinishReason,
    PrefillProgress,
    ReasoningDelta,
    Scores,
    TextDelta,
)
from mistral_cli.errors import EngineFailed
from mistral_cli.generation.options import Overflow
from mistral_cli.models.remote import RemoteModel
from mistral_cli.texts.inputs import BYTE_ORDER_MARK

if TYPE_CHECKING:
    from mistral_cli.checks.check import Check
    from mistral_cli.checks.support.citations import Citation
    from mistral_cli.generation.classification.outcome import Classification
    from mistral_cli.generation.planner import Job, PreparedRequest, RequestPlanner
    from mistral_cli.structured.spec import Extraction
    from mistral_cli.texts.spans import Span


AnswerEnd = FinishReason | Literal["closed"]
"""How an answer ended: by the model, cut at its limit, or closed there as valid JSON."""

_NUMBER = re.compile(r"\d+")
_LISTED_CHUNKS = 5


@dataclass(frozen=True)
class Timings:
    """Seconds. `prompt` lasts from the start of the request to the first token of the answer."""

    load: float
    prompt: float
    generation: float


@dataclass(frozen=True)
class Answer:
    """A complete answer and its cost; `reasoning` is the thought before it.

    Of the `prompt_tokens`, `cached_tokens` came from a cache and needed no prefill. `attempts` is
    the number of requests until this answer. `stop_text` is the stop text that ended it, if one
    did.
    """

    text: str
    finish_reason: AnswerEnd
    completion_tokens: int
    timings: Timings
    prompt_tokens: int = 0
    cached_tokens: int = 0
    reasoning: str = ""
    reasoning_tokens: int = 0
    attempts: int = 1
    stop_text: str | None = None

    @property
    def tokens(self) -> int:
        """All tokens that the engine evaluated for it."""
        return self.prompt_tokens + self.reasoning_tokens + self.completion_tokens


@dataclass(frozen=True)
class Result:
    """The answer about one text, with the request and the planner behind it.

    `extraction` is the value parsed from a JSON answer. `chunks` is the number of chunks that the
    text was split into; `left_out` describes the part of it that no request contained. `checks`
    are those of a text. `quotes` are the sentences that an extractive summary took from it, and
    `citations` those that support a free one. `classification` is the label that a text has.
    `known` is the probability of the right continuation, if that was wanted.
    """

    planner: RequestPlanner
    prepared: PreparedRequest
    answer: Answer
    extraction: Extraction | None = None
    warnings: tuple[str, ...] = ()
    chunks: int = 1
    left_out: str = ""
    checks: tuple[Check, ...] = ()
    quotes: tuple[Span, ...] | None = None
    citations: tuple[Citation, ...] | None = None
    classification: Classification | None = None
    known: KnownScore | None = None


@dataclass(frozen=True)
class KnownScore:
    """The log-probability of a known continuation, and the number of its tokens."""

    logprob: float
    tokens: int


class AnswerEnded(Exception):
    """Raised by an `on_text` of `collect`: the answer ends after the text that it was given."""


def collect(
    events: Generator[Event, None, None],
    *,
    prompt_tokens: int,
    load_seconds: float,
    on_progress: Callable[[PrefillProgress], None],
    on_text: Callable[[str], None],
    on_reasoning: Callable[[str], None] = lambda _: None,
) -> Answer:
    """Drain `events`, passing on progress and text as they come. Raises EngineFailed.

    `on_reasoning` gets a thought, and an empty text where it ends. An `on_text` that raises
    AnswerEnded stops the engine.
    """
    started = time.perf_counter()
    first: float | None = None
    deltas, thoughts = list[TextDelta](), list[ReasoningDelta]()
    finish: Finish | None = None
    cached = 0
    for event in events:
        match event:
            case PrefillProgress(done):
                if done == 0:  # until now the request waited for a slot
                    started = time.perf_counter()
                on_progress(event)
                cached = event.cached
            case ReasoningDelta(text):
                first = first or time.perf_counter()
                thoughts.append(event)
                if text:
                    on_reasoning(text)
            case TextDelta(text):
                first = first or time.perf_counter()
                if thoughts and text and not any(each.text for each in deltas):
                    on_reasoning("")
                deltas.append(event)
                try:
                    on_text(text)
                except AnswerEnded:
                    events.close()  # at once, so that the engine stops computing
                    finish = Finish("stop", _tokens(deltas), None, _tokens(thoughts))
                    break
            case Finish():
                finish = event
    if finish is None:
        raise EngineFailed("the engine stopped without a result", hint="Try another --engine.")
    if thoughts and not any(each.text for each in deltas):
        on_reasoning("")
    ended = time.perf_counter()
    first = first or ended
    return Answer(
        _text(deltas),
        finish.reason,
        finish.completion_tokens,
        Timings(load_seconds, *(finish.seconds or (first - started, ended - first))),
        prompt_tokens,
        cached,
        _text(thoughts).strip(),
        finish.reasoning_tokens,
        stop_text=finish.stop_text,
    )


def collect_scores(
    events: Generator[Event, None, None],
    *,
    prompt_tokens: int,
    load_seconds: float,
    on_progress: Callable[[PrefillProgress], None],
) -> tuple[Answer, Scores]:
    """Drain the events of a ScoreRequest; the answer has no text, only the cost.

    Raises EngineFailed.
    """
    started, cached = time.perf_counter(), 0
    read: float | None = None
    for event in events:
        match event:
            case PrefillProgress(done):
                if done == 0:  # until now the request waited for a slot
                    started = time.perf_counter()
                on_progress(event)
                cached = event.cached
                read = time.perf_counter()
            case Scores():
                ended = time.perf_counter()
                read = read or ended
                timings = Timings(load_seconds, read - started, ended - read)
                return Answer("", "stop", 0, timings, prompt_tokens, cached), event
    raise EngineFailed("the engine stopped without a result", hint="Try another --engine.")


def _text(deltas: Sequence[TextDelta | ReasoningDelta]) -> str:
    return "".join(each.text for each in deltas)


def _tokens(deltas: Sequence[TextDelta | ReasoningDelta]) -> int:
    return sum(each.tokens for each in deltas)


def join_parts(
    parts: Sequence[Answer], text: str, finish_reason: AnswerEnd, completion_tokens: int
) -> Answer:
    """The answer `text` that was written in `parts`, with the time of all of them."""
    first, *others = parts
    seconds = sum(each.timings.prompt + each.timings.generation for each in others)
    return replace(
        first,
        text=text,
        finish_reason=finish_reason,
        completion_tokens=completion_tokens,
        stop_text=parts[-1].stop_text,
        timings=replace(first.timings, generation=first.timings.generation + seconds),
    )


def in_tokens(number: int) -> str:
    """`number` with its unit."""
    return f"{number} token" if number == 1 else f"{number} tokens"


def cut_warning(prepared: PreparedRequest, answer: Answer) -> tuple[str, ...]:
    """A warning that names the limit at which an answer was cut; empty if it is complete."""
    if answer.finish_reason != "length":
        return ()
    limit = f"the context of {prepared.context_length} tokens"
    if prepared.prompt_tokens + prepared.request.max_tokens < prepared.context_length:
        limit = "-n/--max-tokens"
    return (f"the answer was cut at {in_tokens(answer.completion_tokens)} ({limit})",)


def request_fields(planner: RequestPlanner, prepared: PreparedRequest) -> dict[str, Any]:
    """The first fields of every JSON object about a request."""
    config = planner.config
    return {
        "command": planner.builder.task.name,
        "source": prepared.prompt.text.source,
        "model": config.model_name,
        "adapters": adapter_fields(planner),
        "engine": config.selection.backend.name,
        "engine_reason": config.selection.reason,
        "served": config.selection.served,
        **server_fields(planner, prepared),
    }


def server_fields(planner: RequestPlanner, prepared: PreparedRequest) -> dict[str, Any]:
    """How a prompt reached a server; nothing for an engine on this machine."""
    model = planner.config.model
    if not isinstance(model, RemoteModel):
        return {}
    return {"prompted_as": model.prompted_as(prepared.request.prompt_token_ids)}


def answer_fields(result: Result, *, exact: bool) -> dict[str, Any]:
    """The fields of every JSON object about an answer; with `exact` the text is not stripped."""
    answer = result.answer
    stripped = 0 if exact else len(answer.text) - len(_without_mark(answer.text).lstrip())
    shows_reasoning = result.planner.builder.options.show_reasoning
    return {
        **_content_fields(result, stripped, exact=exact),
        **({"reasoning": answer.reasoning or None} if shows_reasoning else {}),
        "finish_reason": answer.finish_reason,
        "prompt_tokens": answer.prompt_tokens,
        "cached_tokens": answer.cached_tokens,
        "completion_tokens": answer.completion_tokens,
        "reasoning_tokens": answer.reasoning_tokens,
        "checks": [check_fields(check, stripped) for check in result.checks],
        "chunks": result.chunks,
        "left_out": result.left_out or None,
        "timings": timing_fields(answer),
    }


def _content_fields(result: Result, stripped: int, *, exact: bool) -> dict[str, Any]:
    extraction, spec = result.extraction, result.prepared.prompt.spec
    if extraction is None:
        text = result.answer.text
        text = text if exact else _without_mark(text).strip()
        return {
            "text": text,
            **_quote_fields(result),
            **_citation_fields(result, stripped),
            **_label_fields(result),
            **_known_fields(result.known),
        }
    if not (spec and spec.spec.grounded):
        return {"data": extraction.data}
    spans = [{"path": span.path, "start": span.start, "end": span.end} for span in extraction.spans]
    return {"data": extraction.data, "spans": spans}


def _known_fields(known: KnownScore | None) -> dict[str, Any]:
    return {"known": {"logprob": known.logprob, "tokens": known.tokens}} if known else {}


def _without_mark(text: str) -> str:
    return text.removeprefix(BYTE_ORDER_MARK)


def _quote_fields(result: Result) -> dict[str, Any]:
    if result.quotes is None:
        return {}
    text = result.prepared.prompt.text.text
    sentences = [
        {"text": text[each.start : each.end], "start": each.start, "end": each.end}
        for each in result.quotes
    ]
    return {"sentences": sentences}


def _citation_fields(result: Result, stripped: int) -> dict[str, Any]:
    if result.citations is None:
        return {}
    from mistral_cli.generation.summaries.cited import citation_fields

    return {"citations": citation_fields(result.citations, stripped)}


def _label_fields(result: Result) -> dict[str, Any]:
    return result.classification.fields() if result.classification else {}


def adapter_fields(planner: RequestPlanner) -> list[dict[str, Any]]:
    """The LoRA adapters added to the model."""
    return [{"path": str(each.path), "scale": each.scale} for each in planner.load.adapters]


def timing_fields(answer: Answer) -> dict[str, float]:
    """Seconds and tokens a second, rounded for reading."""
    times = answer.timings
    tokens = answer.reasoning_tokens + answer.completion_tokens
    speed = (tokens - 1) / times.generation if times.generation > 0 else 0.0
    return {
        "load_seconds": round(times.load, 3),
        "prompt_seconds": round(times.prompt, 3),
        "generation_seconds": round(times.generation, 3),
        "tokens_per_second": round(max(speed, 0.0), 2),
    }


def joined(answers: Sequence[Answer], text: str) -> Answer:
    """One answer with `text` and the total cost of `answers`; cut if any of them was cut."""
    times = [answer.timings for answer in answers]
    return Answer(
        text,
        _worst_end(answers),
        sum(answer.completion_tokens for answer in answers),
        Timings(
            sum(each.load for each in times),
            sum(each.prompt for each in times),
            sum(each.generation for each in times),
        ),
        sum(answer.prompt_tokens for answer in answers),
        sum(answer.cached_tokens for answer in answers),
        "\n\n".join(answer.reasoning for answer in answers if answer.reasoning),
        sum(answer.reasoning_tokens for answer in answers),
    )


def _worst_end(answers: Sequence[Answer]) -> AnswerEnd:
    ends = {answer.finish_reason for answer in answers}
    return "length" if "length" in ends else "closed" if "closed" in ends else "stop"


def merge_results(job: Job, results: Sequence[Result]) -> Result:
    """Merge the results for the chunks of a text into one."""
    answer = joined(
        [r.answer for r in results], "\n\n".join(r.answer.text.strip() for r in results)
    )
    warnings = _merge_warnings([result.warnings for result in results])
    extractions = [r.extraction for r in results if r.extraction]
    merged = _merge_extractions(job, results, extractions) if extractions else None
    return replace(
        results[0],
        answer=answer,
        extraction=merged,
        warnings=warnings,
        chunks=len(results),
        checks=_merge_checks(results),
    )


def _merge_checks(results: Sequence[Result]) -> tuple[Check, ...]:
    from mistral_cli.generation.checking.merging import PlacedChecks, merged

    parts, start = [], 0
    for result in results:
        text = result.answer.text.strip()
        parts.append(PlacedChecks(result.checks, text, start))
        start += len(text) + 2  # a blank line stands between two
    return merged(parts)


def in_whole_text(job: Job, result: Result) -> Result:
    """`result` about the part of a text that was kept, with spans in the whole text."""
    if not (job.left_out and result.extraction):
        return result
    whole, kept = job.prompt.text.text, result.prepared.prompt.text.text
    is_head = result.planner.config.overflow is Overflow.HEAD
    start = 0 if is_head else len(whole) - len(kept)
    spans = tuple(
        replace(each, start=each.start + start, end=each.end + start)
        for each in result.extraction.spans
    )
    return replace(result, extraction=replace(result.extraction, spans=spans))


def _merge_warnings(chunks: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Warnings with the numbers of their chunks; those that differ only in numbers are one."""
    alike: dict[str, list[tuple[int, str]]] = {}
    for number, warnings in enumerate(chunks, start=1):
        for warning in warnings:
            alike.setdefault(_NUMBER.sub("", warning), []).append((number, warning))
    return tuple(f"{_chunk_numbers(same, len(chunks))}: {same[0][1]}" for same in alike.values())


def _chunk_numbers(warnings: Sequence[tuple[int, str]], total: int) -> str:
    numbers = list(dict.fromkeys(number for number, _ in warnings))
    if len(numbers) == 1:
        return f"chunk {numbers[0]}"
    if len(numbers) > _LISTED_CHUNKS:
        return f"{len(numbers)} of {total} chunks"
    return f"chunks {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"


def _merge_extractions(
    job: Job, results: Sequence[Result], extractions: Sequence[Extraction]
) -> Extraction:
    """Concatenate lists; from objects, take the first value of each key that is not null."""
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
