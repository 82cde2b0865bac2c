"""Summarize texts of any length, each by itself.

A long text is summarized chunk by chunk, then the summaries are, until one prompt holds them.
What the user asks of the summary applies to the last step alone. A number of sentences or
bullet points is counted, asked for again once, and cut where there are more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mistral_cli.generation.task import Strategy, Task

if TYPE_CHECKING:
    from mistral_cli.engines.types import Request
    from mistral_cli.generation.answer import Answer, Result
    from mistral_cli.generation.chunking import ChunkedText, PromptSizer
    from mistral_cli.generation.planner import Job, PreparedRequest
    from mistral_cli.generation.prompt import Prompt, PromptBuilder
    from mistral_cli.generation.session import Executor
    from mistral_cli.generation.writers import ResultWriter

_CHUNK_SHARE = 8  # the summary of a chunk may take that part of the longest context

_INTRODUCTION = re.compile(
    r"\A(?:sure|certainly|of course|here|below)\b[^\n]{0,120}:[*_]*\s*\n\s*(?=\S)", re.IGNORECASE
)
_BULLET = re.compile(r"^\s*(?:[-*•\u2013]|\d+[.)])\s+\S", re.MULTILINE)


def _option(name: str, help: str, **kwargs: Any) -> Any:
    return typer.Option(name, help=help, show_default=False, **kwargs)


def summarize(
    sentences: Annotated[
        int | None, _option("--sentences", "Write exactly N sentences.", min=1, max=50)
    ] = None,
    words: Annotated[int | None, _option("--words", "Write about N words.", min=1)] = None,
    bullets: Annotated[
        int | None, _option("--bullets", "Write exactly N bullet points.", min=1, max=50)
    ] = None,
    style: Annotated[
        str | None, _option("--style", "Such as 'for a child' or 'formal'.", metavar="TEXT")
    ] = None,
    language: Annotated[
        str | None, _option("--language", "Language of the summary.", metavar="LANGUAGE")
    ] = None,
) -> Task:
    """Summarize texts of any length, each by itself."""
    from mistral_cli.errors import UsageError

    if sentences and bullets:
        raise UsageError("--sentences and --bullets are both given", hint="Give one of them.")
    given = {
        "sentences": sentences,
        "words": words,
        "bullets": bullets,
        "style": style,
        "language": language,
    }
    values = {name: value for name, value in given.items() if value is not None}
    return Task("summarize", values, strategy=SummaryStrategy())


class SummaryStrategy(Strategy):
    """Summaries of chunks, of their summaries, and so on; the last one as the user asked."""

    default_overflow = "split"
    chunk_template = "summarize-part"
    asks_about_answers = True

    def identity(self, builder: PromptBuilder) -> dict[str, Any]:
        """The chunk template."""
        source = builder.chunk_template.source if builder.chunk_template else None
        return {**super().identity(builder), "part": source}

    def chunk_prompt(self, sizer: PromptSizer, prompt: Prompt, text: str) -> Prompt:
        """A prompt that asks for a summary much shorter than the chunk."""
        builder = sizer.builder.for_chunks("language")
        limits = {n: v for n, v in builder.template.options.items() if n == "max_tokens"}
        chunk = builder.with_text(replace(prompt, overrides={**prompt.overrides, **limits}), text)
        most = sizer.generation(chunk).max_tokens
        limit = max(min(most, sizer.config.longest // _CHUNK_SHARE), 1)
        return replace(chunk, overrides={**chunk.overrides, "max_tokens": limit})

    def context_needed(self, sizer: PromptSizer, chunked: ChunkedText) -> int:
        """Room for prompts about summaries too, which may be as long as the longest chunk."""
        needed = super().context_needed(sizer, chunked)
        if not chunked.split:
            return needed
        from mistral_cli.generation.chunking import LONGEST_CHUNK

        prompts = [*(each.prompt for each in chunked.prompts), chunked.prompt]
        answer = max(map(sizer.longest_answer, prompts))
        return max(needed, min(sizer.config.longest, LONGEST_CHUNK + answer))

    def answer(self, job: Job, executor: Executor, writer: ResultWriter) -> Result:
        """The summary of the whole text."""
        from mistral_cli.generation.answer import Result, joined

        final, spent, cut = self._reduce(job, executor)
        target = length_target(executor.planner.builder.task.values)
        asked, last, warnings = _final_answer(final, target, executor, writer)
        if cut:
            warnings = (f"{cut} of the summaries of chunks were cut at their limit", *warnings)
        answer = joined([*spent, *asked], last.text)
        answer = replace(answer, finish_reason=last.finish_reason)
        prepared = replace(final, prompt=job.prompt)
        chunks = len(job.requests)
        return Result(executor.planner, prepared, answer, None, warnings, chunks=chunks)

    def _reduce(self, job: Job, executor: Executor) -> tuple[PreparedRequest, list[Answer], int]:
        """The request for the final summary, the answers before it, and how many were cut."""
        if not job.split:
            return job.requests[0], [], 0
        from mistral_cli.errors import ContextExceeded
        from mistral_cli.generation.chunking import fits_one_chunk, split_text

        planner, requests = executor.planner, job.requests
        spent: list[Answer] = []
        cut, before = 0, job.prompt.text.text
        for level in range(1, len(before) + 2):  # each level must be shorter than the last
            count = len(requests)
            answers = []
            executor.status(f"level {level}: 0 of {count} chunks are summarized …")
            for number, answer in enumerate(executor.answers(requests), start=1):
                executor.status(f"level {level}: {number} of {count} chunks are summarized …")
                answers.append(without_introduction(answer))
            spent += answers
            cut += sum(answer.finish_reason == "length" for answer in answers)
            text = "\n\n".join(answer.text.strip() for answer in answers)
            prompt = planner.builder.with_text(job.prompt, text)
            encoded = planner.encode(prompt)
            if fits_one_chunk(planner, encoded):
                executor.status(f"level {level + 1}: the summary of {count} summaries …")
                return planner.prepare(encoded), spent, cut
            if len(text) >= len(before):
                break
            chunks = split_text(planner, prompt, "text", self.chunk_prompt)
            requests, before = [planner.prepare(chunk) for chunk in chunks], text
        raise ContextExceeded(
            "the summaries of the chunks are no shorter than the chunks",
            hint="Use a larger -c/--context-length, or another model.",
        )


@dataclass(frozen=True)
class LengthTarget:
    """Exactly `number` of something countable; `units` splits a text where it can be cut."""

    number: int
    name: str
    counted: Callable[[str], int]
    units: Callable[[str], Iterable[str]]

    def __str__(self) -> str:
        return _numbered(self.number, self.name)

    def holds(self, text: str) -> bool:
        """Whether `text` has exactly that many."""
        return self.counted(text) == self.number

    def count(self, text: str) -> str:
        """How many `text` has, in words."""
        return _numbered(self.counted(text), self.name)

    def beginning(self, text: str, *, complete: bool = True) -> str | None:
        """The first so many of a text that has more; None if it has too few.

        The last unit of a text that is not `complete` was cut, and does not count.
        """
        units = list(self.units(text.strip()))
        ends = accumulate(units if complete else units[:-1])
        return next((end.rstrip() for end in ends if self.holds(end)), None)


def length_target(values: Mapping[str, Any]) -> LengthTarget | None:
    """The target among a task's values, if there is one."""
    from mistral_cli.texts.sentences import count_sentences

    if number := values.get("sentences"):
        return LengthTarget(number, "sentence", count_sentences, _sentences)
    if number := values.get("bullets"):
        return LengthTarget(
            number, "bullet point", count_bullets, lambda text: text.splitlines(True)
        )
    return None


