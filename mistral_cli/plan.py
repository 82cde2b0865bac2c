"""Everything that is decided before the weights are read: model, engine, tokens, limits."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mistral_cli.config import Config
from mistral_cli.context import context_length
from mistral_cli.draft import Draft, Task, make_drafts
from mistral_cli.engines import (
    Choice,
    LoadOptions,
    Request,
    Sampling,
    check_names,
    choose,
    open_tokenizer,
    place,
)
from mistral_cli.errors import ContextExceeded, UsageError, about
from mistral_cli.gguf import GGUF
from mistral_cli.gguf import read as read_gguf
from mistral_cli.gguf.token_text import detokenize
from mistral_cli.inputs.texts import Inputs
from mistral_cli.instruct.formats import Tokenize, encode, encode_raw
from mistral_cli.instruct.messages import Message
from mistral_cli.machine import usable_cores
from mistral_cli.models.references import resolve
from mistral_cli.options import TaskOptions
from mistral_cli.structured.shape import Shape
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


@dataclass(frozen=True)
class Plan:
    """One request, ready to run, with what a dry run shows of it.

    An answer that cannot be read may be asked for again, with up to `longest_answer` tokens.
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


def make_plans(
    task: Task,
    template: Template,
    inputs: Inputs,
    options: TaskOptions,
    config: Config,
    terminal: Terminal,
) -> list[Plan]:
    """One plan for each text of `inputs`; they share the model and one context length.

    What the user wrote is checked before anything is downloaded. Raises every
    MistralCliError but those of a running engine.
    """
    drafts = make_drafts(task, template, inputs, options)
    engine = options.engine or config.engine
    check_names(engine, options.gpu_layers, require_gpu=options.require_gpu)
    reference = options.model or config.model
    model = read_gguf(resolve(reference, config, terminal))
    terminal.info(f"{reference} is {model.path}")
    choice = _choose(model, options, config, terminal)
    with open_tokenizer(choice.engine, model) as tokenizer:
        encoded = [_encode(draft.prompt, model, tokenizer.tokenize) for draft in drafts]
    settings = _settings(template, options)
    needed = max(map(len, encoded)) + _answer_room(task.shape(template), settings)
    context = context_length(model, options.context_length, needed, terminal)
    choice = place(choice, model, context)
    terminal.info(f"{choice.gpu_layers} layers on the GPU: {choice.gpu_reason}")
    if choice.warning:
        terminal.warn(choice.warning)
    load = LoadOptions(context, _threads(options, terminal), choice.gpu_layers)
    more = 1 if options.max_tokens else _MORE_ROOM
    plans = []
    for draft, ids in zip(drafts, encoded, strict=True):
        with about(draft.subject):
            request = _request(ids, load.context_length, settings, draft, model)
        longest = min(settings["max_tokens"] * more, load.context_length - len(ids))
        if task.jsonl:  # what is printed cannot be asked for again
            request = replace(request, max_tokens=longest)
        stop = tuple(options.stop or ())
        plans.append(Plan(task, draft, model, reference, choice, load, request, longest, stop))
    return plans


def _answer_room(shape: Shape | None, settings: Mapping[str, Any]) -> int:
    """Tokens to keep free: JSON may have to be shown to the model and asked for again."""
    longest = int(settings["max_tokens"])
    return longest if shape is None else longest * _MORE_ROOM + _ASKING_AGAIN


def _encode(prompt: list[Message] | str, model: GGUF, tokenize: Tokenize) -> tuple[int, ...]:
    if isinstance(prompt, str):
        return tuple(encode_raw(prompt, model, tokenize))
    return tuple(encode(prompt, model, tokenize))


def _choose(model: GGUF, options: TaskOptions, config: Config, terminal: Terminal) -> Choice:
    choice = choose(
        options.engine or config.engine,
        model,
        gpu_layers=options.gpu_layers,
        require_gpu=options.require_gpu,
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


def _request(
    ids: tuple[int, ...],
    context: int,
    settings: Mapping[str, Any],
    draft: Draft,
    model: GGUF,
) -> Request:
    room = context - len(ids)
    if not ids:
        raise UsageError("the prompt is empty", hint="Give some text.")
    if room < 1:
        raise ContextExceeded(
            f"the prompt has {len(ids)} tokens, and {context - 1} fit into the context "
            f"of {context} with room for an answer",
            hint=f"Shorten the text, or raise -c/--context-length up to {model.context_length}."
            if context < model.context_length
            else "Shorten the text: this is the model's longest context.",
        )
    sampling = Sampling(
        temperature=settings["temperature"],
        top_k=settings["top_k"],
        top_p=settings["top_p"],
        repetition_penalty=settings["repetition_penalty"],
        seed=settings["seed"],
    )
    grammar = draft.expected.grammar if draft.expected else None
    return Request(ids, min(settings["max_tokens"], room), sampling, grammar)
