"""Summarize texts of any length, each by itself.

A long text is summarized chunk by chunk, then the summaries are, until they fit one prompt. The
user's options apply to the final summary only. If it has the wrong number of sentences or bullet
points, the model is asked once more; a summary that is still too long is cut.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Annotated, Any, Protocol

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

_CHUNK_SHARE = 8  # the summary of a chunk may take this part of the longest context

_INTRODUCTION = re.compile(
    r"\A(?:sure|certainly|of course|here|below)\b[^\n]{0,120}:[*_]*\s*\n\s*(?=\S)", re.IGNORECASE
)
_BULLET = re.compile(r"^\s*(?:[-*•\u2013]|\d+[.)])\s+\S", re.MULTILINE)


def _option(name: str, help: str, **kwargs: Any) -> Any:
    return typer.Option(name, help=help, show_default=False, **kwargs)


def summarize(
    sentences: Annotated[
        int | None, _option("--sentences", "Write exactly N sentences.", min=1, max=50, metavar="N")
    ] = None,
    words: Annotated[
        int | None, _option("--words", "Write about N words.", min=1, metavar="N")
    ] = None,
    bullets: Annotated[
        int | None,
        _option("--bullets", "Write exactly N bullet points.", min=1, max=50, metavar="N"),
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
        raise UsageError("--sentences and --bullets cannot be combined", hint="Drop one of them.")
    options = {
        "sentences": sentences,
        "words": words,
        "bullets": bullets,
        "style": style,
        "language": language,
    }
    values = {name: value for name, value in options.items() if value is not None}
    return Task("summarize", values, strategy=SummaryStrategy())


class SummaryStrategy(Strategy):
    """Summarizes chunks, then the summaries, and so on; the options apply to the last summary."""

    default_overflow = "split"
    default_reasoning = False
    chunk_template = "summarize-part"
    asks_about_answers = True

    def identity(self, builder: PromptBuilder) -> dict[str, Any]:
        """Includes the chunk template."""
        source = builder.chunk_template.source if builder.chunk_template else None
        return {**super().identity(builder), "part": source}

    def chunk_prompt(self, sizer: PromptSizer, prompt: Prompt, text: str) -> Prompt:
        """The prompt for a summary much shorter than the chunk."""
        builder = sizer.builder.for_chunks("language")
        limits = {n: v for n, v in builder.template.options.items() if n == "max_tokens"}
        chunk = builder.with_text(replace(prompt, overrides={**prompt.overrides, **limits}), text)
        most = sizer.generation(chunk).max_tokens
        limit = max(min(most, sizer.config.longest // _CHUNK_SHARE), 1)
        return replace(chunk, overrides={**chunk.overrides, "max_tokens": limit})

    def context_needed(self, sizer: PromptSizer, chunked: ChunkedText) -> int:
        """Includes prompts about summaries, which may be as long as the longest chunk."""
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

        final, earlier, cut = self._reduce(job, executor)
        target = length_target(executor.planner.builder.task.values)
        attempts, last, warnings = _final_answer(final, target, executor, writer)
        if cut:
            warnings = (f"{cut} of the summaries of chunks were cut at their limit", *warnings)
        answer = joined([*earlier, *attempts], last.text)
        answer = replace(answer, finish_reason=last.finish_reason)
        prepared = replace(final, prompt=job.prompt)
        chunks = len(job.requests)
        return Result(executor.planner, prepared, answer, None, warnings, chunks=chunks)

    def _reduce(self, job: Job, executor: Executor) -> tuple[PreparedRequest, list[Answer], int]:
        """The request for the final summary, the answers before it, and the number of cut ones."""
        if not job.split:
            return job.requests[0], [], 0
        from mistral_cli.errors import ContextExceeded
        from mistral_cli.generation.chunking import fits_one_chunk, split_text

        planner, requests = executor.planner, job.requests
        earlier: list[Answer] = []
        cut, previous = 0, job.prompt.text.text
        for level in range(1, len(previous) + 2):  # each level must be shorter than the last
            count = len(requests)
            answers = []
            executor.status(f"level {level}: 0 of {count} chunks summarized …")
            for number, answer in enumerate(executor.answers(requests), start=1):
                executor.status(f"level {level}: {number} of {count} chunks summarized …")
                answers.append(without_introduction(answer))
            earlier += answers
            cut += sum(answer.finish_reason == "length" for answer in answers)
            text = "\n\n".join(answer.text.strip() for answer in answers)
            prompt = planner.builder.with_text(job.prompt, text)
            encoded = planner.encode(prompt)
            if fits_one_chunk(planner, encoded):
                executor.status(f"level {level + 1}: the summary of {count} summaries …")
                return planner.prepare(encoded), earlier, cut
            if len(text) >= len(previous):
                break
            chunks = split_text(planner, prompt, "text", self.chunk_prompt)
            requests, previous = [planner.prepare(chunk) for chunk in chunks], text
        raise ContextExceeded(
            "the summaries of the chunks are no shorter than the chunks",
            hint="Use a larger -c/--context-length, or another model.",
        )


class Units(Protocol):
    """The sentences or bullet points of a text."""

    @property
    def count(self) -> int:
        """Their number."""

    @property
    def possible(self) -> set[int]:
        """Every number that some reading of the text has."""

    def first(self, number: int, *, complete: bool = True) -> str | None:
        """The first `number` of them; None if there are fewer.

        If the text is not `complete`, its last unit is unfinished and does not count.
        """


@dataclass(frozen=True)
class LengthTarget:
    """Exactly `number` sentences or bullet points; `units` finds them in a text."""

    number: int
    name: str
    units: Callable[[str], Units]

    def __str__(self) -> str:
        return _count_of(self.number, self.name)

    def is_met(self, text: str) -> bool:
        """True if some reading of `text` has exactly that number."""
        return self.number in self.units(text).possible

    def describe(self, text: str) -> str:
        """The number that `text` has, in words."""
        return _count_of(self.units(text).count, self.name)

    def cut(self, text: str, *, complete: bool = True) -> str | None:
        """Cut a text that is too long after the target; None if it is too short."""
        return self.units(text.strip()).first(self.number, complete=complete)


@dataclass(frozen=True)
class BulletPoints:
    """The lines of `text` that start like an item of a list."""

    text: str

    @property
    def count(self) -> int:
        """Their number."""
        return len(_BULLET.findall(self.text))

    @property
    def possible(self) -> set[int]:
        """Their number: there is no doubt."""
        return {self.count}

    def first(self, number: int, *, complete: bool = True) -> str | None:
        """The text up to the end of the first `number` bullet points; None if there are fewer."""
        lines = self.text.splitlines(keepends=True)
        ends = accumulate(lines if complete else lines[:-1])
        return next((e.rstrip() for e in ends if BulletPoints(e).count == number), None)


def length_target(values: Mapping[str, Any]) -> LengthTarget | None:
    """The target in a task's values, or None."""
    from mistral_cli.texts.sentences import Sentences

    if number := values.get("sentences"):
        find = partial(Sentences.of, language=values.get("language"))
        return LengthTarget(number, "sentence", find)
    if number := values.get("bullets"):
        return LengthTarget(number, "bullet point", BulletPoints)
    return None


