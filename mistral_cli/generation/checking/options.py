"""The options that say which checks of an answer apply and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

from mistral_cli.errors import UsageError
from mistral_cli.system.options import option

if TYPE_CHECKING:
    from mistral_cli.generation.templates import Template
    from mistral_cli.system.config import Config

_PANEL = "Checks"


class FactsMode(StrEnum):
    """What follows if the answer has facts that are not in the text."""

    REPORT = "report"
    RETRY = "retry"
    STRICT = "strict"
    OFF = "off"


FactsOption = Annotated[
    FactsMode | None,
    option(
        "--facts",
        panel=_PANEL,
        help="What to do if a number, date, name or unit of the answer is not in the text: report "
        "it after the answer (default), retry once, be strict (retry, then fail with exit code 7), "
        "or turn the checks off.",
    ),
]
StrictOption = Annotated[
    bool,
    option(
        "--strict",
        panel=_PANEL,
        help="Fail with exit code 7, and print nothing, if the answer still breaks a constraint "
        "or has a flaw after one retry. Facts have --facts strict.",
    ),
]
PreambleOption = Annotated[
    bool | None,
    option(
        "--preamble/--no-preamble",
        panel=_PANEL,
        help='Keep a first line such as "Sure, here is the summary:", or remove it (default).',
    ),
]


@dataclass(frozen=True)
class CheckOptions:
    """How the answers of a task are checked; None leaves a setting to the template, then the rest.

    `default_facts` is FactsMode.OFF for a task whose answer need not stand in the text.
    """

    facts: FactsMode | None = None
    strict: bool = False
    preamble: bool | None = None
    default_facts: FactsMode = FactsMode.OFF

    @property
    def facts_mode(self) -> FactsMode:
        """The mode that applies."""
        return self.default_facts if self.facts is None else self.facts

    @property
    def keeps_preamble(self) -> bool:
        """Whether a preamble stays in the answer."""
        return bool(self.preamble)

    @property
    def identity(self) -> dict[str, Any]:
        """The settings that can change an answer; empty for the defaults, as in earlier versions.

        A report changes no answer.
        """
        changes = {
            "facts": self.facts_mode in (FactsMode.RETRY, FactsMode.STRICT) and self.facts_mode,
            "strict": self.strict,
            "preamble": self.keeps_preamble,
        }
        return {name: value for name, value in changes.items() if value}

    def check_raw(self) -> None:
        """Refuse options that a `--raw` prompt cannot follow. Raises UsageError."""
        options = {
            "--strict": self.strict,
            "--facts": self.facts not in (None, FactsMode.OFF),
            "--no-preamble": self.preamble is False,
        }
        if wrong := next((name for name, is_set in options.items() if is_set), None):
            raise UsageError(
                f"{wrong} and --raw cannot be combined",
                hint="Drop one of them: the answer to a raw prompt is neither checked nor changed.",
            )

    def resolve(self, template: Template, config: Config) -> CheckOptions:
        """These options; what they leave open comes from the template, else the configuration.

        Raises UsageError for a value of the configuration that is not one.
        """
        facts, preamble = self.facts, self.preamble
        if facts is None and self.default_facts is not FactsMode.OFF:
            facts = _facts_mode(template.facts or config.facts)
        if preamble is None:
            preamble = _is_on(template.preamble or config.preamble)
        return replace(self, facts=facts, preamble=preamble)


def _facts_mode(value: str) -> FactsMode:
    try:
        return FactsMode(value)
    except ValueError:
        raise UsageError(
            f"facts cannot be {value!r} in the configuration",
            hint=f"Write one of: {', '.join(FactsMode)}.",
        ) from None


def _is_on(value: str) -> bool:
    if value not in ("on", "off"):
        raise UsageError(
            f"preamble cannot be {value!r} in the configuration", hint="Write on or off."
        )
    return value == "on"
