"""The sampling settings: what values each may have, and those that a model's file proposes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mistral_cli.models.gguf import GGUF
    from mistral_cli.system.reporter import Reporter

_MOST = 2**31 - 1
_LONGEST_WINDOW = 2**20  # llama.cpp reserves 4 bytes for each token of a window, for each request


@dataclass(frozen=True)
class SamplingSetting:
    """What values a setting may have: of the type `kind`, from `lowest` to `highest`.

    `file_key` is its name in a model's file, after `general.sampling.`, if it has one.
    """

    kind: type[int] | type[float]
    lowest: float
    highest: float
    file_key: str = ""

    def allows(self, value: object) -> bool:
        """Whether the setting may have `value`; a whole number is a real one too."""
        types = (int,) if self.kind is int else (int, float)
        return type(value) in types and self.lowest <= value <= self.highest  # type: ignore[operator]

    def __str__(self) -> str:
        if self.highest == math.inf:
            return f"a whole number of at least {self.lowest:.0f}"
        if self.kind is int:
            return f"a whole number from {self.lowest:.0f} to {self.highest:.0f}"
        return f"a number from {self.lowest:g} to {self.highest:g}"


SETTINGS: Mapping[str, SamplingSetting] = {
    "temperature": SamplingSetting(float, 0.0, 100.0, "temp"),
    "top_k": SamplingSetting(int, 0, _MOST, "top_k"),
    "top_p": SamplingSetting(float, 0.0, 1.0, "top_p"),
    "min_p": SamplingSetting(float, 0.0, 1.0, "min_p"),
    "repetition_penalty": SamplingSetting(float, 0.01, 100.0, "penalty_repeat"),
    "repeat_last_n": SamplingSetting(int, 0, _LONGEST_WINDOW, "penalty_last_n"),
    "presence_penalty": SamplingSetting(float, -2.0, 2.0),  # OpenAI's limits
    "frequency_penalty": SamplingSetting(float, -2.0, 2.0),
    "dry_multiplier": SamplingSetting(float, 0.0, 100.0),
    "dry_base": SamplingSetting(float, 1.0, 100.0),  # with less, llama.cpp takes its default
    "dry_allowed_length": SamplingSetting(int, 1, _LONGEST_WINDOW),
    "dry_penalty_last_n": SamplingSetting(int, 0, _LONGEST_WINDOW),
}
"""The settings by their names in `Sampling`, in templates, in requests and as options."""


@dataclass(frozen=True)
class FileSampling:
    """What the publisher of the model in `file` proposes in `general.sampling.*`.

    `values` are by our names. `invalid` has a message for each value that cannot be used, and
    `unused` the keys of samplers that this program does not have, such as mirostat.
    """

    file: str
    values: Mapping[str, float] = field(default_factory=dict)
    invalid: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()

    @classmethod
    def of(cls, model: GGUF) -> FileSampling:
        """The proposals in the file of `model`, each checked: files are downloaded."""
        # Not above: the options of the tasks come from SETTINGS, and `--help` needs no GGUF reader.
        from mistral_cli.models.gguf.types import SAMPLING_PREFIX

        names = {each.file_key: name for name, each in SETTINGS.items() if each.file_key}
        values, invalid, unused = dict[str, float](), list[str](), list[str]()
        for key, value in model.metadata.items():
            if not key.startswith(SAMPLING_PREFIX):
                continue
            name = names.get(key.removeprefix(SAMPLING_PREFIX))
            if name is None:
                unused.append(key)
            elif SETTINGS[name].allows(value):
                assert isinstance(value, int | float)
                values[name] = _as_written(value)
            else:
                shown = repr(value)[:40] if isinstance(value, str | int | float) else "a list"
                invalid.append(f"{key!r} is {shown}, not {SETTINGS[name]}")
        return cls(model.path.name, values, tuple(invalid), tuple(unused))

    def report(self, reporter: Reporter) -> None:
        """Warn of the invalid values, and name the unused ones with -v."""
        for problem in self.invalid:
            reporter.warn(f"{self.file}: this sampling default is ignored: {problem}")
        if self.unused:
            keys = ", ".join(self.unused)
            reporter.info(f"{self.file}: these sampling defaults are not supported: {keys}")


def _as_written(value: float) -> float:
    """The number that was stored in 32 bits: 0.95, not 0.949999988079071."""
    if isinstance(value, int) or not math.isfinite(value):
        return value
    return float(f"{value:.7g}")
