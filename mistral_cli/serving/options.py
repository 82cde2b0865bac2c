"""What `mistral-cli serve` can be told."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

import typer

from mistral_cli.engines.options import ModelOptions
from mistral_cli.system.options import QuietOption, VerboseOption, option

_SERVER = "Server"
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smh]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


def _seconds(text: str) -> float:
    found = _DURATION.fullmatch(text)
    if not found:
        raise typer.BadParameter(f"{text!r} is no time; use 90s, 30m, 2h, or 0 for never")
    return float(found[1]) * _SECONDS[found[2]]


@dataclass(frozen=True, kw_only=True)
class ServeOptions(ModelOptions):
    """How a model is served; `idle_timeout` is in seconds, 0 for never."""

    parallel: Annotated[
        int,
        option(
            "--parallel",
            panel=_SERVER,
            min=1,
            max=64,
            metavar="N",
            help="Answers at once; each has the whole context to itself (default 1).",
        ),
    ] = 1
    idle_timeout: Annotated[
        float,
        option(
            "--idle-timeout",
            panel=_SERVER,
            parser=_seconds,
            metavar="TIME",
            help="End after so long without work: 90s, 30m, 2h; 0 is never (default 30m).",
        ),
    ] = "30m"  # type: ignore[assignment]
    http: Annotated[
        bool,
        option(
            "--http",
            panel=_SERVER,
            help="Answer OpenAI's HTTP API too, on 127.0.0.1, with an API key "
            "(MISTRAL_CLI_API_KEY, else a new one).",
        ),
    ] = False
    port: Annotated[
        int | None,
        option(
            "--port",
            panel=_SERVER,
            min=1,
            max=65535,
            metavar="PORT",
            help="The port for --http (default: any that is free).",
        ),
    ] = None
    detach: Annotated[
        bool,
        option("-d", "--detach", panel=_SERVER, help="Serve in the background, with a log file."),
    ] = False
    quiet: QuietOption = False
    verbose: VerboseOption = False
