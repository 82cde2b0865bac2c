"""Everything that is decided before the weights are read: model, engine, tokens, limits."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mistral_cli.config import Config
from mistral_cli.context import context_length
from mistral_cli.engines import (
    Choice,
    LoadOptions,
    Request,
    Sampling,
    check_names,
    choose,
    open_tokenizer,
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
from mistral_cli.structured import Schema, grammar
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


@dataclass(frozen=True)
class Task:
    """What a command asks for. `values` are for the template; `schema` is the answer's.

    The schema of the template comes next, and `fallback_schema` last.
    """

    name: str
    values: Mapping[str, Any] = field(default_factory=dict)
    schema: Schema | None = None
    fallback_schema: Schema | None = None


@dataclass(frozen=True)
class Plan:
    """One request, ready to run, with what a dry run shows of it.

    `source` is where its text is from; `subject` names it among several, else is empty.
    """

    task: Task
    source: str
    subject: str
    model: GGUF
    model_name: str
    choice: Choice
    load: LoadOptions
    request: Request
    stop: tuple[str, ...]

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt, BOS included."""
        return len(self.request.prompt_token_ids)

    @property
    def prompt(self) -> str:
        """The exact prompt, control tokens written out."""
        return detokenize(self.model, self.request.prompt_token_ids)


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
    prompts = [_prompt(template, task, inputs.instruction, t.text, options) for t in inputs.texts]
    check_names(options.engine or config.engine, options.gpu_layers)
    reference = options.model or config.model
    model = read_gguf(resolve(reference, config, terminal))
    terminal.info(f"{reference} is {model.path}")
    choice = _choose(model, options, config, terminal)
    with open_tokenizer(choice.engine, model) as tokenizer:
        encoded = [_encode(prompt, model, tokenizer.tokenize) for prompt in prompts]
    settings = _settings(template, options)
    needed = max(map(len, encoded)) + settings["max_tokens"]
    load = LoadOptions(
        context_length(model, options.context_length, needed, terminal),
        _threads(options, terminal),
        choice.gpu_layers,
    )
    stop = tuple(options.stop or ())
    plans = []
    for text, subject, ids in zip(inputs.texts, _subjects(inputs), encoded, strict=True):
        with about(subject):
            request = _request(ids, load.context_length, settings, task.schema, model)
        plans.append(
            Plan(task, text.source, subject, model, reference, choice, load, request, stop)
        )
    return plans


def _choose(model: GGUF, options: TaskOptions, config: Config, terminal: Terminal) -> Choice:
    choice = choose(
        options.engine or config.engine,
        model,
        gpu_layers=options.gpu_layers,
        require_gpu=options.require_gpu,
    )
    terminal.info(f"engine {choice.engine.name}: {choice.reason}")
    if choice.warning:
        terminal.warn(choice.warning)
    return choice


def _threads(options: TaskOptions, terminal: Terminal) -> int:
    cores = usable_cores()
    if options.threads and options.threads > cores:
        terminal.warn(
            f"{options.threads} threads on {cores} usable cores: they spin, which makes the "
            "engines many times slower"
        )
    return options.threads or cores


def _subjects(inputs: Inputs) -> list[str]:
    """What to call each text in an error, where there are several."""
    count = len(inputs.texts)
    if count == 1:
        return [""]
    return [f"{t.source} (text {i} of {count})" for i, t in enumerate(inputs.texts, start=1)]


def _prompt(
    template: Template, task: Task, instruction: str | None, text: str, options: TaskOptions
) -> list[Message] | str:
    """The messages, or with `--raw` the bare text."""
    if options.raw:
        asked = set(task.values) - {"fields"}  # those hold the answer all the same
        if options.system is not None or options.template or options.param or asked:
            raise UsageError(
                "--raw sends the text as it is, so nothing else can be said about it",
                hint="Drop --raw, or write what the other options say into the text.",
            )
        return f"{instruction}\n\n{text}" if instruction else text
    params = _parse_params(options.param or ())
    messages = template.fill(text, instruction, params=params, task_values=task.values)
    if options.system is None:
        return messages
    own = [Message("system", options.system)] if options.system else []
    return own + [message for message in messages if message.role != "system"]


def _parse_params(params: Sequence[str]) -> dict[str, str]:
    pairs = [param.partition("=") for param in params]
    for name, equals, _ in pairs:
        if not name or not equals:
            raise UsageError(f"-p {name!r} has no value", hint="Write -p NAME=VALUE.")
    return {name: value for name, _, value in pairs}


def _encode(prompt: list[Message] | str, model: GGUF, tokenize: Tokenize) -> tuple[int, ...]:
    if isinstance(prompt, str):
        return tuple(encode_raw(prompt, model, tokenize))
    return tuple(encode(prompt, model, tokenize))


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
    schema: Schema | None,
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
    constraint = None if schema is None else grammar(schema)
    return Request(ids, min(settings["max_tokens"], room), sampling, constraint)
