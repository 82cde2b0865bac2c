"""Summarize texts of any length, each by itself.

A long text is summarized chunk by chunk, then the summaries are, until they fit one prompt. The
user's options apply to the final summary only, which is checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
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
    from mistral_cli.generation.answer import Answer, Result
    from mistral_cli.generation.checking.rules import RulesOf
    from mistral_cli.generation.chunking import ChunkedText, PromptSizer
    from mistral_cli.generation.options import Overflow
    from mistral_cli.generation.planner import Job, PreparedRequest, RequestPlanner
    from mistral_cli.generation.prompt import Prompt, PromptBuilder
    from mistral_cli.generation.session import Executor
    from mistral_cli.generation.writers import ResultWriter

_CHUNK_SHARE = 8  # the summary of a chunk may take this part of the longest context


def _option(name: str, help: str, **kwargs: Any) -> Any:
    return typer.Option(name, help=help, show_default=False, **kwargs)


def summarize(
    sentences: Annotated[
        int | None, _option("--sentences", "Write exactly N sentences.", min=1, max=50, metavar="N")
    ] = None,
    words: Annotated[
        str | None,
        _option("--words", "Write about N words, or from A to B.", metavar="N|A-B"),
    ] = None,
    bullets: Annotated[
        int | None,
        _option("--bullets", "Write exactly N bullet points.", min=1, max=50, metavar="N"),
    ] = None,
    max_chars: Annotated[
        int | None, _option("--max-chars", "Write at most N characters.", min=1, metavar="N")
    ] = None,
    style: Annotated[
        str | None, _option("--style", "Such as 'for a child' or 'formal'.", metavar="TEXT")
    ] = None,
    language: Annotated[
        str | None, _option("--language", "Language of the summary.", metavar="LANGUAGE")
    ] = None,
    grounded: Annotated[
        bool, _option("--grounded", "Take numbers, codes and addresses from the text only.")
    ] = False,
    extractive: Annotated[
        bool,
        _option("--extractive", "Choose sentences of the text, unchanged (default: 3 of them)."),
    ] = False,
    cite: Annotated[
        bool,
        _option("--cite", "Name the sentences of the text that support each sentence."),
    ] = False,
    facts: FactsOption = None,
    strict: StrictOption = False,
    preamble: PreambleOption = None,
) -> Task:
    """Summarize texts of any length, each by itself."""
    from mistral_cli.errors import UsageError

    if sentences and bullets:
        raise UsageError("--sentences and --bullets cannot be combined", hint="Drop one of them.")
    options = {
        "sentences": sentences,
        "words": _words(words) if words is not None else None,
        "bullets": bullets,
        "max_chars": max_chars,
        "style": style,
        "language": language,
    }
    values = {name: value for name, value in options.items() if value is not None}
    _check_possible(values)
    if extractive:
        others = {"words": words, "bullets": bullets, "max-chars": max_chars, "style": style}
        others |= {"language": language, "grounded": grounded, "cite": cite}
        others |= {"facts": facts, "strict": strict}
        return _extractive(sentences, {**others, "preamble": preamble})
    checks = CheckOptions(facts, strict, preamble, FactsMode.REPORT)
    strategy = SummaryStrategy(cites=cite)
    return Task("summarize", values, grounded=grounded, checks=checks, strategy=strategy)


def _extractive(sentences: int | None, others: Mapping[str, Any]) -> Task:
    """The task of `--extractive`, which none of the `others` can change. Raises UsageError."""
    from mistral_cli.errors import UsageError
    from mistral_cli.generation.summaries.extractive import DEFAULT_SENTENCES, ExtractiveStrategy

    if wrong := next((name for name, value in others.items() if value not in (None, False)), None):
        raise UsageError(
            f"--extractive and --{wrong} cannot be combined",
            hint="Drop one of them: the sentences of the text stay as they are.",
        )
    number = sentences or DEFAULT_SENTENCES
    values = {"sentences": number}
    return Task("summarize", values, choosing=True, strategy=ExtractiveStrategy(number))


def _words(value: str) -> int | str:
    """What the template says of `--words`: "60" or "50 to 70". Raises UsageError."""
    from mistral_cli.generation.checking.lengths import word_range

    least, most = word_range(value)
    return int(value) if value.strip().isdigit() else f"{least} to {most}"


def _check_possible(values: Mapping[str, Any]) -> None:
    from mistral_cli.generation.checking.lengths import check_possible

    check_possible(values)


class SummaryStrategy(Strategy):
    """Summarizes chunks, then the summaries, and so on; the options apply to the last summary.

    With `cites` the sentences of the whole text are named that support those of the last summary.
    """

    default_overflow = "split"
    default_reasoning = False
    chunk_template = "summarize-part"
    asks_about_answers = True

    def __init__(self, *, cites: bool = False) -> None:
        self._cites = cites

    def check(self, builder: PromptBuilder, overflow: Overflow | None) -> None:
        """Refuse a prompt without a text that could be cited. Raises UsageError."""
        from mistral_cli.errors import UsageError

        super().check(builder, overflow)
        if self._cites and builder.options.raw:
            raise UsageError(
                "--cite and --raw cannot be combined",
                hint="Drop one of them: a raw prompt has no text apart from its instruction.",
            )

    def identity(self, builder: PromptBuilder) -> dict[str, Any]:
        """Includes the chunk template, and citations if there are any."""
        source = builder.chunk_template.source if builder.chunk_template else None
        cites = {"cites": True} if self._cites else {}
        return {**super().identity(builder), "part": source, **cites}

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
        from mistral_cli.generation.answer import Result, cut_warning, joined
        from mistral_cli.generation.checking.attempts import request_checked
        from mistral_cli.generation.writers import NULL_WRITER

        final, earlier, cut = self._reduce(job, executor)
        rules = self.rules_of(job, executor.planner)(final)
        # Marks can be written only once all of the answer is there.
        text_writer = NULL_WRITER if self._cites else writer
        checked = request_checked(final, executor, rules, text_writer)
        warnings = (*cut_warning(final, checked.answer), *checked.warnings(rules))
        if cut:
            warnings = (f"{cut} of the summaries of chunks were cut at their limit", *warnings)
        answer = joined([*earlier, *checked.attempts], checked.answer.text)
        result = Result(
            executor.planner,
            replace(final, prompt=job.prompt),
            replace(answer, finish_reason=checked.answer.finish_reason),
            warnings=warnings,
            chunks=len(job.requests),
            checks=checked.checks,
        )
        if not self._cites:
            return result
        from mistral_cli.generation.summaries.cited import with_citations

        return with_citations(result, job.prompt.text.text, writer)

    def rules_of(self, job: Job, planner: RequestPlanner) -> RulesOf:
        """The checks of the final summary, which is compared with the whole text."""
        from mistral_cli.generation.checking.content import (
            Subject,
            facts_rule,
            flaw_rule,
            is_suspicious,
            language_rules,
            value_of,
        )
        from mistral_cli.generation.checking.lengths import lengths_of
        from mistral_cli.generation.checking.rules import (
            NO_RULES,
            AnswerRules,
            completeness,
            constraint_reaction,
            length_rules,
        )

        if isinstance(job.prompt.content, str):
            return lambda _: NO_RULES
        builder = planner.builder
        options, language = builder.task.checks, value_of(builder, "language")
        reaction, lengths = constraint_reaction(options), lengths_of(builder.task.values)
        subject = Subject.of(job.prompt, planner, language=language)
        rules = length_rules(lengths, reaction)
        if lengths or options.strict:
            rules.append(completeness(reaction, "summary"))
        rules += language_rules(language, reaction, holds=True)
        rules.append(flaw_rule(subject, reaction))
        if options.facts_mode is not FactsMode.OFF:
            rules.append(facts_rule(subject, options.facts_mode, translation=False))
        if self._cites:
            from mistral_cli.generation.summaries.cited import support_rule

            rules.append(support_rule(subject.source, "fail" if options.strict else "report"))
        wanted = " and ".join(length.expected for length in lengths)
        form = "".join(f" in {each}" for each in (wanted, language) if each)
        again = f"Write it again{form}, with facts of the text only. Answer with the summary only."
        made = AnswerRules(
            tuple(rules),
            "summary",
            again,
            options.keeps_preamble,
            partial(is_suspicious, subject),
        )
        return lambda _: made

    def _reduce(self, job: Job, executor: Executor) -> tuple[PreparedRequest, list[Answer], int]:
        """The request for the final summary, the answers before it, and the number of cut ones."""
        if not job.split:
            return job.requests[0], [], 0
        from mistral_cli.checks.preamble import without_preamble
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
                answers.append(replace(answer, text=without_preamble(answer.text)))
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