def count_bullets(text: str) -> int:
    """Lines that begin as the items of a list do."""
    return len(_BULLET.findall(text))


def without_introduction(answer: Answer) -> Answer:
    """`answer` without a first line like "Here is the summary:", which is not of the text."""
    text = answer.text.strip()
    return replace(answer, text=_INTRODUCTION.sub("", text) or text)


def _final_answer(
    prepared: PreparedRequest, target: LengthTarget | None, executor: Executor, writer: ResultWriter
) -> tuple[list[Answer], Answer, tuple[str, ...]]:
    """All answers to the final request, the one to use, and the warnings about it."""
    from mistral_cli.generation.answer import cut_warning

    if target is None:
        answer = executor.answer(prepared, writer.delta)
        return [answer], answer, cut_warning(prepared, answer)
    first = without_introduction(executor.answer(prepared))
    if _meets(first, target):
        writer.delta(first.text)
        return [first], first, ()
    executor.status(f"asking again for {target} …")
    request = _retry(prepared, first, target, executor)
    second = without_introduction(executor.ask(request, prepared.stop, lambda _: None))
    last, warnings = _nearest(prepared, target, first, second)
    writer.delta(last.text)
    return [first, second], last, warnings


def _meets(answer: Answer, target: LengthTarget) -> bool:
    """Whether the length is right, and the last sentence complete."""
    return target.holds(answer.text) and answer.finish_reason == "stop"


def _nearest(
    prepared: PreparedRequest, target: LengthTarget, *answers: Answer
) -> tuple[Answer, tuple[str, ...]]:
    """An answer that meets the target, else the beginning of one that is too long.

    The first before the second: in the second a weak model tends to talk about the first.
    """
    from mistral_cli.generation.answer import cut_warning

    for answer in answers:
        if _meets(answer, target):
            return answer, ()
    for answer in answers:
        if text := target.beginning(answer.text, complete=answer.finish_reason == "stop"):
            kept = replace(answer, text=text, finish_reason="stop")
            return kept, (f"the model wrote {target.count(answer.text)}: cut after {target}",)
    answer, warnings = answers[0], cut_warning(prepared, answers[0])
    if not target.holds(answer.text):
        has = f"the summary has {target.count(answer.text)}, not {target} (asked twice)"
        warnings = (*warnings, has)
    return answer, warnings


def _retry(
    prepared: PreparedRequest, answer: Answer, target: LengthTarget, executor: Executor
) -> Request:
    """A request that says what was wrong, where there is a chat and room to say it in."""
    from mistral_cli.models.chat import Message

    request: Request | None = None
    messages = prepared.prompt.content
    if isinstance(messages, list):
        correction = f"That has {target.count(answer.text)}. Write it again in exactly {target}."
        more = [Message("assistant", answer.text), Message("user", correction)]
        request = executor.planner.with_messages(prepared, [*messages, *more])
    return request or prepared.request


def _sentences(text: str) -> Iterable[str]:
    from sentencex import segment

    return list(segment("en", text))


def _numbered(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"
