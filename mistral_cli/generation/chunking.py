"""The sizes of prompts, and the chunks of a text that does not fit: cut to one, or several."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from mistral_cli.errors import ContextExceeded, UsageError
from mistral_cli.generation.options import Overflow
from mistral_cli.generation.prompt import EncodedPrompt, Prompt

if TYPE_CHECKING:
    from mistral_cli.generation.config import GenerationConfig, RunConfig
    from mistral_cli.generation.prompt import PromptBuilder
    from mistral_cli.models.chat.formats import Tokenize
    from mistral_cli.structured.spec import OutputSpec
    from mistral_cli.texts.structure import TextFormat


# Tokens of a prompt about a chunk. The time to prefill one grows with its square, and shorter
# ones have more summaries: 2,048 to 4,096 are the quickest on a CPU, measured and by arithmetic.
LONGEST_CHUNK = 3072
MARGIN = 8  # tokens that a text may have more of between two others than alone
ANY_TEXT = "."

# JSON that was cut is asked for again with that many times the tokens, unless the user set
# the limit; and a context has that many tokens free for the words that ask again.
MORE_ROOM = 2
_RETRY_TOKENS = 128

_USUAL_ANSWER = 200  # tokens

_JSON_SHARE = 4  # keys and quotes around words make JSON of a text several times as long


@dataclass(frozen=True)
class ChunkedText:
    """The chunks of the text of `prompt`, in its order: encoded prompts, and texts kept as is.

    `left_out` describes the part of the text that no chunk has. With `split` the prompts are
    about parts of the text.
    """

    prompt: Prompt
    chunks: tuple[EncodedPrompt | str, ...]
    left_out: str = ""
    kind: TextFormat = "text"
    split: bool = False

    @property
    def prompts(self) -> list[EncodedPrompt]:
        """The prompts among the chunks."""
        return [chunk for chunk in self.chunks if isinstance(chunk, EncodedPrompt)]


ChunkPrompt = Callable[["PromptSizer", Prompt, str], Prompt]
"""The prompt about a chunk, made from the prompt about the whole text."""


class ChunkStrategy(Protocol):
    """What a task decides about chunks; `Strategy` is the default."""

    retries: ClassVar[bool]
    """True if an answer may be asked for again."""

    def chunk(self, sizer: PromptSizer, prompt: EncodedPrompt) -> ChunkedText:
        """The chunks of one text. Raises ContextExceeded."""

    def context_needed(self, sizer: PromptSizer, chunked: ChunkedText) -> int:
        """Tokens of context for the longest request about `chunked`, its answer included."""


@dataclass(frozen=True)
class TokenBudget:
    """The tokens that a text needs: of context, of each prompt, of likely answers."""

    context: int
    prompts: tuple[int, ...] = ()
    answers: int = 0


@dataclass(frozen=True)
class PromptSizer:
    """Counts the tokens of prompts and of the room they leave, before the context is fixed."""

    builder: PromptBuilder
    config: RunConfig
    strategy: ChunkStrategy
    tokenize: Tokenize

    def encode(self, prompt: Prompt) -> EncodedPrompt:
        """The token ids of the whole prompt."""
        return prompt.render(self.config.model).encode(self.tokenize)

    def count(self, text: str) -> int:
        """Tokens of `text` by itself."""
        return len(self.tokenize(text))

    def generation(self, prompt: Prompt) -> GenerationConfig:
        """The generation settings for `prompt`."""
        return self.config.generation.override(prompt.overrides)

    def room(self, prompt: Prompt) -> int:
        """The most tokens of a prompt that leave the answer its share of the context."""
        return self.config.longest - self.config.reserved(self.generation(prompt))

    def fits(self, prompt: EncodedPrompt) -> bool:
        """Whether the prompt leaves the answer its share."""
        return len(prompt) <= self.room(prompt.prompt)

    def longest_answer(self, prompt: Prompt) -> int:
        """Tokens of context that an answer may take beside the prompt.

        JSON may have to be shown to the model and asked for again.
        """
        longest = self.generation(prompt).max_tokens
        return longest * MORE_ROOM + _RETRY_TOKENS if prompt.spec else longest

    def chunk(self, prompt: EncodedPrompt) -> ChunkedText:
        """The chunks of a text. Raises ContextExceeded."""
        return self.strategy.chunk(self, prompt)

    def budget(self, chunked: ChunkedText) -> TokenBudget:
        """What the requests about `chunked` need."""
        prompts = chunked.prompts
        # A limit is for what does not end by itself: few answers come near it.
        usual = (min(self.generation(p.prompt).max_tokens, _USUAL_ANSWER) for p in prompts)
        context = self.strategy.context_needed(self, chunked)
        return TokenBudget(context, tuple(map(len, prompts)), sum(usual))


def chunk(sizer: PromptSizer, prompt: EncodedPrompt, chunk_prompt: ChunkPrompt) -> ChunkedText:
    """The whole text where it fits, else what the overflow policy makes of it.

    Raises ContextExceeded.
    """
    policy, whole = sizer.config.overflow, prompt.prompt
    if sizer.fits(prompt) or policy is Overflow.ERROR or not whole.text.text:
        return ChunkedText(whole, (prompt,))
    if policy is Overflow.SPLIT:
        kind = kind_of(whole)
        chunks = tuple(split_text(sizer, whole, kind, chunk_prompt))
        return ChunkedText(whole, chunks, kind=kind, split=True)
    return _cut(sizer, whole, policy)


def fits_one_chunk(sizer: PromptSizer, prompt: EncodedPrompt) -> bool:
    """Whether a prompt about the answers to chunks needs no chunks itself.

    Decided by the longest context, not by the open one, which other texts may have enlarged.
    """
    return len(prompt) <= min(sizer.room(prompt.prompt), LONGEST_CHUNK)


def kind_of(prompt: Prompt) -> TextFormat:
    """What kind of document the text of `prompt` is."""
    from mistral_cli.texts.structure import detect_format

    return detect_format(prompt.text.source, prompt.text.text)


def split_text(
    sizer: PromptSizer, prompt: Prompt, kind: TextFormat, chunk_prompt: ChunkPrompt
) -> Iterator[EncodedPrompt]:
    """The prompts about the chunks of a text that does not fit. Raises ContextExceeded."""
    from mistral_cli.texts.split import split

    least = sizer.encode(chunk_prompt(sizer, prompt, ANY_TEXT))
    room = min(sizer.room(least.prompt), LONGEST_CHUNK) - len(least) - MARGIN
    if prompt.spec:
        room //= _JSON_SHARE
    if room < 1:
        check_overhead(sizer, prompt)
    parts = split(prompt.text.text, sizer.count, max(room, 1), markdown=kind == "markdown")
    for part in parts:
        yield sizer.encode(chunk_prompt(sizer, prompt, part.strip("\n")))


def check_overhead(sizer: PromptSizer, prompt: Prompt) -> None:
    """Refuse a prompt that does not fit even without its text. Raises ContextExceeded."""
    least = sizer.encode(sizer.builder.with_text(prompt, ANY_TEXT))
    if not sizer.fits(least):
        raise ContextExceeded(
            f"the prompt has {len(least)} tokens without its text, and {sizer.room(prompt)} fit",
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


def _cut(sizer: PromptSizer, prompt: Prompt, policy: Overflow) -> ChunkedText:
    from mistral_cli.texts.split import keep_head, keep_tail

    text, builder = prompt.text.text, sizer.builder

    def fits(part: str) -> bool:
        return sizer.fits(sizer.encode(builder.with_text(prompt, part)))

    check_overhead(sizer, prompt)
    kept = keep_head(text, fits) if policy is Overflow.HEAD else keep_tail(text, fits)
    where = "last" if policy is Overflow.HEAD else "first"
    left_out = f"the {where} {len(text) - len(kept)} of {len(text)} characters"
    return ChunkedText(prompt, (sizer.encode(builder.with_text(prompt, kept)),), left_out)
