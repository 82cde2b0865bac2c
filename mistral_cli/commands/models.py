"""`mistral-cli models`: what is here, what can be had, and what a file is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mistral_cli.options import JsonOption, OfflineOption, QuietOption
from mistral_cli.terminal import Terminal

Reference = Annotated[
    str | None,
    typer.Argument(
        metavar="[MODEL]", help="As for -m (default: your default model).", show_default=False
    ),
]

group = typer.Typer(no_args_is_help=True, help="List, fetch and inspect models.")


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.add_typer(group, name="models")


@group.command("list")
def list_models(context: typer.Context, json: JsonOption = False) -> None:
    """List the aliases and the GGUF files in the shared hub cache."""
    from mistral_cli.config import load
    from mistral_cli.models.hub import format_size
    from mistral_cli.models.references import available
    from mistral_cli.output.tables import print_table

    rows = [
        {
            "name": entry.name,
            "source": entry.source,
            "path": str(entry.path) if entry.path else None,
            "size": entry.path.stat().st_size if entry.path else None,
        }
        for entry in available(load(context.obj.env))
    ]
    titles = {"name": "model", "size": "on this machine", "source": "from"}
    print_table(context.obj, "models", rows, titles, as_json=json, show={"size": format_size})


@group.command()
def pull(
    context: typer.Context,
    models: Annotated[list[str] | None, typer.Argument(metavar="[MODEL]...")] = None,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Download models, check the files, and print their paths."""
    from mistral_cli.config import load
    from mistral_cli.gguf import read
    from mistral_cli.models.hub import go_offline
    from mistral_cli.models.references import parse
    from mistral_cli.output.stdout import write

    terminal: Terminal = context.obj
    terminal.quiet = quiet
    if offline:
        go_offline()
    config = load(terminal.env)
    for reference in models or [config.model]:
        path = parse(reference, config).fetch(terminal)
        read(path)
        write(terminal, f"{path}\n")


@group.command()
def path(context: typer.Context, model: Reference = None) -> None:
    """Print where a model's file is; fail if it is not on this machine."""
    from mistral_cli.output.stdout import write

    write(context.obj, f"{_local(model, context.obj)[1]}\n")


@group.command()
def show(
    context: typer.Context,
    model: Reference = None,
    json: JsonOption = False,
) -> None:
    """Print what a model on this machine is, and which engines can run it."""
    from mistral_cli.gguf import read
    from mistral_cli.output.tables import print_facts

    reference, path = _local(model, context.obj)
    print_facts(context.obj, {"model": reference, **_facts(read(path))}, as_json=json)


def _local(model: str | None, terminal: Terminal) -> tuple[str, Path]:
    """The reference, or the default one, and its file. Nothing is downloaded unasked."""
    from mistral_cli.config import load
    from mistral_cli.errors import ModelNotAvailable
    from mistral_cli.models.references import parse

    config = load(terminal.env)
    reference = model or config.model
    if path := parse(reference, config).locate():
        return reference, path
    raise ModelNotAvailable(
        f"{reference} is not on this machine", hint=f"Fetch it: mistral-cli models pull {reference}"
    )


def _facts(model: Any) -> dict[str, Any]:
    from mistral_cli.engines import verdicts
    from mistral_cli.instruct.formats import chat_format

    return {
        "path": str(model.path),
        "name": model.name,
        "architecture": model.architecture,
        "parameters": model.parameters,
        "quantization": model.quantization,
        "size": model.file_size,
        "context_length": model.context_length,
        "layers": model.block_count,
        "vocabulary": len(model.tokens),
        "tokenizer": model.tokenizer_model,
        "chat_format": chat_format(model) or "none",
        "gguf_version": model.version,
        "engines": verdicts(model),
    }
