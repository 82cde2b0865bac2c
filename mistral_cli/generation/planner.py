"""A text → what is asked of the engine: tokens, limits and prefixes, before weights are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mistral_cli.engines.types import Prefix, Request, Sampling
from mistral_cli.errors import ContextExceeded, UsageError
from mistral_cli.generation.config import RunConfig, choose_engine
from mistral_cli.generation.prompt_cache import LEAST_TOKENS, PromptCache, prefixes_of
from mistral_cli.models.chat.formats import Tokenize, encode, encode_raw
from mistral_cli.models.context import choose_context_length
from mistral_cli.models.gguf.token_text import detokenize

if TYPE_CHECKING:
    from mistral_cli.engines.protocol import LoadOptions
    from mistral_cli.engines.selection import EngineSelection
    from mistral_cli.generation.prompt import Prompt, PromptBuilder
    from mistral_cli.generation.task import Task
    from mistral_cli.models.chat import Message
    from mistral_cli.models.gguf import GGUF
    from mistral_cli.system.reporter import Reporter

# JSON that was cut is asked for again with that many times the tokens, unless the user set
# the limit; and a context has that many tokens free for the words that ask again.
_MORE_ROOM = 2
_ASKING_AGAIN = 128

_USUAL_ANSWER = 200


@dataclass(frozen=True)
class Plan:
    """One request, ready to run, with what a dry run shows of it.

    An answer that cannot be read may be asked for again, with up to `longest_answer` tokens.
    `seed_given` is whether anybody chose the seed.
    """

    task: Task
    draft: Prompt
    model: GGUF
    model_name: str
    selection: EngineSelection
    load: LoadOptions
    request: Request
    longest_answer: int
    stop: tuple[str, ...]
    seed_given: bool = False

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt, BOS included."""
        return len(self.request.prompt_token_ids)

    @property
    def prompt(self) -> str:
        """The exact prompt, control tokens written out."""
        return detokenize(self.model, self.request.prompt_token_ids)

    def asking(self, messages: Sequence[Message], tokenize: Tokenize) -> Request | None:
        """The request with another prompt; None if that does not fit the context."""
        ids = tuple(encode(messages, self.model, tokenize))
        limit = min(self.longest_answer, self.load.context_length - len(ids))
        return replace(self.request, prompt_token_ids=ids, max_tokens=limit) if limit > 0 else None


