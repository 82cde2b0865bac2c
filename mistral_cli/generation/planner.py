"""Prompts → requests: first their sizes, then a context for all of them, then the requests.

Nothing here reads the weights. `plan_jobs` counts the tokens exactly; `plan_short_prompts` plans
with an upper bound of the tokens where that is good enough.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mistral_cli.engines.loader import open_tokenizer
from mistral_cli.engines.reasoning import rest_of_answer
from mistral_cli.engines.selection import fit_gpu_layers
from mistral_cli.engines.types import Prefix, Request
from mistral_cli.errors import ContextExceeded, UsageError, about
from mistral_cli.generation.chunking import (
    MORE_ROOM,
    ChunkedText,
    ChunkStrategy,
    PromptSizer,
    TokenBudget,
)
from mistral_cli.generation.config import RunConfig, without_server
from mistral_cli.generation.options import OnLimit
from mistral_cli.generation.prompt import EncodedPrompt, Prompt, PromptBuilder, RenderedPrompt
from mistral_cli.generation.prompt_cache.prefixes import MIN_TOKENS, prefixes_of
from mistral_cli.models.chat import Message
from mistral_cli.models.chat.formats import BYTE_BOUNDED_TOKENIZERS, encode
from mistral_cli.models.context import choose_context_length
from mistral_cli.models.gguf.token_text import detokenize
from mistral_cli.models.remote import RemoteModel
from mistral_cli.serving.client import ServedSession

if TYPE_CHECKING:
    from mistral_cli.engines.protocol import LoadOptions, Session
    from mistral_cli.engines.types import Thinking
    from mistral_cli.generation.answer import Answer
    from mistral_cli.generation.config import Source
    from mistral_cli.system.reporter import Reporter
    from mistral_cli.texts.structure import TextFormat

# A context of this many tokens takes 128 MiB for a 7B model, which are zeroed in some 30 ms.
# Opening the vocabulary by itself, for an exact count, takes 60 ms for 32,000 tokens and 130 ms
# for 49,000: longer than a short prompt's prefill.
SHORT_PROMPT = 1024  # tokens, by the upper bound
_BYTES_PER_TOKEN = 4  # in English text


@dataclass(frozen=True)
class NamedPrompt:
    """A prompt in the model's format; `subject` names its text if there are several."""

    rendered: RenderedPrompt
    subject: str = ""


@dataclass(frozen=True)
class PreparedRequest:
    """A request for `prompt`, ready to run in a context of `context_length` tokens.

    A retry of JSON that is cut or invalid may have up to `longest_answer` tokens. `on_limit` says
    what happens to JSON that reaches the limit. `sources` has where each setting comes from.
    """

    prompt: Prompt
    request: Request
    context_length: int
    longest_answer: int
    stop: tuple[str, ...]
    sources: Mapping[str, Source] = field(default_factory=dict)
    on_limit: OnLimit = OnLimit.FAIL

    @property
    def closes(self) -> bool:
        """Whether a JSON answer that reaches its limit is closed there."""
        return self.on_limit is OnLimit.CLOSE

    @property
    def prompt_tokens(self) -> int:
        """The number of tokens of the prompt, BOS included."""
        return len(self.request.prompt_token_ids)

    @property
    def fixed_seed(self) -> bool:
        """Whether the seed is the same in the next run."""
        return self.sources.get("seed", "random") != "random"


@dataclass(frozen=True)
class Job:
    """One text, and the requests that answer it.

    `chunks` are the requests in the order of the text, and the text between them that stays
    unchanged. `left_out` describes the part of the text that is in no request. `split` is True if
    the requests are about parts of the text. `subject` names the text if there are several.
    """

    prompt: Prompt
    chunks: tuple[PreparedRequest | str, ...]
    left_out: str = ""
    text_format: TextFormat = "text"
    split: bool = False
    subject: str = ""

    @property
    def requests(self) -> list[PreparedRequest]:
        """The requests, in the order of the text."""
        return [chunk for chunk in self.chunks if isinstance(chunk, PreparedRequest)]


