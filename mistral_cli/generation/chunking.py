"""Count the tokens of prompts; cut or split a text that does not fit into chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from mistral_cli.errors import ContextExceeded, UsageError
from mistral_cli.generation.options import Overflow
from mistral_cli.generation.prompt import EncodedPrompt, Prompt

if TYPE_CHECKING:
    from mistral_cli.generation.config import GenerationConfig, RunConfig
    from mistral_cli.generation.prompt import PromptBuilder, RenderedPrompt
    from mistral_cli.models.gguf.plain_text import Tokenize
    from mistral_cli.structured.spec import OutputSpec
    from mistral_cli.texts.structure import TextFormat


# Tokens of a prompt about a chunk. Prefill time grows with the square of the length, and shorter
# chunks mean more summaries: 2,048 to 4,096 tokens are fastest on a CPU, measured and calculated.
LONGEST_CHUNK = 3072
_MAX_DENSITY = 8  # characters per token; hardly any text has more
MARGIN = 8  # extra tokens that a text may have between two other texts
ANY_TEXT = "."

# JSON that was cut is retried with this many times the tokens, unless the user set the limit; and
# the context has this many tokens free for the message that asks for the retry.
MORE_ROOM = 2
_RETRY_TOKENS = 128

_TYPICAL_ANSWER = 200  # tokens

_JSON_SHARE = 4  # with its keys and quotes, JSON is several times as long as the text


@dataclass(frozen=True)
class ChunkedText:
    """The chunks of the text of `prompt`, in order: encoded prompts, and texts kept unchanged.

    `left_out` describes the part of the text that is in no chunk. `split` is True if the prompts
    are about parts of the text.
    """

    prompt: Prompt
    chunks: tuple[EncodedPrompt | str, ...]
    left_out: str = ""
    text_format: TextFormat = "text"
    split: bool = False

    @property
    def prompts(self) -> list[EncodedPrompt]:
        """The prompts among the chunks."""
        return [chunk for chunk in self.chunks if isinstance(chunk, EncodedPrompt)]


ChunkPrompt = Callable[["PromptSizer", Prompt, str], Prompt]
"""The prompt about a chunk, made from the prompt about the whole text."""


class ChunkStrategy(Protocol):
    """A task's decisions about chunks; `Strategy` has the defaults."""

    default_overflow: ClassVar[str]
    """The `Overflow` that applies unless the user chooses one."""
    overflow_choices: ClassVar[str]
    """What a hint proposes for `--overflow` where a text is refused."""
    default_reasoning: ClassVar[bool]
    """True if a model that reasons thinks before it answers, unless the user says otherwise."""
    retries: ClassVar[bool]
    """True if a request may be retried."""

    def chunk(self, sizer: PromptSizer, prompt: EncodedPrompt) -> ChunkedText:
        """The chunks of one text. Raises ContextExceeded."""

    def cut(self, sizer: PromptSizer, prompt: Prompt, policy: Overflow) -> ChunkedText:
        """The part of a text that `policy` keeps. Raises ContextExceeded."""

    def context_needed(self, sizer: PromptSizer, chunked: ChunkedText) -> int:
        """Tokens of context for the longest request about `chunked`, its answer included."""


@dataclass(frozen=True)
class TokenBudget:
    """The tokens that a text needs: its context, each of its prompts, its typical answers."""

    context: int
    prompts: tuple[int, ...] = ()
    answers: int = 0


@dataclass(frozen=True)
class PromptSizer:
    """Counts the tokens of prompts and of the room for answers, before the context is fixed."""

    builder: PromptBuilder
    config: RunConfig
    strategy: ChunkStrategy
    tokenize: Tokenize

    def encode(self, prompt: Prompt) -> EncodedPrompt:
        """The prompt with its token ids."""
        return self._encoded(self.config.render(prompt))

    def count(self, text: str) -> int:
        """The number of tokens of `text` by itself."""
        return len(self.tokenize(text))

    def generation(self, prompt: Prompt) -> GenerationConfig:
        """The generation settings for `prompt`."""
        return self.config.generation.override(prompt.overrides)

    def room(self, prompt: Prompt) -> int:
        """The most tokens of a prompt that leave the answer its share of the context."""
        return self.config.longest - self.config.reserved(self.generation(prompt))

    def fits(self, prompt: EncodedPrompt) -> bool:
        """True if the prompt leaves the answer its share of the context."""
        return len(prompt) <= self.room(prompt.prompt)

    def is_far_too_long(self, prompt: Prompt) -> bool:
        """True if the text hardly fits; counting its tokens takes a minute for 10 MB."""
        return len(prompt.text.text) > _MAX_DENSITY * self.room(prompt)

    def longest_answer(self, prompt: Prompt) -> int:
        """The most tokens of context that an answer and the thought may take besides the prompt.

        For JSON that includes a retry, whose prompt contains the first answer.
        """
        longest = self.generation(prompt).max_tokens
        longest += self.config.thought_room(self.config.longest - longest)
        return longest * MORE_ROOM + _RETRY_TOKENS if prompt.spec else longest

    def chunk(self, prompt: RenderedPrompt) -> ChunkedText:
        """The chunks of a text. Raises ContextExceeded.

        If the text is far too long, only the tokens of the part that is kept are counted.
        """
        policy = self.config.overflow
        if policy in (Overflow.HEAD, Overflow.TAIL) and self.is_far_too_long(prompt.prompt):
            return self.strategy.cut(self, prompt.prompt, policy)
        return self.strategy.chunk(self, self._encoded(prompt))

    def _encoded(self, prompt: RenderedPrompt) -> EncodedPrompt:
        """The prompt with its token ids; without them if there are too many for any context.

        Counting the tokens of 50 MB takes 4 GB and 100 s.
        """
        if least := prompt.least_tokens(self.config.longest):
            return EncodedPrompt(prompt.prompt, (), least)
        return prompt.encode(self.tokenize)

    def budget(self, chunked: ChunkedText) -> TokenBudget:
        """The tokens that the requests about `chunked` need."""
        prompts = chunked.prompts
        # Few answers come near the limit, which is for those that would not end by themselves.
        typical = (min(self.generation(p.prompt).max_tokens, _TYPICAL_ANSWER) for p in prompts)
        context = self.strategy.context_needed(self, chunked)
        return TokenBudget(context, tuple(map(len, prompts)), sum(typical))


