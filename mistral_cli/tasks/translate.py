"""Translate texts, each by itself, and keep their structure.

A document is translated segment by segment: what is not prose stays as it is, to the character.
A translation that loses something is asked for again once, and reported if that does not help.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mistral_cli.generation.task import Strategy, Task

if TYPE_CHECKING:
    from mistral_cli.engines.types import Request
    from mistral_cli.generation.answer import Answer, Result
    from mistral_cli.generation.chunking import ChunkedText, PromptSizer
    from mistral_cli.generation.planner import Job, PreparedRequest
    from mistral_cli.generation.prompt import EncodedPrompt, Prompt, PromptBuilder
    from mistral_cli.generation.session import Executor
    from mistral_cli.generation.writers import ResultWriter
    from mistral_cli.texts.glossary import Glossary
    from mistral_cli.texts.structure import TextFormat

_CHUNK_SHARE = 3  # a chunk may take that part of the context, so that its translation fits too
_LEAST_LIMIT, _TOKENS_FOR_ONE = 48, 3  # a translation's limit: tokens, and for each of the text's


def translate(
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="LANGUAGE",
            help="Language to translate into (default: the template's, English).",
            show_default=False,
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="LANGUAGE", help="Language of the text.", show_default=False
        ),
    ] = None,
    glossary: Annotated[
        Path | None,
        typer.Option(
            "--glossary",
            metavar="FILE",
            help="Terms and their translations: CSV or TSV with two columns.",
            show_default=False,
        ),
    ] = None,
) -> Task:
    """Translate texts, each by itself, and keep their structure."""
    from mistral_cli.errors import UsageError
    from mistral_cli.texts.glossary import read_glossary

    given = {"to": to, "from": source}
    values = {name: value for name, value in given.items() if value is not None}
    if not all(map(str.strip, values.values())):
        raise UsageError("a language is empty", hint="Write for example --to French.")
    terms = read_glossary(glossary) if glossary else None
    return Task("translate", values, strategy=TranslationStrategy(terms))


class TranslationStrategy(Strategy):
    """Each segment by itself, put where the original stood; `glossary` has the terms to use."""

    default_overflow = "split"

    def __init__(self, glossary: Glossary | None = None) -> None:
        self._glossary = glossary

    def template_values(self, text: str) -> Mapping[str, Any]:
        """The terms of the glossary that occur in the text."""
        if self._glossary and (terms := self._glossary.terms_in(text)):
            pairs = (f"{term} = {translation}" for term, translation in terms.items())
            return {"terms": "; ".join(pairs)}
        return {}

    def identity(self, builder: PromptBuilder) -> dict[str, Any]:
        """The glossary."""
        glossary = asdict(self._glossary) if self._glossary else None
        return {**super().identity(builder), "glossary": glossary}

    def chunk(self, sizer: PromptSizer, prompt: EncodedPrompt) -> ChunkedText:
        """The segments to translate, and the text between them."""
        from mistral_cli.generation.chunking import ChunkedText, kind_of
        from mistral_cli.generation.options import Overflow
        from mistral_cli.generation.prompt import EncodedPrompt

        whole = prompt.prompt
        if sizer.config.overflow is not Overflow.SPLIT or not isinstance(whole.content, list):
            return super().chunk(sizer, prompt)
        kind = kind_of(whole)
        chunks = tuple(self._segments(sizer, prompt, kind))
        if any(isinstance(chunk, EncodedPrompt) for chunk in chunks):
            return ChunkedText(whole, chunks, kind=kind)
        return ChunkedText(whole, (prompt,))  # code, or timings alone: whatever the model says

    def answer(self, job: Job, executor: Executor, writer: ResultWriter) -> Result:
        """The translation of the whole document, written in order."""
        plain = len(job.chunks) == len(job.requests) == 1 and job.kind == "text"
        if plain and self._glossary is None:
            return super().answer(job, executor, writer)
        from mistral_cli.generation.answer import Result, joined

        requests = job.requests
        answers = executor.answers(requests, lambda each: self._translate(job, each, executor))
        received: list[Answer] = []
        texts: list[str] = []
        problems: dict[int, str] = {}
        for chunk in job.chunks:
            if isinstance(chunk, str):
                text = chunk
            else:
                answer = next(answers)
                received.append(answer)
                executor.status(f"{len(received)} of {len(requests)} segments are translated …")
                text = _fitted(chunk, answer)
                if problem := self._problem(job, chunk, answer):
                    problems[len(received)] = problem
            texts.append(text)
            writer.delta(text)
        warnings = tuple(
            f"segment {number} of {len(requests)}: {why}" for number, why in problems.items()
        )
        return Result(
            executor.planner,
            replace(requests[0], prompt=job.prompt),
            joined(received, "".join(texts)),
            None,
            warnings,
            chunks=len(requests),
        )

    def _segments(
        self, sizer: PromptSizer, whole: EncodedPrompt, kind: TextFormat
    ) -> Iterator[EncodedPrompt | str]:
        from mistral_cli.texts.split import split
        from mistral_cli.texts.structure import segments

        prompt = whole.prompt
        limit = _chunk_limit(sizer, prompt)
        for segment in segments(prompt.text.text, kind):
            if not segment.translate:
                yield segment.text
                continue
            for part in split(segment.text, sizer.count, limit, markdown=False):
                words = part.strip()
                start = part.index(words)
                yield from filter(None, (part[:start],))
                chunk = prompt
                if words != prompt.text.text or self._glossary:
                    chunk = sizer.builder.with_text(prompt, words)
                yield sizer.encode(_with_limit(sizer, chunk))
                yield from filter(None, (part[start + len(words) :],))

    def _translate(self, job: Job, prepared: PreparedRequest, executor: Executor) -> Answer:
        """The translation of one segment, asked for again once where something is lost."""
        answer = executor.answer(prepared)
        if problem := self._problem(job, prepared, answer):
            request = _retry(prepared, answer, problem, executor)
            second = executor.ask(request, prepared.stop, lambda _: None)
            if not self._problem(job, prepared, second):
                return second
        return answer

    def _problem(self, job: Job, prepared: PreparedRequest, answer: Answer) -> str | None:
        """What is wrong with a translation, or None."""
        from mistral_cli.texts.structure import translation_problem

        if answer.finish_reason == "length":
            return f"the translation was cut at {answer.completion_tokens} tokens"
        original, text = prepared.prompt.text.text, answer.text.strip()
        if problem := translation_problem(original, text, job.kind):
            return problem
        if self._glossary and (missing := self._glossary.missing(original, text)):
            return f"the glossary's {', '.join(missing)} is not used"
        return None


def _chunk_limit(sizer: PromptSizer, prompt: Prompt) -> int:
    """The most tokens of a chunk whose translation, which may be longer, still fits."""
    from mistral_cli.generation.chunking import ANY_TEXT, LONGEST_CHUNK, MARGIN, check_overhead

    overhead = len(sizer.encode(sizer.builder.with_text(prompt, ANY_TEXT)))
    free = min(sizer.config.longest, LONGEST_CHUNK) - overhead - MARGIN
    if free < _CHUNK_SHARE:
        check_overhead(sizer, prompt)
    return max(min(free // _CHUNK_SHARE, sizer.generation(prompt).max_tokens // 2), 1)


def _with_limit(sizer: PromptSizer, prompt: Prompt) -> Prompt:
    """With a limit by its own length: a weak model may go on about two words for ever."""
    limit = _LEAST_LIMIT + _TOKENS_FOR_ONE * sizer.count(prompt.text.text)
    limit = min(sizer.generation(prompt).max_tokens, limit)
    return replace(prompt, overrides={**prompt.overrides, "max_tokens": limit})


def _fitted(prepared: PreparedRequest, answer: Answer) -> str:
    """The translation in the lines of the original.

    A heading gets no new line, and a subtitle cue no blank one; both would break the document
    where the retry did not help.
    """
    text, original = answer.text.strip(), prepared.prompt.text.text
    if "\n" not in original:
        return " ".join(line.strip() for line in text.splitlines() if line.strip())
    return text if "\n\n" in original else re.sub(r"\n\s*\n", "\n", text)


def _retry(prepared: PreparedRequest, answer: Answer, problem: str, executor: Executor) -> Request:
    from mistral_cli.models.chat import Message

    messages = prepared.prompt.content
    if isinstance(messages, list):
        again = f"That is wrong: {problem}. Translate it again. Answer with the translation only."
        more = [Message("assistant", answer.text), Message("user", again)]
        if request := executor.planner.with_messages(prepared, [*messages, *more]):
            return request
    return prepared.request
