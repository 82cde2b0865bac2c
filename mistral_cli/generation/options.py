"""The options of every task, and those of one-off calls."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from mistral_cli.engines.options import ModelOptions
from mistral_cli.engines.sampling import SETTINGS
from mistral_cli.system.options import (
    MODEL,
    OUTPUT,
    PROMPT,
    REASONING,
    REPETITION,
    SAMPLING,
    EncodingOption,
    JsonOption,
    QuietOption,
    ServerOption,
    VerboseOption,
    option,
)

if TYPE_CHECKING:
    from mistral_cli.models.call import CallContext
    from mistral_cli.system.terminal import Terminal


class Overflow(StrEnum):
    """The policy for a text that does not fit the context."""

    ERROR = "error"
    HEAD = "head"
    TAIL = "tail"
    SPLIT = "split"


class OnLimit(StrEnum):
    """What happens to a JSON answer that reaches its limit of tokens."""

    FAIL = "fail"
    CLOSE = "close"


class ReasoningMode(StrEnum):
    """Whether a model that reasons thinks before it answers."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


class ReasoningEffort(StrEnum):
    """How much a model thinks, where its chat template has a setting for that."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


def _sampling(name: str, metavar: str, help: str, panel: str = SAMPLING) -> Any:
    """An option with the range of the setting that it is named after."""
    setting = SETTINGS[name.removeprefix("--").replace("-", "_")]
    lowest, highest = setting.kind(setting.lowest), setting.kind(setting.highest)
    return option(name, panel=panel, min=lowest, max=highest, metavar=metavar, help=help)


_penalty = partial(_sampling, panel=REPETITION)


@dataclass(frozen=True, kw_only=True)
class TaskOptions(ModelOptions):
    """Options of every task; None leaves a setting to the template or the model."""

    TEXTS: ClassVar[tuple[str, ...]] = ("system", "stop", "param")
    """The options that are texts, and no paths."""

    server: ServerOption = None

    max_tokens: Annotated[
        int | None,
        option(
            "-n",
            "--max-tokens",
            panel=SAMPLING,
            min=1,
            metavar="N",
            help="Maximum number of tokens in an answer.",
        ),
    ] = None
    temperature: Annotated[
        float | None,
        _sampling(
            "--temperature",
            "T",
            "Sampling temperature; 0 is greedy (default, as for the other settings: from the "
            "template, else from the model).",
        ),
    ] = None
    top_k: Annotated[
        int | None, _sampling("--top-k", "K", "Sample from the K likeliest tokens; 0 is off.")
    ] = None
    top_p: Annotated[
        float | None,
        _sampling(
            "--top-p",
            "P",
            "Sample from the likeliest tokens with total probability P; 1 is off.",
        ),
    ] = None
    min_p: Annotated[
        float | None,
        _sampling(
            "--min-p", "P", "Sample from tokens at least P times as likely as the first; 0 is off."
        ),
    ] = None
    seed: Annotated[
        int | None,
        option(
            "--seed",
            panel=SAMPLING,
            min=0,
            max=2**31 - 1,
            metavar="N",
            help="The same seed gives the same text (default: a random seed).",
        ),
    ] = None
    stop: Annotated[
        list[str] | None,
        option("--stop", panel=SAMPLING, metavar="TEXT", help="Stop before TEXT (repeatable)."),
    ] = None
    repetition_penalty: Annotated[
        float | None,
        _penalty("--repetition-penalty", "R", "Penalty for the last tokens; 1 is off."),
    ] = None
    repeat_last_n: Annotated[
        int | None,
        _penalty(
            "--repeat-last-n",
            "N",
            "How many of the last tokens these penalties consider; 0 is off (default: 64).",
        ),
    ] = None
    presence_penalty: Annotated[
        float | None,
        _penalty("--presence-penalty", "X", "Subtract X from the logits of the last tokens."),
    ] = None
    frequency_penalty: Annotated[
        float | None,
        _penalty("--frequency-penalty", "X", "Subtract X for each time that a token occurs there."),
    ] = None
    dry_multiplier: Annotated[
        float | None,
        _penalty(
            "--dry-multiplier",
            "X",
            "DRY: penalize what would continue a repeated sequence; 0 is off, 0.8 is usual.",
        ),
    ] = None
    dry_base: Annotated[
        float | None,
        _penalty("--dry-base", "X", "DRY: growth for each repeated token (default: 1.75)."),
    ] = None
    dry_allowed_length: Annotated[
        int | None,
        _penalty("--dry-allowed-length", "N", "DRY: repeated tokens without penalty (default: 2)."),
    ] = None
    dry_penalty_last_n: Annotated[
        int | None,
        _penalty(
            "--dry-penalty-last-n",
            "N",
            "DRY: how many of the last tokens it considers; 0 is off (default: 64).",
        ),
    ] = None
    reasoning: Annotated[
        ReasoningMode | None,
        option(
            "--reasoning",
            panel=REASONING,
            help="Whether a model that reasons thinks before it answers (default: auto, which is "
            "on for generate and off for other tasks).",
        ),
    ] = None
    reasoning_effort: Annotated[
        ReasoningEffort | None,
        option(
            "--reasoning-effort",
            panel=REASONING,
            help="How much it thinks, if its chat template has a setting for that.",
        ),
    ] = None
    reasoning_budget: Annotated[
        int | None,
        option(
            "--reasoning-budget",
            panel=REASONING,
            min=0,
            metavar="N",
            help="End the thought after N tokens, and let the model answer; 0 is off.",
        ),
    ] = None
    show_reasoning: Annotated[
        bool,
        option(
            "--show-reasoning",
            panel=REASONING,
            help="Write the thought to stderr, and to the JSON output.",
        ),
    ] = False
    system: Annotated[
        str | None,
        option(
            "-s",
            "--system",
            panel=PROMPT,
            parser=str,  # an empty one is none
            metavar="TEXT",
            help="System prompt.",
        ),
    ] = None
    template: Annotated[
        str | None,
        option(
            "--template", panel=PROMPT, metavar="FILE|NAME", help="Use another prompt template."
        ),
    ] = None
    param: Annotated[
        list[str] | None,
        option(
            "-p",
            "--param",
            panel=PROMPT,
            metavar="KEY=VALUE",
            help="Set a template parameter (repeatable).",
        ),
    ] = None
    encoding: EncodingOption = None
    no_cache: Annotated[
        bool,
        option(
            "--no-cache",
            panel=MODEL,
            help="Neither use nor update the prompt cache on disk.",
        ),
    ] = False
    raw: Annotated[
        bool,
        option(
            "--raw", panel=PROMPT, help="Send the text unchanged, without template or chat format."
        ),
    ] = False
    overflow: Annotated[
        Overflow | None,
        option(
            "--overflow",
            panel=PROMPT,
            help="What to do with a text that does not fit the context: refuse it, keep its head "
            "or tail, or split it (default: split for summarize, translate and classify, tail for "
            "complete, else error).",
        ),
    ] = None
    dry_run: Annotated[
        bool,
        option("--dry-run", panel=OUTPUT, help="Print the exact prompt without running the model."),
    ] = False
    quiet: QuietOption = False
    verbose: VerboseOption = False

    def call(self, terminal: Terminal) -> CallContext:
        """Apply the options that every call has, and load the configuration. Raises UsageError."""
        from mistral_cli.models.call import prepare_call

        return prepare_call(
            terminal,
            quiet=self.quiet,
            verbose=self.verbose,
            offline=self.offline,
            encoding=self.encoding,
        )

    def decoded(self, call: CallContext) -> Self:
        """These options with texts that are decoded as the inputs are. Raises UsageError."""
        changes: dict[str, Any] = {}
        for name in self.TEXTS:
            value = getattr(self, name)
            if isinstance(value, str):
                changes[name] = call.argument(value, f"--{name}")
            elif value is not None:
                changes[name] = [call.argument(each, f"--{name}") for each in value]
        return replace(self, **changes)


@dataclass(frozen=True, kw_only=True)
class OneOffOptions(TaskOptions):
    """Options of one-off calls, which a batch does not have."""

    no_serve: Annotated[
        bool,
        option(
            "--no-serve",
            panel=MODEL,
            help="Load the model even if `mistral-cli serve` already has it loaded.",
        ),
    ] = False
    lookup: Annotated[
        bool,
        option(
            "--lookup",
            panel=MODEL,
            help="Prompt-lookup (speculative) decoding: faster when the answer copies the text. "
            "Between two nearly equally likely tokens it may choose the other.",
        ),
    ] = False
    draft_model: Annotated[
        str | None,
        option(
            "--draft-model",
            panel=MODEL,
            metavar="MODEL",
            help="Speculative decoding with a small model that has the same vocabulary.",
        ),
    ] = None
    file: Annotated[
        list[Path] | None,
        option(
            "-f",
            "--file",
            panel=PROMPT,
            metavar="FILE",
            allow_dash=True,
            help="Read text from FILE; - is stdin (repeatable).",
        ),
    ] = None
    json: JsonOption = False
    width: Annotated[
        int | None,
        option(
            "--width",
            panel=OUTPUT,
            min=0,
            metavar="COLUMNS",
            help="Wrap at COLUMNS on a terminal (default: its width, at most 120; 0 is off).",
        ),
    ] = None
