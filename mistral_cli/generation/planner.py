"""Prompts → requests: first their sizes, then a context for all of them, then the requests.

Nothing here reads the weights. `plan_jobs` is the whole way; `plan_short_prompts` skips the
counting where an upper bound of the tokens is good enough.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mistral_cli.engines.loader import open_tokenizer
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
from mistral_cli.generation.prompt import EncodedPrompt, Prompt, PromptBuilder, RenderedPrompt
from mistral_cli.generation.prompt_cache.prefixes import MIN_TOKENS, prefixes_of
from mistral_cli.models.chat.formats import encode
from mistral_cli.models.context import choose_context_length
from mistral_cli.models.gguf.token_text import detokenize
from mistral_cli.serving.client import ServedSession

if TYPE_CHECKING:
    from mistral_cli.engines.protocol import LoadOptions, Session
    from mistral_cli.models.chat import Message
    from mistral_cli.system.reporter import Reporter
    from mistral_cli.texts.structure import TextFormat

# What a 7B model needs for a context of so many tokens is 128 MiB, set to zero in some 30 ms.
# To open the vocabulary by itself, for an exact count, takes 60 ms for 32,000 tokens and 130 ms
# for 49,000: longer than to prefill a short prompt.
_SHORT_PROMPT = 1024  # tokens, by the upper bound
_BYTES_A_TOKEN = 4  # of English

# Other tokenizers rewrite the text before they split it, and may make it longer.
_A_TOKEN_IS_A_BYTE_OR_MORE = ("gpt2", "llama")


@dataclass(frozen=True)
class NamedPrompt:
    """A prompt of this run in the model's format; `subject` names its text among several."""

    rendered: RenderedPrompt
    subject: str = ""


@dataclass(frozen=True)
class PreparedRequest:
    """One request about `prompt`, ready to run in a context of `context_length` tokens.

    JSON that is cut or wrong may be asked for again, with up to `longest_answer` tokens.
    `seed_given` is False for a seed drawn at random.
    """

    prompt: Prompt
    request: Request
    context_length: int
    longest_answer: int
    stop: tuple[str, ...]
    seed_given: bool = False

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt, BOS included."""
        return len(self.request.prompt_token_ids)


@dataclass(frozen=True)
class Job:
    """One text, and the requests that answer it.

    `chunks` are the requests in the order of the text, with the text between them that stays
    as it is. `left_out` describes what no request is about. With `split` the requests are about
    parts of the text. `subject` names the text among several, else it is empty.
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
    """Makes requests for a context that is fixed; `load` is how the model is opened.

    `shared_prefix` is what the prompts of a batch begin with; None has each prompt looked at.
    """

    load: LoadOptions
    shared_prefix: tuple[int, ...] | None = None

    def with_load(self, **changes: Any) -> RequestPlanner:
        """The planner for a model that is opened with other `LoadOptions`."""
        return replace(self, load=replace(self.load, **changes))

    def job(self, prompt: EncodedPrompt, subject: str = "") -> Job:
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
        left = self.load.context_length - len(encoded)
        if not self.fits(encoded) or left < 1:
            raise self._too_long(encoded)
        more = 1 if "max_tokens" in self.config.generation.set_by_user else MORE_ROOM
        longest = min(generation.max_tokens * more, left)
        # Items that are written at once cannot be asked for again.
        request = Request(
            encoded.token_ids,
            min(generation.max_tokens, left) if self.strategy.retries else longest,
            generation.sampling,
            prompt.spec.grammar if prompt.spec else None,
            prefixes=self._prefixes(encoded),
        )
        seed_given = "seed" in generation.set_by_user or "seed" in prompt.overrides
        return PreparedRequest(
            prompt, request, self.load.context_length, longest, generation.stop, seed_given
        )

    def with_messages(
        self, prepared: PreparedRequest, messages: Sequence[Message]
    ) -> Request | None:
        """The request with other messages; None if they do not fit the context."""
        ids = tuple(encode(messages, self.config.model, self.tokenize))
        limit = min(prepared.longest_answer, self.load.context_length - len(ids))
        if limit < 1:
            return None
        return replace(prepared.request, prompt_token_ids=ids, max_tokens=limit)

    def prompt_text(self, prepared: PreparedRequest) -> str:
        """The exact prompt, with its control tokens written out."""
        return detokenize(self.config.model, prepared.request.prompt_token_ids)

    def _prefixes(self, encoded: EncodedPrompt) -> tuple[Prefix, ...]:
        """The prefixes of a prompt that other prompts are likely to share."""
        shared, ids = self.shared_prefix, encoded.token_ids
        if shared == ():
            return ()
        if shared and len(shared) >= MIN_TOKENS and ids[:-1][: len(shared)] == shared:
            return (Prefix(shared),)
        # A task asks its own question once about a text, and in a batch every text is new: a
        # state for each would fill the disk.
        question = bool(self.builder.instruction) and shared is None
        return prefixes_of(encoded, self.encode, question=question)

    def _too_long(self, encoded: EncodedPrompt) -> ContextExceeded:
        config, room = self.config, self.room(encoded.prompt)
        ways = ["Shorten the text", "use --overflow head, tail or split"]
        if "max_tokens" in config.generation.set_by_user:
            ways.append("lower -n/--max-tokens")
        if config.longest < config.model.context_length:
            ways.append(f"raise -c/--context-length up to {config.model.context_length}")
        return ContextExceeded(
            f"the prompt has {len(encoded)} tokens, and {room} fit into the context of "
            f"{config.longest} beside {config.longest - room} for the answer",
            hint=f"{', '.join(ways[:-1])} or {ways[-1]}.",
        )


