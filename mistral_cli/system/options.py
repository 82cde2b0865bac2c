"""Options that several commands have, declared once."""

from __future__ import annotations

from typing import Annotated, Any

import typer

MODEL, SAMPLING, PROMPT, OUTPUT = "Model", "Sampling", "Prompt and input", "Output"
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
QuietOption = Annotated[
    bool, typer.Option("-q", "--quiet", help="Errors only on stderr.", rich_help_panel=OUTPUT)
]
VerboseOption = Annotated[
    bool,
    typer.Option("-v", "--verbose", help="Say what is decided and why.", rich_help_panel=OUTPUT),
]
OfflineOption = Annotated[
    bool,
    typer.Option(
        "--offline",
        help="Never use the network, as with HF_HUB_OFFLINE=1.",
        rich_help_panel=MODEL,
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object.", rich_help_panel=OUTPUT)
]
PathsOnlyOption = Annotated[
    bool, typer.Option("-q", "--quiet", help="Print the paths only.", rich_help_panel=OUTPUT)
]
ModelArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[MODEL]", help="As for -m (default: your default model).", show_default=False
    ),
]


def option(*names: str, panel: str, help: str, **kwargs: Any) -> Any:
    """A Typer option on a panel of the help, whose default the help text tells."""
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
        help="CPU threads (default: the cores this process may use).",
    ),
]