@dataclass(frozen=True)
class RequestPlanner(PromptSizer):
    """Makes requests for a fixed context; `load` has the options that open the model.

    `shared_prefix` is the common prefix of the prompts of a batch. If it is None, each prompt
    gets prefixes of its own.
    """

    load: LoadOptions
    shared_prefix: tuple[int, ...] | None = None

    def with_load(self, **changes: Any) -> RequestPlanner:
        """This planner for a model that is opened with other `LoadOptions`."""
        return replace(self, load=replace(self.load, **changes))

    def job(self, prompt: RenderedPrompt, subject: str = "") -> Job:
        """The job for one text. Raises UsageError, ContextExceeded."""
        return self.job_of(self.chunk(prompt), subject)

    def job_of(self, chunked: ChunkedText, subject: str = "") -> Job:
        """The job for a text that has been chunked. Raises UsageError, ContextExceeded."""
        chunks = [c if isinstance(c, str) else self.prepare(c) for c in chunked.chunks]
        return Job(
            chunked.prompt,
            tuple(chunks),
            chunked.left_out,
            chunked.text_format,
            chunked.split,
            subject,
        )

    def prepare(self, encoded: EncodedPrompt) -> PreparedRequest:
        """The request for a prompt. Raises UsageError for an empty one, ContextExceeded."""
        prompt, generation = encoded.prompt, self.generation(encoded.prompt)
        if not len(encoded):
            raise UsageError("the prompt is empty", hint="Give some text.")
        room = self.load.context_length - len(encoded)
        if not self.fits(encoded) or room < 1:
            raise self._too_long(encoded)
        left = room - self.config.thought_room(room)
        more = 1 if self.config.limited_by_user else MORE_ROOM
        longest = min(generation.max_tokens * more, left)
        # Without retries the first request has the higher limit of a retry.
        answer = min(generation.max_tokens, left) if self.strategy.retries else longest
        request = Request(
            encoded.token_ids,
            answer,
            generation.sampling,
            prompt.grammar(),
            loose=prompt.grounding is not None,
            prefixes=self._prefixes(encoded),
            thinking=self._thinking(room, answer, prompt),
            schema=prompt.spec.spec.json_schema if prompt.spec else None,
        )
        return PreparedRequest(
            prompt,
            request,
            self.load.context_length,
            longest,
            generation.stop,
            generation.sources,
            generation.on_limit,
        )

    def with_messages(
        self, prepared: PreparedRequest, messages: Sequence[Message]
    ) -> Request | None:
        """The request with other messages, or None if they do not fit the context."""
        ids = tuple(encode(messages, self.config.model, self.tokenize, self.config.chat_reasoning))
        room = self.load.context_length - len(ids)
        limit = min(prepared.longest_answer, room - self.config.thought_room(room))
        if limit < 1:
            return None
        thinking = self._thinking(room, limit, prepared.prompt)
        return replace(prepared.request, prompt_token_ids=ids, max_tokens=limit, thinking=thinking)

    def with_correction(
        self, prepared: PreparedRequest, answer: str, correction: str
    ) -> Request | None:
        """The request with a turn about its `answer`; None for a raw prompt, or without room."""
        messages = prepared.prompt.content
        if isinstance(messages, str):
            return None
        turns = [Message("assistant", answer), Message("user", correction)]
        return self.with_messages(prepared, [*messages, *turns])

    def with_written(
        self, request: Request, answer: Answer, written: str, max_tokens: int
    ) -> Request | None:
        """The request for the rest of an `answer` to `request` after `written`; None without room.

        The rest may have `max_tokens` tokens. `written` is the beginning of the answer's text, or
        what takes its place; the thought before it stays. None too if the model is prompted with
        messages, which cannot end within an answer.
        """
        if isinstance(self.config.model, RemoteModel) and self.config.model.packed:
            return None
        return rest_of_answer(
            request,
            answer.reasoning,
            written,
            max_tokens,
            model=self.config.model,
            tokenize=self.tokenize,
            context_length=self.load.context_length,
        )

    def _thinking(self, room: int, answer: int, prompt: Prompt) -> Thinking | None:
        reasoning = self.config.reasoning
        if reasoning is None or isinstance(prompt.content, str):
            return None
        return reasoning.thinking(room, answer, constrained=prompt.is_constrained)

    def prompt_text(self, prepared: PreparedRequest) -> str:
        """The exact prompt, with its control tokens written out."""
        return detokenize(self.config.model, prepared.request.prompt_token_ids)

    def _prefixes(self, encoded: EncodedPrompt) -> tuple[Prefix, ...]:
        """The prefixes that other prompts are likely to share."""
        shared, ids = self.shared_prefix, encoded.token_ids
        if shared == ():
            return ()
        if shared and len(shared) >= MIN_TOKENS and ids[:-1][: len(shared)] == shared:
            return (Prefix(shared),)
        # Only a user's own question may be followed by another about the same text. Tasks ask once,
        # and a batch has a new text in each row: a state for each text would fill the disk.
        question = bool(self.builder.instruction) and shared is None
        return prefixes_of(encoded, self.encode, question=question)

    def _too_long(self, encoded: EncodedPrompt) -> ContextExceeded:
        config, room = self.config, self.room(encoded.prompt)
        remedies = ["Shorten the text", f"use --overflow {self.strategy.overflow_choices}"]
        if config.limited_by_user:
            remedies.append("lower -n/--max-tokens")
        if config.longest < config.model.context_length:
            remedies.append(f"raise -c/--context-length up to {config.model.context_length}")
        at_least = "at least " if encoded.least else ""
        return ContextExceeded(
            f"the prompt has {at_least}{len(encoded)} tokens, and {room} fit into the context of "
            f"{config.longest} beside {config.longest - room} for the answer",
            hint=f"{', '.join(remedies[:-1])}, or {remedies[-1]}.",
        )


