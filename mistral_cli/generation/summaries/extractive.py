"""Summaries of a text's own sentences, which the model chooses by their numbers.

A prompt shows numbered sentences, and a grammar allows as many of the numbers as asked for, in
ascending order. A long text is chosen from chunk by chunk, then among the chosen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mistral_cli.generation.task import Strategy

if TYPE_CHECKING:
    from mistral_cli.generation.answer import Answer, Result
    from mistral_cli.generation.checking.rules import RulesOf
    from mistral_cli.generation.chunking import ChunkedText, PromptSizer
    from mistral_cli.generation.options import Overflow
    from mistral_cli.generation.planner import Job, RequestPlanner
    from mistral_cli.generation.prompt import EncodedPrompt, Prompt, PromptBuilder
    from mistral_cli.generation.session import Executor
    from mistral_cli.generation.writers import ResultWriter
    from mistral_cli.texts.inputs import Text
    from mistral_cli.texts.spans import Span

DEFAULT_SENTENCES = 3
_MOST_SHOWN = 600  # characters of a sentence in a prompt; its beginning says what it is about
_MOST_CHOICES = 150  # in a prompt; the grammar for 50 of them takes 0.1 s
_TOKENS_PER_CHOICE = 6  # of "120, " where each digit is a token


class ExtractiveStrategy(Strategy):
    """Chooses `sentences` of a text, in levels if they do not fit one prompt."""

    default_overflow = "split"
    default_reasoning = False
    chunk_template = "summarize-extractive"
    asks_about_answers = True

    def __init__(self, sentences: int = DEFAULT_SENTENCES) -> None:
        self._number = sentences

    def check(self, builder: PromptBuilder, overflow: Overflow | None) -> None:
        """Refuse what would replace the numbered sentences. Raises UsageError."""
        from mistral_cli.errors import UsageError

        options = builder.options
        replacing = {"--raw": options.raw, "--template": options.template, "-p": options.param}
        replacing["--overflow"] = overflow is not None and overflow != self.default_overflow
        if wrong := next((name for name, value in replacing.items() if value), None):
            raise UsageError(
                f"--extractive and {wrong} cannot be combined",
                hint="Drop one of them: the prompt is the template summarize-extractive, which "
                "has all sentences of the text.",
            )

    def identity(self, builder: PromptBuilder) -> dict[str, Any]:
        """Includes the template and the number of sentences."""
        source = builder.chunk_template.source if builder.chunk_template else None
        return {**super().identity(builder), "part": source, "extractive": self._number}

    def rules_of(self, job: Job, planner: RequestPlanner) -> RulesOf:  # noqa: ARG002
        """None: the sentences are those of the text."""
        from mistral_cli.generation.checking.rules import NO_RULES

        return lambda _: NO_RULES

    def chunk(self, sizer: PromptSizer, prompt: EncodedPrompt) -> ChunkedText:
        """The prompts with the numbered sentences of the whole text."""
        from mistral_cli.errors import UsageError
        from mistral_cli.generation.chunking import ChunkedText

        whole = prompt.prompt
        if not (spans := sentences_of(whole.text)):
            raise UsageError(
                "the text has no sentence to choose", hint="Leave --extractive out, or use prose."
            )
        chunks = tuple(self._prompts(sizer, whole, spans))
        return ChunkedText(whole, chunks, split=len(chunks) > 1)

    def context_needed(self, sizer: PromptSizer, chunked: ChunkedText) -> int:
        """Includes prompts about what was chosen, which may be as long as the longest chunk."""
        needed = super().context_needed(sizer, chunked)
        if not chunked.split:
            return needed
        from mistral_cli.generation.chunking import LONGEST_CHUNK

        answer = max(sizer.longest_answer(each.prompt) for each in chunked.prompts)
        return max(needed, min(sizer.config.longest, LONGEST_CHUNK + answer))

    def answer(self, job: Job, executor: Executor, writer: ResultWriter) -> Result:
        """The chosen sentences, in the order of the text."""
        from mistral_cli.generation.answer import Result, joined

        whole, planner = job.prompt, executor.planner
        text, requests = whole.text.text, job.requests
        left = sentences_of(whole.text)
        answers: list[Answer] = []
        for level in range(1, len(left) + 2):
            executor.status(f"level {level}: choosing among {len(left)} sentences …")
            before = len(left)
            new = list(executor.answers(requests))
            shown = [request.prompt.text.text.count("\n") + 1 for request in requests]
            left = [*_chosen(left, shown, new)]
            answers += new
            if len(requests) == 1 or len(left) <= self._number:
                break
            if len(left) == before:
                raise _no_shorter()
            prompts = self._prompts(planner, whole, left)
            requests = [planner.prepare(each) for each in prompts]
        summary = "\n".join(text[each.start : each.end] for each in left)
        writer.delta(summary)
        answer = replace(joined(answers, summary), finish_reason="stop")
        prepared, chunks = replace(job.requests[0], prompt=whole), len(job.requests)
        missing = self._number - len(left)
        warnings = (f"the text has only {_count(len(left))}",) if missing > 0 else ()
        return Result(
            planner, prepared, answer, warnings=warnings, chunks=chunks, quotes=tuple(left)
        )

    def _prompts(
        self, sizer: PromptSizer, whole: Prompt, spans: Sequence[Span]
    ) -> Iterator[EncodedPrompt]:
        """The prompts about sentences, as many of them in each as fit. Raises ContextExceeded."""
        from mistral_cli.generation.chunking import LONGEST_CHUNK, MARGIN, check_overhead

        builder, text = sizer.builder.for_chunks(), whole.text.text
        lines = [_shown(text[each.start : each.end]) for each in spans]
        overhead = sizer.encode(self._prompt(builder, whole, ["."]))
        room = min(sizer.room(overhead.prompt), LONGEST_CHUNK) - len(overhead) - MARGIN
        if room < 1:
            check_overhead(sizer, whole)
        for group in _groups(lines, lambda line: sizer.count(f"[100] {line}\n"), room):
            yield sizer.encode(self._prompt(builder, whole, group))

    def _prompt(self, builder: PromptBuilder, whole: Prompt, lines: Sequence[str]) -> Prompt:
        from mistral_cli.texts.inputs import Text

        number = min(self._number, len(lines))
        shown = "\n".join(f"[{n}] {line}" for n, line in enumerate(lines, start=1))
        prompt = builder.build(Text(shown, whole.text.source), {"sentences": number})
        limit = {"max_tokens": number * _TOKENS_PER_CHOICE + 2}
        overrides = {**whole.overrides, **builder.template.options, **limit}
        return replace(prompt, overrides=overrides, choices=choice_grammar(len(lines), number))


def sentences_of(text: Text) -> list[Span]:
    """The sentences of `text` to choose from."""
    from mistral_cli.texts.sentence_spans import full_sentences

    return full_sentences(text.text, text.source)


def choice_grammar(count: int, number: int) -> str:
    """A grammar for `number` of the numbers from 1 to `count`, ascending: "2, 5, 9"."""
    rules = []
    for first in range(1, count + 1):
        for left in range(1, min(number, count - first + 1) + 1):
            chosen = f'"{first}"' if left == 1 else f'"{first}, " from{first + 1}_{left - 1}'
            later = f" | from{first + 1}_{left}" if count - first >= left else ""
            rules.append(f"from{first}_{left}: {chosen}{later}\n")
    return f"%llguidance {{}}\nstart: from1_{number}\n{''.join(rules)}"


def _groups(lines: Sequence[str], size: Callable[[str], int], room: int) -> Iterator[list[str]]:
    """The lines in their order, in groups of up to `room`."""
    group, used = list[str](), 0
    for line in lines:
        needed = size(line)
        if group and (used + needed > room or len(group) == _MOST_CHOICES):
            yield group
            group, used = [], 0
        group.append(line)
        used += needed
    yield group


def _chosen(
    spans: Sequence[Span], shown: Sequence[int], answers: Sequence[Answer]
) -> Iterator[Span]:
    """Those of `spans` whose numbers the answers have; each answer is about the next `shown`."""
    start = 0
    for count, answer in zip(shown, answers, strict=True):
        numbers = map(int, re.findall(r"\d+", answer.text))
        yield from (spans[start + n - 1] for n in numbers if 0 < n <= count)
        start += count


def _shown(sentence: str) -> str:
    """A sentence on one line, as a prompt shows it."""
    line = " ".join(sentence.split())
    return line if len(line) <= _MOST_SHOWN else f"{line[:_MOST_SHOWN]} …"


def _count(number: int) -> str:
    return f"{number} sentence{'' if number == 1 else 's'}"


def _no_shorter() -> Exception:
    from mistral_cli.errors import ContextExceeded

    return ContextExceeded(
        "no chunk has more sentences than are to be chosen",
        hint="Use fewer --sentences, or a larger -c/--context-length.",
    )