def plan_jobs(
    builder: PromptBuilder,
    config: RunConfig,
    strategy: ChunkStrategy,
    prompts: Sequence[NamedPrompt],
    reporter: Reporter,
) -> tuple[list[Job], RequestPlanner]:
    """One job for each prompt, and the planner that made them; the tokens are counted exactly.

    All jobs share one context, long enough for the longest. Raises UsageError, ContextExceeded.
    """
    with _open_tokenizer(config) as tokenizer:
        sizer = PromptSizer(builder, config, strategy, tokenizer.tokenize)
        chunked = []
        for each in prompts:
            with about(each.subject):
                chunked.append(sizer.chunk(each.rendered.encode(sizer.tokenize)))
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
    """A planner whose context fits short prompts by an upper bound of their tokens.

    None where the tokens must be counted: for long prompts, for texts that may be split, and
    for a model that a server process has open. Until the model is open the planner cannot
    tokenize; `jobs_of` makes the jobs then.
    """
    if config.served or config.model.tokenizer_model not in _A_TOKEN_IS_A_BYTE_OR_MORE:
        return None
    sizer = PromptSizer(builder, config, strategy, _a_token_a_byte)
    budgets = []
    for each in prompts:
        prompt, most = each.rendered.prompt, each.rendered.most_tokens
        if most > min(_SHORT_PROMPT, sizer.room(prompt)):
            return None
        budget = sizer.budget(sizer.chunk(EncodedPrompt(prompt, (0,) * most)))
        if len(budget.prompts) != 1:
            return None
        budgets.append(replace(budget, prompts=(most // _BYTES_A_TOKEN,)))
    return fix_context(sizer, budgets, reporter)


def jobs_of(planner: RequestPlanner, prompts: Sequence[NamedPrompt]) -> list[Job]:
    """The jobs for prompts in a context that is fixed. Raises UsageError, ContextExceeded."""
    jobs = []
    for each in prompts:
        with about(each.subject):
            jobs.append(planner.job(each.rendered.encode(planner.tokenize), each.subject))
    return jobs


def fix_context(
    sizer: PromptSizer, budgets: Iterable[TokenBudget], reporter: Reporter
) -> RequestPlanner:
    """A planner with a context for all of the `budgets`, and the GPU layers that fit beside it."""
    budgets, config = list(budgets), sizer.config
    needed = max(budget.context for budget in budgets)
    context = choose_context_length(config.model, config.context_length, needed, reporter)
    if config.served and context > config.served.context_length:
        reporter.info(
            f"the model that process {config.served.pid} serves is not used: its context has "
            f"{config.served.context_length} tokens, and {context} are needed"
        )
        config = without_server(config, reporter)
    selection = fit_gpu_layers(config.selection, config.model, context)
    reporter.info(f"{selection.gpu_layers} layers on the GPU: {selection.gpu_reason}")
    if selection.warning:
        reporter.warn(selection.warning)
    config = replace(config, selection=selection)
    load = replace(config.load, context_length=context, gpu_layers=selection.gpu_layers)
    # Speculative decoding makes batches, which are computed faster with the weights as in the
    # file.
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


def _a_token_a_byte(text: str) -> list[int]:
    """Stands in for a tokenizer where an upper bound is enough."""
    return [0] * (len(text.encode("utf-8", "surrogatepass")) + 1)
