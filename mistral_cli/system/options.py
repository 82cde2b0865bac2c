"""The options that several commands share."""

from __future__ import annotations

from typing import Annotated, Any

import typer

MODEL, SAMPLING, REPETITION = "Model", "Sampling", "Repetition"
REASONING, PROMPT, OUTPUT = "Reasoning", "Prompt and input", "Output"
"""The panels of the help."""

ModelOption = Annotated[
    str | None,
    typer.Option(
        "-m",
        "--model",
        metavar="MODEL",
        help="Alias, .gguf path, owner/repo/file.gguf or owner/repo[:QUANT].",
        rich_help_panel=MODEL,
        show_default=False,
    ),
]
ServerOption = Annotated[
    list[str] | None,
    typer.Option(
        "--server",
        metavar="URL",
        help="Let a server that speaks OpenAI's API answer (repeatable; none: ignore those of the "
        "configuration).",
        rich_help_panel=MODEL,
        show_default=False,
    ),
]
QuietOption = Annotated[
    bool, typer.Option("-q", "--quiet", help="Print only errors to stderr.", rich_help_panel=OUTPUT)
]
VerboseOption = Annotated[
    bool,
    typer.Option("-v", "--verbose", help="Explain decisions on stderr.", rich_help_panel=OUTPUT),
]
OfflineOption = Annotated[
    bool,
    typer.Option(
        "--offline",
        help="Do not use the network (like HF_HUB_OFFLINE=1).",
        rich_help_panel=MODEL,
    ),
]
JsonOption = Annotated[
    bool,
    typer.Option("--json", help="Print the result as one JSON object.", rich_help_panel=OUTPUT),
]
PathsOnlyOption = Annotated[
    bool, typer.Option("-q", "--quiet", help="Print only the paths.", rich_help_panel=OUTPUT)
]
ModelArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[MODEL]", help="As for -m (default: the configured model).", show_default=False
    ),
]


def option(*names: str, panel: str, help: str, **kwargs: Any) -> Any:
    """Return a Typer option in a panel of the help; its help text mentions the default."""
    return typer.Option(*names, rich_help_panel=panel, help=help, show_default=False, **kwargs)


ThreadsOption = Annotated[
    int | None,
    option(
        "-t",
        "--threads",
        panel=MODEL,
        min=1,
        max=512,
        metavar="N",
        help="CPU threads (default: the cores that this process may use and that are free).",
    ),
]
EncodingOption = Annotated[
    str | None,
    option(
        "--encoding",
        panel=PROMPT,
        metavar="NAME|auto",
        help="Encoding of the input files, such as cp1252 (default: auto, which reads UTF-8 and "
        "else guesses, with a warning).",
    ),
]
