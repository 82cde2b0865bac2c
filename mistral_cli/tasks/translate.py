"""Translate texts, each by itself, and keep their structure.

A document is translated segment by segment; anything that is not prose stays unchanged, character
for character. A translation that loses something is retried once, and reported if it still does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mistral_cli.generation.checking.options import (
    CheckOptions,
    FactsMode,
    FactsOption,
    PreambleOption,
    StrictOption,
)
from mistral_cli.generation.task import Strategy, Task

if TYPE_CHECKING:
    from mistral_cli.checks.check import Check
    from mistral_cli.generation.answer import Answer, Result
    from mistral_cli.generation.checking.content import Subject
    from mistral_cli.generation.checking.merging import PlacedChecks
    from mistral_cli.generation.checking.rules import AnswerRules, Rule, RulesOf
    from mistral_cli.generation.chunking import ChunkedText, PromptSizer
    from mistral_cli.generation.planner import Job, PreparedRequest, RequestPlanner
    from mistral_cli.generation.prompt import EncodedPrompt, Prompt, PromptBuilder
    from mistral_cli.generation.session import Executor
    from mistral_cli.generation.writers import ResultWriter
    from mistral_cli.system.reporter import Reporter
    from mistral_cli.texts.glossary import Glossary
    from mistral_cli.texts.structure import TextFormat

_CHUNK_SHARE = 3  # a chunk may take this part of the context, so that its translation fits too
_BASE_LIMIT, _LIMIT_PER_TOKEN = 48, 3  # the most tokens of a translation, by its text's tokens


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
    grounded: Annotated[
        bool,
        typer.Option("--grounded", help="Take numbers, codes and addresses from the text only."),
    ] = False,
    facts: FactsOption = None,
    strict: StrictOption = False,
    preamble: PreambleOption = None,
) -> Task:
    """Translate texts, each by itself, and keep their structure."""
    from mistral_cli.errors import UsageError

    languages = {"to": to, "from": source}
    values = {name: value for name, value in languages.items() if value is not None}
    if not all(map(str.strip, values.values())):
        raise UsageError("a language is empty", hint="Write for example --to French.")
    read_files = partial(_with_glossary, glossary) if glossary else None
    return Task(
        "translate",
        values,
        grounded=grounded,
        checks=CheckOptions(facts, strict, preamble, FactsMode.REPORT),
        strategy=TranslationStrategy(),
        read_files=read_files,
    )


def _with_glossary(path: Path, task: Task, reporter: Reporter, encoding: str) -> Task:
    from mistral_cli.texts.glossary import read_glossary

    return replace(task, strategy=TranslationStrategy(read_glossary(path, reporter, encoding)))


class TranslationStrategy(Strategy):
    """Translates each segment by itself and puts it in the place of the original."""

    default_overflow = "split"
    default_reasoning = False
    rewrites = True

    def __init__(self, glossary: Glossary | None = None) -> None:
        self._glossary = glossary

    def template_values(self, text: str) -> Mapping[str, Any]:
        """The glossary terms that occur in the text."""
        if self._glossary and (terms := self._glossary.terms_in(text)):
            pairs = (f"{term} = {translation}" for term, translation in terms.items())
            return {"terms": "; ".join(pairs)}
        return {}

    def identity(self, builder: PromptBuilder) -> dict[str, Any]:
        """Includes the glossary."""
        glossary = asdict(self._glossary) if self._glossary else None
        return {**super().identity(builder), "glossary": glossary}

    def chunk(self, sizer: PromptSizer, prompt: EncodedPrompt) -> ChunkedText:
        """The segments to translate, and the text between them."""
        from mistral_cli.errors import UsageError
        from mistral_cli.generation.chunking import ChunkedText, format_of
        from mistral_cli.generation.options import Overflow
        from mistral_cli.generation.prompt import EncodedPrompt
        from mistral_cli.texts.structure import left_out
        from mistral_cli.texts.subtitles import check_subtitles

        whole = prompt.prompt
        if sizer.config.overflow is not Overflow.SPLIT or not isinstance(whole.content, list):
            return super().chunk(sizer, prompt)
        check_subtitles(whole.text.source, whole.text.document)
        text_format = format_of(whole)
        chunks = tuple(self._chunks(sizer, prompt, text_format))
        if any(isinstance(chunk, EncodedPrompt) for chunk in chunks):
            return ChunkedText(whole, chunks, text_format=text_format)
        if text_format != "text":
            rest = "".join(f" ({each})" for each in left_out(whole.text.document, text_format))
            raise UsageError(
                f"{whole.text.source} has no words to translate{rest}",
                hint="Code, formulas and times stay as they are: copy the file.",
            )
        return ChunkedText(whole, (prompt,))  # perhaps a single letter: leave it to the model

    def answer(self, job: Job, executor: Executor, writer: ResultWriter) -> Result:
        """Translate the whole document, and write it in order."""
        document = job.prompt.text
        if isinstance(job.prompt.content, list):  # --raw does not ask for a translation
            writer.frame(*document.ends)
        rules_of = self.rules_of(job, executor.planner)
        if self._streams(job):
            from mistral_cli.generation.checking.attempts import checked_result

            (prepared,) = job.requests
            return checked_result(prepared, executor, rules_of(prepared), writer)
        from mistral_cli.errors import about
        from mistral_cli.generation.answer import Result, joined
        from mistral_cli.generation.checking.attempts import best_answer, check_accepted
        from mistral_cli.generation.checking.merging import HeldOutput, PlacedChecks, merged
        from mistral_cli.generation.checking.wording import failures
        from mistral_cli.texts.structure import left_out, place, with_breaks

        requests = job.requests
        made: dict[int, tuple[Check, ...]] = {}

        def translate(prepared: PreparedRequest) -> Answer:
            checked = best_answer(prepared, executor, rules_of(prepared))
            made[id(prepared)] = checked.checks
            return checked.total

        def is_final(prepared: PreparedRequest, earlier: Answer) -> bool:
            rules = rules_of(prepared)
            made[id(prepared)] = rules.check(earlier, earlier.attempts)
            return rules.is_final(made[id(prepared)])

        answers = executor.answers(requests, translate, is_final)
        completed: list[Answer] = []
        texts: list[str] = []
        warnings: list[str] = []
        checks: list[PlacedChecks] = []
        position = written = 0  # characters of the document, and of its translation
        output = HeldOutput(writer, holds=rules_of(requests[0]).strict)
        for chunk in job.chunks:
            if isinstance(chunk, str):
                text = original = chunk
            else:
                answer, original = next(answers), chunk.prompt.text.document
                completed.append(answer)
                executor.status(f"{len(completed)} of {len(requests)} segments translated …")
                text = with_breaks(original, _fit_lines(chunk, answer), job.text_format)
                where = place(document.document, position, job.text_format)
                found = made.pop(id(chunk))
                with about(where):
                    check_accepted(answer, found, rules_of(chunk))
                checks.append(PlacedChecks(found, text, written))
                if failed := [check for check in found if not check.ok]:
                    warnings.append(f"{where}: {failures(failed, 'translation')}")
            output.write(text if position else text.removeprefix(document.ends[0]))
            texts.append(text)
            position += len(original)
            written += len(text)
        output.release()
        return Result(
            executor.planner,
            replace(requests[0], prompt=job.prompt),
            joined(completed, "".join(texts)),
            warnings=(*warnings, *left_out(document.document, job.text_format)),
            chunks=len(requests),
            checks=merged(checks),
        )

    def _streams(self, job: Job) -> bool:
        """Whether the answer is the document: nothing has to be checked or put back in place."""
        if len(job.requests) != 1 or job.text_format != "text" or self._glossary:
            return False
        from mistral_cli.texts.inputs import BYTE_ORDER_MARK
        from mistral_cli.texts.markup import has_markup

        text = job.requests[0].prompt.text
        around = "".join(chunk for chunk in job.chunks if isinstance(chunk, str))
        is_alone = not around.removeprefix(BYTE_ORDER_MARK).strip()
        return is_alone and text.document == text.text and not has_markup(text.text)

    def _chunks(
        self, sizer: PromptSizer, whole: EncodedPrompt, text_format: TextFormat
    ) -> Iterator[EncodedPrompt | str]:
        from mistral_cli.texts.split import split
        from mistral_cli.texts.structure import segments

        limit = _chunk_limit(sizer, whole)
        for segment in segments(whole.prompt.text.document, text_format):
            if not segment.translate:
                yield segment.text
                continue
            for part in split(segment.text, sizer.count, limit, markdown=False):
                words = part.strip()
                start = part.index(words)
                yield from filter(None, (part[:start],))
                yield self._encoded(sizer, whole, words, text_format)
                yield from filter(None, (part[start + len(words) :],))

    def _encoded(
        self, sizer: PromptSizer, whole: EncodedPrompt, original: str, text_format: TextFormat
    ) -> EncodedPrompt:
        """The prompt about a part of a document; its text has LF line ends."""
        from mistral_cli.generation.prompt import EncodedPrompt
        from mistral_cli.texts.structure import without_breaks

        words = without_breaks(original, text_format)
        if words == whole.prompt.text.text and not self._glossary:
            prompt = whole.prompt
        else:
            prompt = sizer.builder.with_text(whole.prompt, words)
        prompt = _with_limit(sizer, replace(prompt, text=replace(prompt.text, original=original)))
        if prompt.content == whole.prompt.content:
            return EncodedPrompt(prompt, whole.token_ids)
        return sizer.encode(prompt)

    def rules_of(self, job: Job, planner: RequestPlanner) -> RulesOf:
        """The rules for each segment of a document."""
        from mistral_cli.generation.checking.content import Subject, is_suspicious, value_of
        from mistral_cli.generation.checking.rules import NO_RULES, AnswerRules
        from mistral_cli.texts.markdown import link_labels

        builder = planner.builder
        is_markdown = job.text_format == "markdown"
        labels = link_labels(job.prompt.text.document) if is_markdown else frozenset[str]()
        languages = {
            "language": value_of(builder, "to"),
            "source_language": value_of(builder, "from"),
        }
        again = "Translate it again. Answer with the translation only."

        def rules(prepared: PreparedRequest) -> AnswerRules:
            prompt, options = prepared.prompt, builder.task.checks
            if isinstance(prompt.content, str):
                return NO_RULES
            terms = self._glossary.terms_in(prompt.text.text) if self._glossary else {}
            subject = Subject.of(prompt, planner, known=(*terms.values(),), **languages)
            made = self._rules(subject, options, partial(_structure, job.text_format, labels))
            return AnswerRules(
                tuple(made),
                "translation",
                again,
                options.keeps_preamble,
                partial(is_suspicious, subject, translation=True),
            )

        return rules

    def _rules(
        self, subject: Subject, options: CheckOptions, structure: Callable[[str, str], str | None]
    ) -> Iterator[Rule]:
        from mistral_cli.checks.check import Check
        from mistral_cli.generation.checking.content import facts_rule, flaw_rule, language_rules
        from mistral_cli.generation.checking.rules import Rule, completeness, constraint_reaction

        original, glossary = subject.source, self._glossary
        reaction = constraint_reaction(options)

        def check_structure(answer: Answer) -> Iterator[Check]:
            problem = structure(original, answer.text.strip())
            yield Check("structure", problem is None, found=problem)

        yield completeness(reaction, "translation")
        yield Rule(("structure",), check_structure, reaction, holds=options.strict)
        if glossary:
            check = partial(_check_glossary, glossary, original)
            yield Rule(("glossary",), check, reaction, holds=options.strict)
        yield from language_rules(subject.language, reaction, holds=options.strict)
        yield flaw_rule(subject, reaction)
        if options.facts_mode is not FactsMode.OFF:
            yield facts_rule(subject, options.facts_mode, translation=True)


def _structure(
    text_format: TextFormat, labels: frozenset[str], original: str, answer: str
) -> str | None:
    from mistral_cli.texts.structure import translation_problem

    return translation_problem(original, answer, text_format, labels)


def _check_glossary(glossary: Glossary, original: str, answer: Answer) -> tuple[Check]:
    from mistral_cli.checks.check import Check, Finding

    missing = glossary.missing(original, answer.text)
    findings = tuple(Finding(term, "not translated as the glossary says") for term in missing)
    return (Check("glossary", not missing, findings=findings),)


def _chunk_limit(sizer: PromptSizer, whole: EncodedPrompt) -> int:
    """The most tokens of a chunk that leave room for its translation, which may be longer."""
    from mistral_cli.generation.chunking import ANY_TEXT, LONGEST_CHUNK, MARGIN, check_overhead

    prompt = whole.prompt

    def limit(overhead: int) -> int:
        free = min(sizer.config.longest, LONGEST_CHUNK) - overhead - MARGIN
        return max(min(free // _CHUNK_SHARE, sizer.generation(prompt).max_tokens // 2), 1)

    # The whole prompt is at least as long as one without its text: a text within this limit is
    # one chunk, and no other prompt has to be encoded to know it.
    if sizer.count(prompt.text.text) <= (least := limit(len(whole))):
        return least
    overhead = len(sizer.encode(sizer.builder.with_text(prompt, ANY_TEXT)))
    if min(sizer.config.longest, LONGEST_CHUNK) - overhead - MARGIN < _CHUNK_SHARE:
        check_overhead(sizer, prompt)
    return limit(overhead)


def _with_limit(sizer: PromptSizer, prompt: Prompt) -> Prompt:
    """`prompt` with a limit from its length: a weak model may write endlessly about two words."""
    limit = _BASE_LIMIT + _LIMIT_PER_TOKEN * sizer.count(prompt.text.text)
    limit = min(sizer.generation(prompt).max_tokens, limit)
    return replace(prompt, overrides={**prompt.overrides, "max_tokens": limit})


def _fit_lines(prepared: PreparedRequest, answer: Answer) -> str:
    """Remove line breaks from a translation that would break the document.

    A heading must stay on one line, and a subtitle cue must not contain a blank line. The model
    may return either even after the retry.
    """
    text, original = answer.text.strip(), prepared.prompt.text.text
    if "\n" not in original:
        return " ".join(line.strip() for line in text.splitlines() if line.strip())
    return text if "\n\n" in original else re.sub(r"\n\s*\n", "\n", text)
