"""Continue a text as it is, or fill a gap in it: no chat format, so base models can, too."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mistral_cli.generation.completions.gap import BlankDropper, GapFinder
from mistral_cli.generation.task import Strategy, Task

if TYPE_CHECKING:
    import regex

    from mistral_cli.generation.answer import KnownScore, Result
    from mistral_cli.generation.checking.rules import RulesOf
    from mistral_cli.generation.chunking import ChunkedText, PromptSizer
    from mistral_cli.generation.completions.ends import CompletionEnd
    from mistral_cli.generation.options import Overflow
    from mistral_cli.generation.planner import PreparedRequest
    from mistral_cli.generation.prompt import EncodedPrompt, PromptBuilder
    from mistral_cli.generation.session import Executor
    from mistral_cli.generation.writers import ResultWriter

_SPARE_TOKENS = 4  # a text may have more tokens after another than by itself
_AFTER_SHARE = 4  # the text after a gap may take this part of the room, if not all of it fits


def _option(name: str, help: str, **kwargs: Any) -> Any:
    return typer.Option(name, help=help, show_default=False, **kwargs)


def complete(
    suffix: Annotated[
        str | None,
        _option("--suffix", "Write what stands between the text and TEXT.", metavar="TEXT"),
    ] = None,
    cursor: Annotated[
        str | None,
        _option(
            "--cursor",
            "Write what is missing at a place in the text: LINE:COLUMN, LINE (its end), or a text "
            "that marks the place.",
            metavar="PLACE",
        ),
    ] = None,
    lines: Annotated[
        int | None, _option("--lines", "End after N lines that are not blank.", min=1, metavar="N")
    ] = None,
    until: Annotated[
        str | None,
        _option("--until", "End before the first match of a regular expression.", metavar="REGEX"),
    ] = None,
    block: Annotated[
        bool, _option("--block", "End where the block of code ends, by indentation and brackets.")
    ] = False,
    echo: Annotated[bool, _option("--echo", "Print the given text, too.")] = False,
) -> Task:
    """Continue a text as it is, or fill a gap in it."""
    from mistral_cli.errors import UsageError
    from mistral_cli.generation.completions.ends import compile_pattern

    if suffix is not None and cursor is not None:
        raise UsageError("--suffix and --cursor cannot be combined", hint="Drop one of them.")
    options = {"lines": lines, "until": until, "block": block or None, "echo": echo or None}
    values = {name: value for name, value in options.items() if value is not None}
    pattern = compile_pattern(until) if until is not None else None
    strategy = CompletionStrategy(lines, pattern, block=block, echo=echo)
    return Task(
        "complete", values, gap=GapFinder(suffix, cursor), one_argument=True, strategy=strategy
    )


class CompletionStrategy(Strategy):
    """Ends a completion after `lines`, before `until` matches, or with its `block`.

    With `echo` the answer has the text before and after the completion, too.
    """

    default_overflow = overflow_choices = "tail"
    default_reasoning = False

    def __init__(
        self,
        lines: int | None = None,
        until: regex.Pattern[str] | None = None,
        *,
        block: bool = False,
        echo: bool = False,
    ) -> None:
        self._lines, self._until, self._block, self._echo = lines, until, block, echo

    def check(self, builder: PromptBuilder, overflow: Overflow | None) -> None:  # noqa: ARG002
        """Refuse to keep a part of a text that the completion does not follow."""
        from mistral_cli.errors import UsageError

        if overflow in ("head", "split"):
            raise UsageError(
                f"--overflow {overflow} would not keep the text before the completion",
                hint="Use tail (the default) or error.",
            )

    def chunk(self, sizer: PromptSizer, prompt: EncodedPrompt) -> ChunkedText:
        """The text, or as much of it around the gap as fits."""
        whole = prompt.prompt
        cut = ""
        if whole.after and not sizer.fits(prompt) and sizer.config.overflow == "tail":
            from mistral_cli.texts.split import keep_head

            room = sizer.room(whole) // _AFTER_SHARE
            kept = keep_head(whole.after, lambda part: sizer.count(part) <= room)
            if rest := len(whole.after) - len(kept):
                cut = f"the last {rest} of {len(whole.after)} characters after the gap"
            prompt = sizer.encode(replace(whole, after=kept))
        chunked = super().chunk(sizer, prompt)
        left_out = " and ".join(filter(None, (chunked.left_out, cut)))
        return replace(chunked, left_out=left_out)

    def context_needed(self, sizer: PromptSizer, chunked: ChunkedText) -> int:
        """Includes the known continuation."""
        needed, known = super().context_needed(sizer, chunked), chunked.prompt.known
        if known is None:
            return needed
        longest = max(map(len, chunked.prompts), default=0) + sizer.count(known) + _SPARE_TOKENS
        return min(max(needed, longest), sizer.config.longest)

    def answer_request(
        self,
        prepared: PreparedRequest,
        executor: Executor,
        writer: ResultWriter,
        rules_of: RulesOf,  # noqa: ARG002
    ) -> Result:
        """The completion, written as it streams as far as it is certain to stay."""
        from mistral_cli.generation.completions.ends import GrowingCompletion

        prompt = prepared.prompt
        before, after = prompt.text.text if self._echo else "", prompt.after if self._echo else ""
        writer.delta(before)
        completion = GrowingCompletion(self._ends(prepared), writer.delta)
        blanks = len(prompt.text.text) - len(prompt.content)
        answer = executor.answer(prepared, BlankDropper(blanks, completion.feed).feed)
        text = completion.finish()
        writer.delta(after or "")
        finish = "stop" if completion.ended else answer.finish_reason
        answer = replace(answer, text=f"{before}{text}{after or ''}", finish_reason=finish)
        result = executor.result(prepared, answer)
        if prompt.known is None:
            return result
        known = " " * blanks + prompt.known
        return replace(result, known=self._known_score(prepared, known, executor))

    def _known_score(
        self, prepared: PreparedRequest, known: str, executor: Executor
    ) -> KnownScore | None:
        """How likely the known continuation is; None if it has no token, or does not fit."""
        from mistral_cli.engines.types import ScoreRequest
        from mistral_cli.generation.answer import KnownScore
        from mistral_cli.models.gguf.plain_text import tokenize_continued

        planner, prompt = executor.planner, prepared.request.prompt_token_ids
        ids = tuple(tokenize_continued(planner.config.model, known, planner.tokenize))
        fits = len(prompt) + len(ids) <= prepared.context_length
        if not ids or not fits or len(prompt) < 2:
            return None
        # Scores tell continuations apart: what all of them begin with has the score 0. With the
        # prompt's last token as that beginning, the others have their probabilities.
        *before, last = prompt
        _, scores = executor.score(ScoreRequest(tuple(before), ((last, *ids),)))
        return KnownScore(scores.logprobs[0], len(ids))

    def _ends(self, prepared: PreparedRequest) -> list[CompletionEnd]:
        from mistral_cli.generation.completions.block import BlockEnd
        from mistral_cli.generation.completions.ends import LinesEnd, PatternEnd

        before, after = prepared.prompt.text.text, prepared.prompt.after or ""
        ends: list[CompletionEnd] = []
        if self._lines is not None:
            ends.append(LinesEnd(self._lines))
        if self._until is not None:
            ends.append(PatternEnd(self._until, before.rpartition("\n")[2]))
        if self._block:
            ends.append(BlockEnd(before, after))
        return ends
