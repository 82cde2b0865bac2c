"""What is settled before any text is looked at: model, engine, adapters, settings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mistral_cli.engines.protocol import LoadOptions, LoraAdapter
from mistral_cli.engines.selection import EngineRequirements, EngineSelection, select_engine
from mistral_cli.generation.adapters import fitting, read_adapters
from mistral_cli.generation.options import Overflow, TaskOptions
from mistral_cli.generation.speculative import guessing
from mistral_cli.models.context import longest_context
from mistral_cli.models.gguf import GGUF, read_gguf, reread_gguf
from mistral_cli.models.references import resolve_reference
from mistral_cli.serving.client import find, selection_of
from mistral_cli.system.machine import usable_cores

if TYPE_CHECKING:
    from mistral_cli.engines.protocol import SpeculativeConfig
    from mistral_cli.generation.task import Task
    from mistral_cli.generation.templates import Template
    from mistral_cli.serving.registry import Served
    from mistral_cli.system.config import Config
    from mistral_cli.system.reporter import Reporter

# What `generate` uses, for templates that say nothing.
_DEFAULTS: Mapping[str, Any] = {
    "max_tokens": 2048,
    "temperature": 0.9,
    "top_k": 55,
    "top_p": 0.93,
    "repetition_penalty": 1.2,
}

# The shares of a context that are kept for the answer: at most, where the user says how long
# it may be, and where a template's limit is only there to end what does not end by itself.
_SHARE_GIVEN, _SHARE = 2, 4


@dataclass(frozen=True)
class RunConfig:
    """What is settled before any text is looked at.

    `settings` are the sampling options, seed included; `longest` is the longest context that
    may be opened, in tokens. `wanted` is what is asked of the engine. `served` is the process
    that has the model loaded, if one does that can be used.
    The prompt cache may have `cache_limit` bytes.
    `adapters` fit the model, and so does what guesses for it.
    """

    model: GGUF
    model_name: str
    selection: EngineSelection
    settings: Mapping[str, Any]
    stop: tuple[str, ...]
    threads: int
    longest: int
    overflow: Overflow
    options: TaskOptions
    wanted: EngineRequirements
    served: Served | None = None
    cache_limit: int = 0
    adapters: tuple[LoraAdapter, ...] = ()
    guessing: SpeculativeConfig | None = None

    @property
    def load(self) -> LoadOptions:
        """How to open the model with the longest context."""
        return LoadOptions(
            self.longest, self.threads, adapters=self.adapters, speculative=self.guessing
        )

    def reserved(self, settings: Mapping[str, Any]) -> int:
        """Tokens of the longest context that a text may not take from the answer."""
        given = self.options.max_tokens is not None
        return min(int(settings["max_tokens"]), self.longest // (_SHARE_GIVEN if given else _SHARE))


def resolve_config(
    task: Task,
    template: Template,
    options: TaskOptions,
    config: Config,
    reporter: Reporter,
    *,
    may_be_served: bool = False,
    lookup: bool = False,
    draft_model: str | None = None,
) -> RunConfig:
    """Find the model, choose the engine, collect the settings. Downloads what is missing.

    With `may_be_served` a process of this user that has it loaded is looked for. Raises
    every MistralCliError but those of a running engine.
    """
    wanted = EngineRequirements(
        options.engine or config.engine,
        options.gpu_layers,
        options.require_gpu,
        adapters=bool(options.lora),
    )
    wanted.check()
    adapters = read_adapters(options.lora or (), reporter)
    reference = options.model or config.model
    path = resolve_reference(reference, config, reporter)
    reporter.info(f"{reference} is {path}")
    served = find(path, options, wanted.name, reporter) if may_be_served else None
    model = reread_gguf(path) if served else read_gguf(path)
    selection = selection_of(served) if served else choose_engine(model, wanted, reporter)
    if served:
        reporter.info(f"engine {selection.backend.name}: {selection.reason}")
    default = Overflow.ERROR if task.way == "answer" else Overflow.SPLIT
    return RunConfig(
        model=model,
        model_name=reference,
        selection=selection,
        settings=_settings(template, options),
        stop=tuple(options.stop or ()),
        threads=_threads(options, reporter),
        longest=longest_context(model, options.context_length),
        overflow=options.overflow or default,
        options=options,
        cache_limit=0 if options.no_cache else config.prompt_cache_bytes,
        adapters=fitting(adapters, model),
        wanted=wanted,
        served=served,
        guessing=guessing(lookup, draft_model, model, selection.backend, config, reporter),
    )


def choose_engine(model: GGUF, wanted: EngineRequirements, reporter: Reporter) -> EngineSelection:
    """The engine for `model`; with -v it is said which, and why."""
    selection = select_engine(wanted, model)
    reporter.info(f"engine {selection.backend.name}: {selection.reason}")
    return selection


def _threads(options: TaskOptions, reporter: Reporter) -> int:
    cores = usable_cores()
    if options.threads and options.threads > cores:
        reporter.warn(
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
        "seed": _any_seed() if options.seed is None else options.seed,
    }


def _any_seed() -> int:
    return int.from_bytes(os.urandom(4), "little") % 2**31