def without_introduction(answer: Answer) -> Answer:
    """`answer` without a first line like "Here is the summary:"."""
    text = answer.text.strip()
    return replace(answer, text=_INTRODUCTION.sub("", text) or text)


def _final_answer(
    prepared: PreparedRequest, target: LengthTarget | None, executor: Executor, writer: ResultWriter
) -> tuple[list[Answer], Answer, tuple[str, ...]]:
    """Every attempt at the final summary, the answer to use, and the warnings about it."""
    from mistral_cli.generation.answer import cut_warning

    if target is None:
        answer = executor.answer(prepared, writer.delta)
        return [answer], answer, cut_warning(prepared, answer)
    first = without_introduction(executor.answer(prepared))
    if _meets(first, target):
        writer.delta(first.text)
        return [first], first, ()
    executor.status(f"retrying for {target} …")
    request = _retry(prepared, first, target, executor)
    second = without_introduction(executor.ask(request, prepared.stop, lambda _: None))
    last, warnings = _nearest(prepared, target, first, second)
    writer.delta(last.text)
    return [first, second], last, warnings


def _meets(answer: Answer, target: LengthTarget) -> bool:
    """True if the length is right and the last sentence is complete."""
    return target.is_met(answer.text) and answer.finish_reason == "stop"


def _nearest(
    prepared: PreparedRequest, target: LengthTarget, *answers: Answer
) -> tuple[Answer, tuple[str, ...]]:
    """An answer that meets the target, else one that is too long, cut.

    The first answer is preferred: in the second a weak model tends to talk about the first.
    """
    from mistral_cli.generation.answer import cut_warning

    for answer in answers:
        if _meets(answer, target):
            return answer, ()
    for answer in answers:
        if text := target.cut(answer.text, complete=answer.finish_reason == "stop"):
            shortened = replace(answer, text=text, finish_reason="stop")
            return shortened, (
                f"the model wrote {target.describe(answer.text)}: cut after {target}",
            )
    answer, warnings = answers[0], cut_warning(prepared, answers[0])
    if not target.is_met(answer.text):
        miscount = f"the summary has {target.describe(answer.text)}, not {target} (after one retry)"
        warnings = (*warnings, miscount)
    return answer, warnings


def _retry(
    prepared: PreparedRequest, answer: Answer, target: LengthTarget, executor: Executor
) -> Request:
    """A request with a turn about the miscount, if the prompt has turns and room for one."""
    correction = f"That has {target.describe(answer.text)}. Write it again in exactly {target}."
    request = executor.planner.with_correction(prepared, answer.text, correction)
    return request or prepared.request


def _count_of(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"
