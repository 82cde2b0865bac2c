"""The options of `mistral-cli serve`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

import typer

from mistral_cli.engines.options import ModelOptions
from mistral_cli.system.options import QuietOption, VerboseOption, option

_SERVER = "Server"
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)([smh]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


def _seconds(text: str) -> float:
    duration = _DURATION.fullmatch(text)
    if not duration:
        raise typer.BadParameter(f"{text!r} is not a duration; use 90s, 30m, 2h, or 0 for never")
    return float(duration[1]) * _SECONDS[duration[2]]


@dataclass(frozen=True, kw_only=True)
class ServeOptions(ModelOptions):
    """Which model is served, and how; `idle_timeout` is in seconds, 0 for never."""

    parallel: Annotated[
        int,
        option(
            "--parallel",
            panel=_SERVER,
            min=1,
            max=64,
            metavar="N",
            help="Slots for concurrent answers, each with the whole context (default: 1).",
        ),
    ] = 1
    idle_timeout: Annotated[
        float,
        option(
            "--idle-timeout",
            panel=_SERVER,
            parser=_seconds,
            metavar="TIME",
            help="Stop after this long without work: 90s, 30m, 2h; 0 = never (default: 30m).",
        ),
    ] = "30m"  # type: ignore[assignment]
    http: Annotated[
        bool,
        option(
            "--http",
            panel=_SERVER,
            help="Also offer OpenAI's HTTP API on 127.0.0.1 (needs `mistral-cli[http]`). "
            "The API key is MISTRAL_CLI_API_KEY, or a new one.",
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
            help="Port for --http (default: a free one).",
        ),
    ] = None
    detach: Annotated[
        bool,
        option("-d", "--detach", panel=_SERVER, help="Run in the background, with a log file."),
    ] = False
    quiet: QuietOption = False
    verbose: VerboseOption = False