def plan_jobs(
    builder: PromptBuilder,
    config: RunConfig,
    strategy: ChunkStrategy,
    prompts: Sequence[NamedPrompt],
    reporter: Reporter,
) -> tuple[list[Job], RequestPlanner]:
    """Plan a job for each prompt, with exact token counts; also return the planner.

    All jobs share one context, long enough for each. Raises UsageError, ContextExceeded.
    """
    with _open_tokenizer(config) as tokenizer:
        sizer = PromptSizer(builder, config, strategy, tokenizer.tokenize)
        chunked = []
        for each in prompts:
            with about(each.subject):
                chunked.append(sizer.chunk(each.rendered))
        planner = fix_context(sizer, [sizer.budget(each) for each in chunked], reporter)
        jobs = []
        for each, chunks in zip(prompts, chunked, strict=True):
            with about(each.subject):
                jobs.append(planner.job_of(chunks, each.subject))
        return jobs, planner


def plan_short_prompts(
    builder: PromptBuilder,
    config: RunConfig,
    strategy: ChunkStrategy,
    prompts: Sequence[NamedPrompt],
    reporter: Reporter,
) -> RequestPlanner | None:
    """Plan a context for short prompts with an upper bound of their tokens.

    Returns None if the tokens must be counted: for long prompts, for texts that may be split, and
    for a served model. The planner cannot tokenize before the model is open; then `jobs_of` makes
    the jobs.
    """
    if config.served:
        return None
    budgets = []
    for each in prompts:
        if (budget := short_budget(builder, config, strategy, each.rendered)) is None:
            return None
        budgets.append(budget)
    return fix_context(
        PromptSizer(builder, config, strategy, _one_token_per_byte), budgets, reporter
    )


def short_budget(
    builder: PromptBuilder, config: RunConfig, strategy: ChunkStrategy, rendered: RenderedPrompt
) -> TokenBudget | None:
    """The most tokens that a short prompt may need, without a tokenizer; None for others.

    Neither a SentencePiece nor a byte-pair vocabulary has more tokens for a text than it has bytes,
    but for a space in front of it; other kinds may normalize a text, which can make it longer.
    """
    if config.model.tokenizer_model not in BYTE_BOUNDED_TOKENIZERS:
        return None
    prompt = rendered.prompt
    if len(prompt.text.text) > SHORT_PROMPT:
        return None
    sizer = PromptSizer(builder, config, strategy, _one_token_per_byte)
    bound = rendered.most_tokens
    if bound > min(SHORT_PROMPT, sizer.room(prompt)):
        return None
    budget = sizer.budget(strategy.chunk(sizer, EncodedPrompt(prompt, (0,) * bound)))
    if len(budget.prompts) != 1:
        return None
    return replace(budget, prompts=(bound // _BYTES_PER_TOKEN,))


def jobs_of(planner: RequestPlanner, prompts: Sequence[NamedPrompt]) -> list[Job]:
    """The jobs for prompts in a fixed context. Raises UsageError, ContextExceeded."""
    jobs = []
    for each in prompts:
        with about(each.subject):
            jobs.append(planner.job(each.rendered, each.subject))
    return jobs


def fix_context(
    sizer: PromptSizer, budgets: Iterable[TokenBudget], reporter: Reporter
) -> RequestPlanner:
    """A planner with a context for all `budgets`, and the GPU layers that fit besides it."""
    budgets, config = list(budgets), sizer.config
    needed = max(budget.context for budget in budgets)
    context = choose_context_length(config.model, config.context_length, needed, reporter)
    if config.selection.backend.remote:
        context = config.longest  # which is there already
    if config.served and context > config.served.context_length:
        reporter.info(
            f"the model that process {config.served.pid} serves is not used: its context has "
            f"{config.served.context_length} tokens, and {context} are needed"
        )
        config = without_server(config, reporter)
    selection = fit_gpu_layers(config.selection, config.model, context)
    if not selection.backend.remote:
        reporter.info(f"{selection.gpu_layers} layers on the GPU: {selection.gpu_reason}")
    if selection.warning:
        reporter.warn(selection.warning)
    config = replace(config, selection=selection)
    load = replace(config.load, context_length=context, gpu_layers=selection.gpu_layers)
    # Speculative decoding evaluates batches, which are faster with the weights as in the file.
    if selection.backend.repacking and not selection.gpu_layers and not load.speculative:
        load = replace(load, repack=_repack(config, context, budgets, reporter))
    return RequestPlanner(sizer.builder, config, sizer.strategy, sizer.tokenize, load)


def _repack(
    config: RunConfig, context: int, budgets: Sequence[TokenBudget], reporter: Reporter
) -> bool:
    backend = config.selection.backend
    prompts, answers = sum(sum(b.prompts) for b in budgets), sum(b.answers for b in budgets)
    memory = backend.memory(config.model, context, 0)
    from mistral_cli.engines.repacking import repack_pays

    repack, why = repack_pays(backend.repacking, config.model, prompts, answers, memory)
    reporter.info(f"weights {why}")
    return repack


def _open_tokenizer(config: RunConfig) -> AbstractContextManager[Session]:
    if config.served:
        return ServedSession(config.served, config.model)
    return open_tokenizer(config.selection.backend, config.model)


def _one_token_per_byte(text: str) -> list[int]:
    """Replaces a tokenizer where an upper bound is enough."""
    return [0] * (len(text.encode("utf-8", "surrogatepass")) + 1)
