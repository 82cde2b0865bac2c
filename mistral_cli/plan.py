"""Everything that is decided before the weights are read: model, engine, tokens, limits."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mistral_cli.adapters import fitting, read_adapters
from mistral_cli.config import Config
from mistral_cli.context import context_length, longest_context
from mistral_cli.draft import Draft, Drafter
from mistral_cli.engines import (
    Choice,
    LoadOptions,
    Prefix,
    Request,
    Sampling,
    ScaledAdapter,
    check_names,
    choose,
)
from mistral_cli.errors import ContextExceeded, UsageError
from mistral_cli.gguf import GGUF
from mistral_cli.gguf import read as read_gguf
from mistral_cli.gguf.token_text import detokenize
from mistral_cli.instruct.formats import Tokenize, encode, encode_raw
from mistral_cli.instruct.messages import Message
from mistral_cli.machine import usable_cores
from mistral_cli.models.references import resolve
from mistral_cli.options import Overflow, TaskOptions
from mistral_cli.prompt_cache import LEAST_TOKENS, PromptCache, prefixes_of
from mistral_cli.serving.place import Served
from mistral_cli.serving.warm import choice_of, find
from mistral_cli.task import Task
from mistral_cli.templates import Template
from mistral_cli.terminal import Terminal

# What `generate` uses, for templates that say nothing.
_DEFAULTS: Mapping[str, Any] = {
    "max_tokens": 2048,
    "temperature": 0.9,
    "top_k": 55,
    "top_p": 0.93,
    "repetition_penalty": 1.2,
}

# JSON that was cut is asked for again with that many times the tokens, unless the user set
# the limit; and a context has that many tokens free for the words that ask again.
_MORE_ROOM = 2
_ASKING_AGAIN = 128

_USUAL_ANSWER = 200

# The shares of a context that are kept for the answer: at most, where the user says how long
# it may be, and where a template's limit is only there to end what does not end by itself.
_SHARE_GIVEN, _SHARE = 2, 4


@dataclass(frozen=True)
class Setup:
    """What is settled before any text is looked at.

    `settings` are the sampling options, seed included; `longest` is the longest context that
    may be opened, in tokens. `engine` is the name asked for, or "auto". `served` is the process
    that has the model loaded, if one does that can be used.
    The prompt cache may have `cache_limit` bytes.
    `adapters` fit the model.
    """

    model: GGUF
    model_name: str
    choice: Choice
    settings: Mapping[str, Any]
    stop: tuple[str, ...]
    threads: int
    longest: int
    overflow: Overflow
    options: TaskOptions
    engine: str
    served: Served | None = None
    cache_limit: int = 0
    adapters: tuple[ScaledAdapter, ...] = ()

    def reserved(self, settings: Mapping[str, Any]) -> int:
        """Tokens of the longest context that a text may not take from the answer."""
        given = self.options.max_tokens is not None
        return min(int(settings["max_tokens"]), self.longest // (_SHARE_GIVEN if given else _SHARE))


@dataclass(frozen=True)
class Plan:
    """One request, ready to run, with what a dry run shows of it.

    An answer that cannot be read may be asked for again, with up to `longest_answer` tokens.
    `seed_given` is whether anybody chose the seed.
    """

    task: Task
    draft: Draft
    model: GGUF
    model_name: str
    choice: Choice
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

    drafter: Drafter
    setup: Setup
    tokenize: Tokenize
    load: LoadOptions
    beginning: tuple[int, ...] | None = None

    def encode(self, draft: Draft) -> tuple[int, ...]:
        """The token ids of the whole prompt."""
        model = self.setup.model
        if isinstance(draft.prompt, str):
            return tuple(encode_raw(draft.prompt, model, self.tokenize))
        return tuple(encode(draft.prompt, model, self.tokenize))

    def count(self, text: str) -> int:
        """Tokens of `text` by itself."""
        return len(self.tokenize(text))

    def settings(self, draft: Draft) -> Mapping[str, Any]:
        """The sampling options for `draft`."""
        return {**self.setup.settings, **draft.settings}

    def room(self, draft: Draft) -> int:
        """Tokens that the prompt of `draft` may have, so that the answer keeps its own."""
        return self.setup.longest - self.setup.reserved(self.settings(draft))

    def fits(self, draft: Draft) -> bool:
        """Whether the prompt leaves the answer its room."""
        return len(self.encode(draft)) <= self.room(draft)

    def longest_answer(self, draft: Draft) -> int:
        """Tokens of context for the answer, beside the prompt.

        JSON may have to be shown to the model and asked for again.
        """
        longest = int(self.settings(draft)["max_tokens"])
        return longest * _MORE_ROOM + _ASKING_AGAIN if draft.expected else longest

    def usual_answer(self, draft: Draft) -> int:
        """Tokens that an answer is likely to have: limits are for what does not end by itself."""
        return min(int(self.settings(draft)["max_tokens"]), _USUAL_ANSWER)

    def opened(self, needed: Iterable[int], terminal: Terminal) -> Planner:
        """With a context for all that is `needed`, in tokens."""
        wanted = self.setup.options.context_length
        context = context_length(self.setup.model, wanted, max(needed), terminal)
        return replace(self, load=replace(self.load, context_length=context))

    def plan(self, draft: Draft) -> Plan:
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
            setup.choice,
            self.load,
            request,
            longest,
            stop,
            seed_given,
        )

    def prefixes(self, draft: Draft, ids: tuple[int, ...]) -> tuple[Prefix, ...]:
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

    def prompt_cache(self, say: Callable[[str], None]) -> PromptCache:
        """The prompt cache for an engine that is open as `load` tells."""
        setup = self.setup
        return PromptCache(
            setup.model, setup.model_name, setup.choice, self.load, setup.cache_limit, say
        )

    def _too_long(self, tokens: int, draft: Draft) -> ContextExceeded:
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


def settle(
    task: Task,
    template: Template,
    options: TaskOptions,
    config: Config,
    terminal: Terminal,
    *,
    may_be_served: bool = False,
) -> Setup:
    """Find the model, choose the engine, collect the settings. Downloads what is missing.

    With `may_be_served` a process of this user that has it loaded is looked for. Raises every
    MistralCliError but those of a running engine.
    """
    engine = options.engine or config.engine
    check_names(
        engine,
        options.gpu_layers,
        require_gpu=options.require_gpu,
        adapters=bool(options.lora),
    )
    adapters = read_adapters(options.lora or (), terminal)
    reference = options.model or config.model
    model = read_gguf(resolve(reference, config, terminal))
    terminal.info(f"{reference} is {model.path}")
    served = find(model, options, engine, terminal) if may_be_served else None
    choice = choice_of(served) if served else _choose(model, options, engine, terminal)
    if served:
        terminal.info(f"engine {choice.engine.name}: {choice.reason}")
    default = Overflow.ERROR if task.way == "answer" else Overflow.SPLIT
    return Setup(
        model=model,
        model_name=reference,
        choice=choice,
        settings=_settings(template, options),
        stop=tuple(options.stop or ()),
        threads=_threads(options, terminal),
        longest=longest_context(model, options.context_length),
        overflow=options.overflow or default,
        options=options,
        cache_limit=0 if options.no_cache else config.prompt_cache_bytes,
        adapters=fitting(adapters, model),
        engine=engine,
        served=served,
    )


def within_served(planner: Planner, terminal: Terminal) -> Planner:
    """`planner`, without the process that serves the model where its context is too short."""
    setup, context = planner.setup, planner.load.context_length
    if not setup.served or context <= setup.served.context_length:
        return planner
    terminal.info(
        f"the model that process {setup.served.pid} serves is not used: its context has "
        f"{setup.served.context_length} tokens, and {context} are needed"
    )
    choice = _choose(setup.model, setup.options, setup.engine, terminal)
    return replace(planner, setup=replace(setup, served=None, choice=choice))


def _choose(model: GGUF, options: TaskOptions, engine: str, terminal: Terminal) -> Choice:
    choice = choose(
        engine,
        model,
        gpu_layers=options.gpu_layers,
        require_gpu=options.require_gpu,
        adapters=bool(options.lora),
    )
    terminal.info(f"engine {choice.engine.name}: {choice.reason}")
    return choice


def _threads(options: TaskOptions, terminal: Terminal) -> int:
    cores = usable_cores()
    if options.threads and options.threads > cores:
        terminal.warn(
            f"{options.threads} threads on {cores} usable cores: they spin, which makes the "
            "engines many times slower"
        )
    return options.threads or cores


def _settings(template: Template, options: TaskOptions) -> dict[str, Any]:
    """Sampling options: the flag, else the template's header, else the default."""
    given = {name: getattr(options, name) for name in _DEFAULTS}
    return {
        **_DEFAULTS,
        **template.options,
        **{name: value for name, value in given.items() if value is not None},
        "seed": secrets.randbelow(2**31) if options.seed is None else options.seed,
    }


def _sampling(settings: Mapping[str, Any]) -> Sampling:
    return Sampling(
        temperature=settings["temperature"],
        top_k=settings["top_k"],
        top_p=settings["top_p"],
        repetition_penalty=settings["repetition_penalty"],
        seed=settings["seed"],
    )