def chunk(sizer: PromptSizer, prompt: EncodedPrompt, chunk_prompt: ChunkPrompt) -> ChunkedText:
    """The whole text if it fits, else its chunks according to the overflow policy.

    Raises ContextExceeded.
    """
    policy, whole = sizer.config.overflow, prompt.prompt
    if sizer.fits(prompt) or policy is Overflow.ERROR or not whole.text.text:
        return ChunkedText(whole, (prompt,))
    if policy is Overflow.SPLIT:
        text_format = format_of(whole)
        chunks = tuple(split_text(sizer, whole, text_format, chunk_prompt))
        return ChunkedText(whole, chunks, text_format=text_format, split=True)
    return cut(sizer, whole, policy)


def fits_one_chunk(sizer: PromptSizer, prompt: EncodedPrompt) -> bool:
    """True if a prompt about the answers to chunks need not be chunked itself.

    The longest context decides, not the one that is open, which other texts may have enlarged.
    """
    return len(prompt) <= min(sizer.room(prompt.prompt), LONGEST_CHUNK)


def format_of(prompt: Prompt) -> TextFormat:
    """The format of the text of `prompt`: plain text, Markdown or subtitles."""
    from mistral_cli.texts.structure import detect_format

    return detect_format(prompt.text.source, prompt.text.text)


def split_text(
    sizer: PromptSizer, prompt: Prompt, text_format: TextFormat, chunk_prompt: ChunkPrompt
) -> Iterator[EncodedPrompt]:
    """The prompts about the chunks of a text that does not fit. Raises ContextExceeded."""
    from mistral_cli.texts.split import split

    overhead = sizer.encode(chunk_prompt(sizer, prompt, ANY_TEXT))
    room = min(sizer.room(overhead.prompt), LONGEST_CHUNK) - len(overhead) - MARGIN
    if prompt.spec:
        room //= _JSON_SHARE
    if room < 1:
        check_overhead(sizer, prompt)
    parts = split(prompt.text.text, sizer.count, max(room, 1), markdown=text_format == "markdown")
    for part in parts:
        yield sizer.encode(chunk_prompt(sizer, prompt, part.strip("\n")))


def check_overhead(
    sizer: PromptSizer, prompt: Prompt, overhead: EncodedPrompt | None = None
) -> None:
    """Refuse a prompt that does not fit even without its text. Raises ContextExceeded.

    `overhead` is that prompt without its text, where it is known.
    """
    overhead = overhead or sizer.encode(sizer.builder.with_text(prompt, ANY_TEXT))
    if not sizer.fits(overhead):
        raise ContextExceeded(
            f"the prompt has {len(overhead)} tokens without its text, and {sizer.room(prompt)} fit",
            hint="Shorten the instruction, or raise -c/--context-length.",
        )


def check_mergeable(spec: OutputSpec | None, overflow: Overflow | None) -> None:
    """Refuse to split a text whose answers cannot be merged. Raises UsageError."""
    if overflow is not Overflow.SPLIT or spec is None or spec.many:
        return
    if spec.schema.get("type") != "object":
        raise UsageError(
            "answers that match this schema cannot be merged",
            hint="Add --many for a list of them.",
        )


def cut(sizer: PromptSizer, prompt: Prompt, policy: Overflow) -> ChunkedText:
    """The prompt about the part of the text that fits. Raises ContextExceeded."""

    def fits(part: str) -> bool:
        return sizer.fits(sizer.encode(sizer.builder.with_text(prompt, part)))

    kept, left_out = kept_part(sizer, prompt, policy, fits)
    encoded = sizer.encode(sizer.builder.with_text(prompt, kept))
    return ChunkedText(prompt, (encoded,), left_out)


def kept_part(
    sizer: PromptSizer,
    prompt: Prompt,
    policy: Overflow,
    fits: Callable[[str], bool],
    overhead: EncodedPrompt | None = None,
) -> tuple[str, str]:
    """The head or the tail of a text that `fits`, and a description of what is left out.

    `overhead` is the prompt without its text, where it is known. Raises ContextExceeded.
    """
    from mistral_cli.texts.split import keep_head, keep_tail

    text = prompt.text.text
    check_overhead(sizer, prompt, overhead)
    kept = keep_head(text, fits) if policy is Overflow.HEAD else keep_tail(text, fits)
    where = "last" if policy is Overflow.HEAD else "first"
    rest = len(text) - len(kept)
    return kept, f"the {where} {rest} of {len(text)} characters" if rest else ""