@dataclass(frozen=True)
class Planner:
    """Drafts → plans, once the context is settled; until then it counts their tokens.

    `beginning` is what the prompts of a batch begin with; else that is found for each.
    """

    drafter: PromptBuilder
    setup: RunConfig
    tokenize: Tokenize
    load: LoadOptions
    beginning: tuple[int, ...] | None = None

    def encode(self, draft: Prompt) -> tuple[int, ...]:
        """The token ids of the whole prompt."""
        model = self.setup.model
        if isinstance(draft.prompt, str):
            return tuple(encode_raw(draft.prompt, model, self.tokenize))
        return tuple(encode(draft.prompt, model, self.tokenize))

    def count(self, text: str) -> int:
        """Tokens of `text` by itself."""
        return len(self.tokenize(text))

    def settings(self, draft: Prompt) -> Mapping[str, Any]:
        """The sampling options for `draft`."""
        return {**self.setup.settings, **draft.settings}

    def room(self, draft: Prompt) -> int:
        """Tokens that the prompt of `draft` may have, so that the answer keeps its own."""
        return self.setup.longest - self.setup.reserved(self.settings(draft))

    def fits(self, draft: Prompt) -> bool:
        """Whether the prompt leaves the answer its room."""
        return len(self.encode(draft)) <= self.room(draft)

    def longest_answer(self, draft: Prompt) -> int:
        """Tokens of context for the answer, beside the prompt.

        JSON may have to be shown to the model and asked for again.
        """
        longest = int(self.settings(draft)["max_tokens"])
        return longest * _MORE_ROOM + _ASKING_AGAIN if draft.expected else longest

    def usual_answer(self, draft: Prompt) -> int:
        """Tokens that an answer is likely to have: limits are for what does not end by itself."""
        return min(int(self.settings(draft)["max_tokens"]), _USUAL_ANSWER)

    def opened(self, needed: Iterable[int], reporter: Reporter) -> Planner:
        """With a context for all that is `needed`, in tokens."""
        wanted = self.setup.options.context_length
        context = choose_context_length(self.setup.model, wanted, max(needed), reporter)
        return self.loading(context_length=context)

    def plan(self, draft: Prompt) -> Plan:
        """Raises UsageError for an empty prompt, and ContextExceeded."""
        ids, setup, settings = self.encode(draft), self.setup, self.settings(draft)
        if not ids:
            raise UsageError("the prompt is empty", hint="Give some text.")
        context = self.load.context_length
        left = context - len(ids)
        if len(ids) > self.room(draft) or left < 1:
            raise self._too_long(len(ids), draft)
        more = 1 if setup.options.max_tokens else _MORE_ROOM
        longest = min(settings["max_tokens"] * more, left)
        # What is printed cannot be asked for again.
        limit = longest if self.drafter.task.jsonl else min(settings["max_tokens"], left)
        grammar = draft.expected.grammar if draft.expected else None
        prefixes = self.prefixes(draft, ids)
        request = Request(ids, limit, _sampling(settings), grammar, prefixes=prefixes)
        stop = tuple(settings.get("stop", setup.stop))
        seed_given = setup.options.seed is not None or "seed" in draft.settings
        return Plan(
            self.drafter.task,
            draft,
            setup.model,
            setup.model_name,
            setup.selection,
            self.load,
            request,
            longest,
            stop,
            seed_given,
        )

    def prefixes(self, draft: Prompt, ids: tuple[int, ...]) -> tuple[Prefix, ...]:
        """Which beginnings of the prompt of `draft`, which is `ids`, are used again."""
        beginning = self.beginning
        if beginning == ():
            return ()
        if beginning and len(beginning) >= LEAST_TOKENS and ids[:-1][: len(beginning)] == beginning:
            return (Prefix(beginning),)
        # A task's own wish comes once for a text, and in a batch every text is new: a state for
        # each would fill the disk.
        question = bool(self.drafter.instruction) and beginning is None
        return prefixes_of(draft, ids, self.encode, question=question)

    def loading(self, **changes: Any) -> Planner:
        """The planner for an engine that is opened with other `LoadOptions`."""
        return replace(self, load=replace(self.load, **changes))

    def prompt_cache(self, say: Callable[[str], None]) -> PromptCache:
        """The prompt cache for an engine that is open as `load` tells."""
        setup = self.setup
        return PromptCache(
            setup.model, setup.model_name, setup.selection, self.load, setup.cache_limit, say
        )

    def _too_long(self, tokens: int, draft: Prompt) -> ContextExceeded:
        setup, room = self.setup, self.room(draft)
        ways = ["Shorten the text", "use --overflow head, tail or split"]
        if setup.options.max_tokens:
            ways.append("lower -n/--max-tokens")
        if setup.longest < setup.model.context_length:
            ways.append(f"raise -c/--context-length up to {setup.model.context_length}")
        return ContextExceeded(
            f"the prompt has {tokens} tokens, and {room} fit into the context of "
            f"{setup.longest} beside {setup.longest - room} for the answer",
            hint=f"{', '.join(ways[:-1])} or {ways[-1]}.",
        )


def within_served(planner: Planner, reporter: Reporter) -> Planner:
    """`planner`, without the process that serves the model where its context is too short."""
    setup, context = planner.setup, planner.load.context_length
    if not setup.served or context <= setup.served.context_length:
        return planner
    reporter.info(
        f"the model that process {setup.served.pid} serves is not used: its context has "
        f"{setup.served.context_length} tokens, and {context} are needed"
    )
    selection = choose_engine(setup.model, setup.wanted, reporter)
    return replace(planner, setup=replace(setup, served=None, selection=selection))


def _sampling(settings: Mapping[str, Any]) -> Sampling:
    return Sampling(
        temperature=settings["temperature"],
        top_k=settings["top_k"],
        top_p=settings["top_p"],
        repetition_penalty=settings["repetition_penalty"],
        seed=settings["seed"],
    )
