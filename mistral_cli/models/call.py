"""The first steps of every call with a model: verbosity, offline mode, configuration, the file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mistral_cli.system.config import Config, load_config
from mistral_cli.system.encodings import check_encoding, decode_argument
from mistral_cli.system.machine import CpuTimes

if TYPE_CHECKING:
    from mistral_cli.models.gguf import GGUF
    from mistral_cli.system.terminal import Terminal


@dataclass(frozen=True)
class CallContext:
    """The configuration that applies to a call, and the terminal that it runs on.

    `encoding` is that of its input files, or AUTO. `began` tells later how busy the machine was.
    """

    config: Config
    terminal: Terminal
    encoding: str
    began: CpuTimes | None = None

    def argument(self, word: str, name: str) -> str:
        """Return a text on the command line, decoded. Raises UsageError."""
        return decode_argument(word, name, self.encoding).reported(self.terminal)

    def model_name(self, given: str | None) -> str:
        """Return the model reference `given` on the command line, or the default model."""
        return given or self.config.model

    def read_model(self, given: str | None) -> GGUF:
        """Return the header of the model; downloads the file unless it is on this machine.

        Raises every error of `resolve_reference` and `read_gguf`.
        """
        from mistral_cli.models.gguf import read_gguf
        from mistral_cli.models.references import resolve_reference

        return read_gguf(resolve_reference(self.model_name(given), self.config, self.terminal))


def prepare_call(
    terminal: Terminal,
    *,
    quiet: bool = False,
    verbose: bool = False,
    offline: bool = False,
    encoding: str | None = None,
) -> CallContext:
    """Apply the options that every call has, and load the configuration. Raises UsageError."""
    began = CpuTimes.now()
    terminal.quiet, terminal.verbose = quiet, verbose
    if offline:
        from mistral_cli.models.hub.api import go_offline

        go_offline()
    config = load_config(terminal.env)
    return CallContext(config, terminal, check_encoding(encoding or config.encoding), began)
