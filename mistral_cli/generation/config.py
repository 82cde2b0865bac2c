"""The configuration of a run, fixed before its texts are chunked: model, engine, settings."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal

from mistral_cli.engines.protocol import LoadOptions
from mistral_cli.engines.sampling import FileSampling
from mistral_cli.engines.selection import EngineRequirements, EngineSelection, select_engine
from mistral_cli.engines.types import Sampling
from mistral_cli.errors import UsageError
from mistral_cli.generation.adapters import check_adapters, read_adapters
from mistral_cli.generation.options import OnLimit, Overflow, TaskOptions
from mistral_cli.generation.reasoning import ReasoningConfig, resolve_reasoning, server_thinks
from mistral_cli.generation.servers import (
    find_servers,
    report_unsupported,
    selection_of_servers,
    server_addresses,
)
from mistral_cli.models.context import longest_context
from mistral_cli.models.gguf import GGUF, read_gguf, reread_gguf
from mistral_cli.models.references import resolve_reference
from mistral_cli.serving.client import find_served, selection_of
from mistral_cli.system.machine import free_cores, threads_for, usable_cores

if TYPE_CHECKING:
    from mistral_cli.engines.protocol import LoraAdapter, SpeculativeConfig
    from mistral_cli.engines.servers.backend import ConnectedServers
    from mistral_cli.generation.adapters import CheckedAdapter
    from mistral_cli.generation.chunking import ChunkStrategy
    from mistral_cli.generation.prompt import Prompt, RenderedPrompt
    from mistral_cli.generation.templates import Template
    from mistral_cli.models.chat.reasoning import Reasoning
    from mistral_cli.serving.registry import ServedModel
    from mistral_cli.system.config import Config
    from mistral_cli.system.machine import CpuTimes
    from mistral_cli.system.reporter import Reporter

# The share of a context that is reserved for the answer: at most half of it if the user set the
# limit, a quarter if it is a template's, which only stops answers that would never end.
_USER_SHARE, _TEMPLATE_SHARE = 2, 4


# The article's values: lively, long answers from its model, a Mistral 7B of 2023.
_DEFAULTS: Mapping[str, Any] = {
    "max_tokens": 2048,
    "temperature": 0.9,
    "top_k": 55,
    "top_p": 0.93,
    "repetition_penalty": 1.2,
}

# For a model whose publisher proposes sampling settings. They are chosen without this penalty
# unless they name it, and current models need their repeated brackets, names and thoughts.
_NO_PENALTY: Mapping[str, Any] = {"repetition_penalty": 1.0}

Source = Literal["option", "request", "template", "config", "model", "default", "random"]


@dataclass(frozen=True)
class GenerationConfig:
    """How answers are generated: their limit in tokens, the sampler's settings, stop texts.

    `on_limit` is for JSON that reaches the limit. `sources` has where each setting comes from: an
    option, the request of a batch's row, the template's header, the configuration, the model's
    file, our default, or chance (the seed).
    """

    max_tokens: int
    sampling: Sampling
    stop: tuple[str, ...] = ()
    on_limit: OnLimit = OnLimit.FAIL
    sources: Mapping[str, Source] = field(default_factory=dict)

    @classmethod
    def resolve(
        cls,
        template: Template,
        options: TaskOptions,
        proposed: Mapping[str, float],
        on_limit: OnLimit | None = None,
        configured: OnLimit = OnLimit.FAIL,
    ) -> GenerationConfig:
        """Each setting: the option, else the template's, else the `proposed` one, else ours.

        `on_limit` is an option of the task, and `configured` what the configuration has for it.
        """
        names = "max_tokens", *(each.name for each in fields(Sampling))
        chosen = {name: getattr(options, name) for name in names}
        chosen["on_limit"] = on_limit
        in_header = {"on_limit": OnLimit(template.on_limit)} if template.on_limit else {}
        layers: list[tuple[Source, Mapping[str, Any]]] = [
            ("random", {"seed": _random_seed()}),
            ("default", {**_DEFAULTS, **(_NO_PENALTY if proposed else {})}),
            ("default", {"on_limit": OnLimit.FAIL}),
            ("model", proposed),
            ("config", {} if configured is OnLimit.FAIL else {"on_limit": configured}),
            ("template", {**template.options, **in_header}),
            ("option", {name: value for name, value in chosen.items() if value is not None}),
        ]
        settings: dict[str, Any] = {}
        sources: dict[str, Source] = dict.fromkeys(names, "default")
        for source, values in layers:
            settings |= values
            sources |= dict.fromkeys(values, source)
        max_tokens, at_limit = settings.pop("max_tokens"), settings.pop("on_limit")
        stop = tuple(options.stop or ())
        return cls(max_tokens, Sampling(**settings), stop, at_limit, sources)

    def override(self, overrides: Mapping[str, Any]) -> GenerationConfig:
        """These settings with the overrides of one prompt."""
        if not overrides:
            return self
        settings = dict(overrides)
        stop = tuple(settings.pop("stop", self.stop))
        max_tokens = settings.pop("max_tokens", self.max_tokens)
        on_limit = settings.pop("on_limit", self.on_limit)
        requested: dict[str, Source] = dict.fromkeys(overrides, "request")
        sources = {**self.sources, **requested}
        sampling = replace(self.sampling, **settings)
        return GenerationConfig(max_tokens, sampling, stop, on_limit, sources)

    def fixes(self, setting: str) -> bool:
        """Whether the user set it, with an option or in a request of a batch."""
        return self.sources.get(setting) in ("option", "request")


@dataclass(frozen=True)
class RunConfig:
    """The model, engine and settings of one run.

    `context_length` is the context that the user asked for, `longest` the longest context that
    may be opened, both in tokens. `served` is the server process that already has the model
    loaded, if this run can use one. `cache_limit` is the size limit of the prompt cache in bytes.
    `adapters` and `speculative` have been checked against the model. `reasoning` is None for a
    model that does not reason.
    """

    model: GGUF
    model_name: str
    selection: EngineSelection
    requirements: EngineRequirements
    generation: GenerationConfig
    threads: int
    adapts_threads: bool
    longest: int
    overflow: Overflow
    context_length: int | None = None
    served: ServedModel | None = None
    cache_limit: int = 0
    adapters: tuple[LoraAdapter, ...] = ()
    speculative: SpeculativeConfig | None = None
    reasoning: ReasoningConfig | None = None

    @property
    def load(self) -> LoadOptions:
        """The options that open the model with the longest context."""
        return LoadOptions(
            self.longest,
            self.threads,
            adapters=self.adapters,
            speculative=self.speculative,
            adapts_threads=self.adapts_threads,
        )

    @property
    def limited_by_user(self) -> bool:
        """Whether an option limits the answers; what a row of a batch asks for does not count."""
        return self.generation.fixes("max_tokens")

    def reserved(self, generation: GenerationConfig) -> int:
        """Tokens of the longest context that are reserved for the answer."""
        share = _USER_SHARE if self.limited_by_user else _TEMPLATE_SHARE
        answer = min(generation.max_tokens, self.longest // share)
        return answer + self.thought_room(self.longest - answer)

    def render(self, prompt: Prompt) -> RenderedPrompt:
        """`prompt` in the format of the model, which thinks or not."""
        return prompt.render(self.model, self.chat_reasoning)

    def thought_room(self, context_length: int) -> int:
        """Tokens of a context of `context_length` tokens to keep free for a thought."""
        return min(self.reasoning.room, context_length // 2) if self.reasoning else 0

    @property
    def chat_reasoning(self) -> Reasoning | None:
        """How prompts make the model reason or not."""
        return self.reasoning.prompts if self.reasoning else None


def resolve_config(
    template: Template,
    options: TaskOptions,
    config: Config,
    reporter: Reporter,
    *,
    strategy: ChunkStrategy,
    on_limit: OnLimit | None = None,
    constrained: bool = False,
    may_be_served: bool = False,
    lookup: bool = False,
    draft_model: str | None = None,
    overrides: Iterable[Mapping[str, Any]] = (),
    began: CpuTimes | None = None,
) -> RunConfig:
    """Find the model, select the engine, collect the settings. Downloads a missing model.

    `strategy` has the task's defaults, `on_limit` is an option of the task, and `constrained` says
    that a grammar limits the answers. With `may_be_served` the run may use a server process of this
    user that has the model loaded. `overrides` are the settings of single prompts, which the engine
    must have too. `began` is what the machine's CPUs had done when the call began.
    Raises every MistralCliError except those of a running engine.
    """
    dry = _uses_dry(template, options, overrides)
    if not dry:
        _warn_of_dry(options, reporter)
    thinks_by_default = strategy.default_reasoning and not constrained
    if addresses := server_addresses(options, config):
        chosen = _model_of_servers(
            addresses, template, options, config, reporter, thinks_by_default=thinks_by_default
        )
    else:
        requirements = _engine_requirements(options, config, dry=dry)
        chosen = _model_here(requirements, options, config, reporter, may_be_served=may_be_served)
    model, selection, served = chosen.model, chosen.selection, chosen.served
    reporter.info(f"engine {selection.backend.name}: {selection.reason}")
    proposed = FileSampling.of(model)
    proposed.report(reporter)
    generation = GenerationConfig.resolve(
        template, options, proposed.values, on_limit, _configured_on_limit(config)
    )
    if chosen.servers:
        report_unsupported(chosen.servers, generation, reporter)
    return RunConfig(
        model=model,
        model_name=chosen.name,
        selection=selection,
        requirements=chosen.requirements,
        generation=generation,
        threads=(options.threads or usable_cores())
        if served or chosen.servers
        else _threads(options, began, reporter),
        adapts_threads=options.threads is None and options.seed is None,
        longest=longest_context(model, options.context_length),
        overflow=options.overflow or Overflow(strategy.default_overflow),
        context_length=options.context_length,
        served=served,
        cache_limit=0 if options.no_cache else config.prompt_cache_bytes,
        adapters=check_adapters(chosen.adapters, model),
        speculative=_speculative(draft_model, model, selection, config, reporter)
        if lookup or draft_model
        else None,
        reasoning=resolve_reasoning(
            model,
            template,
            options,
            config,
            reporter,
            by_default=thinks_by_default,
            constrained=constrained,
        ),
    )


@dataclass(frozen=True)
class _ChosenModel:
    """The model of a run under the name that was asked for, and what runs it."""

    model: GGUF
    name: str
    requirements: EngineRequirements
    selection: EngineSelection
    adapters: Sequence[CheckedAdapter] = ()
    served: ServedModel | None = None
    servers: ConnectedServers | None = None


def _model_here(
    requirements: EngineRequirements,
    options: TaskOptions,
    config: Config,
    reporter: Reporter,
    *,
    may_be_served: bool,
) -> _ChosenModel:
    """The model in a file, and the engine that is to open it or has it loaded."""
    adapters = read_adapters(options.lora or (), reporter)
    name = options.model or config.model
    path = resolve_reference(name, config, reporter)
    reporter.info(f"{name} is {path}")
    served = find_served(path, options, requirements.name, reporter) if may_be_served else None
    model = reread_gguf(path) if served else read_gguf(path)
    selection = selection_of(served) if served else select_engine(requirements, model)
    return _ChosenModel(model, name, requirements, selection, adapters, served)


def _model_of_servers(
    addresses: tuple[str, ...],
    template: Template,
    options: TaskOptions,
    config: Config,
    reporter: Reporter,
    *,
    thinks_by_default: bool,
) -> _ChosenModel:
    """The model that the servers at these addresses have."""
    servers = find_servers(addresses, options, config, reporter)
    model: GGUF = servers.model
    if servers.model.packed:
        thinks = server_thinks(template, options, config, by_default=thinks_by_default)
        model = replace(servers.model, thinks=thinks)
    name = options.model or servers.model.name or servers.model.path.name
    selection = selection_of_servers(servers)
    return _ChosenModel(model, name, EngineRequirements(), selection, servers=servers)


def _configured_on_limit(config: Config) -> OnLimit:
    try:
        return OnLimit(config.on_limit)
    except ValueError:
        raise UsageError(
            f"{config.on_limit!r} is not a value of on_limit", hint="Write fail or close."
        ) from None


def _speculative(
    draft_model: str | None,
    model: GGUF,
    selection: EngineSelection,
    config: Config,
    reporter: Reporter,
) -> SpeculativeConfig:
    from mistral_cli.generation.speculative import speculative_config

    return speculative_config(draft_model, model, selection.backend, config, reporter)


def without_server(config: RunConfig, reporter: Reporter) -> RunConfig:
    """`config` for a model that this process loads itself."""
    selection = select_engine(config.requirements, config.model)
    reporter.info(f"engine {selection.backend.name}: {selection.reason}")
    return replace(config, served=None, selection=selection)


def _uses_dry(
    template: Template, options: TaskOptions, overrides: Iterable[Mapping[str, Any]]
) -> bool:
    default = template.options.get("dry_multiplier", 0)
    general = default if options.dry_multiplier is None else options.dry_multiplier
    return bool(general) or any(each.get("dry_multiplier") for each in overrides)


def _warn_of_dry(options: TaskOptions, reporter: Reporter) -> None:
    """Warn of options that only the DRY sampler uses, which is off."""
    names = ("dry_base", "dry_allowed_length", "dry_penalty_last_n")
    for name in names:
        if getattr(options, name) is not None:
            reporter.warn(
                f"--{name.replace('_', '-')} has no effect: --dry-multiplier, which is 0, turns "
                "the DRY sampler on"
            )


def _engine_requirements(options: TaskOptions, config: Config, *, dry: bool) -> EngineRequirements:
    """What the engine must offer. Raises UsageError if none does."""
    requirements = EngineRequirements(
        options.engine or config.engine,
        options.gpu_layers,
        options.require_gpu,
        adapters=bool(options.lora),
        dry=dry,
    )
    requirements.check()
    return requirements


def _threads(options: TaskOptions, began: CpuTimes | None, reporter: Reporter) -> int:
    cores = usable_cores()
    if options.threads and options.threads > cores:
        reporter.warn(
            f"{options.threads} threads on {cores} usable cores: the threads spin while they wait, "
            "which makes the engines many times slower"
        )
    if options.threads:
        return options.threads
    if options.seed is not None:  # long prompts are rounded in another way by other threads
        reporter.info(f"{cores} threads: the cores that may be used, because of --seed")
        return cores
    free = free_cores(began)
    threads = threads_for(free)
    count = "1 thread" if threads == 1 else f"{threads} threads"
    reporter.info(f"{count}: {free:.1f} of {cores} cores are free")
    return threads


def _random_seed() -> int:
    return int.from_bytes(os.urandom(4), "little") % 2**31
