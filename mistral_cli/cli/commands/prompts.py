"""`mistral-cli prompts`: list the prompt templates, print one, show where it is."""

from __future__ import annotations

from typing import Annotated

import typer

from mistral_cli.cli.framework import PlainGroup
from mistral_cli.system.options import JsonOption

Name = Annotated[str, typer.Argument(metavar="NAME|FILE", show_default=False)]

group = typer.Typer(cls=PlainGroup, no_args_is_help=True)


@group.callback()
def prompts() -> None:
    """List and show prompt templates."""


@group.command("list")
def list_prompts(context: typer.Context, json: JsonOption = False) -> None:
    """List the prompt templates: your own and the built-in ones."""
    from mistral_cli.generation.templates import available_templates
    from mistral_cli.system.tables import print_table

    rows = [
        {"name": t.name, "description": t.description, "path": str(t.path)}
        for t in available_templates()
    ]
    titles = {"name": "template", "description": "description"}
    print_table(context.obj, "prompts", rows, titles, as_json=json)


@group.command()
def show(context: typer.Context, name: Name) -> None:
    """Print the text of a template."""
    from mistral_cli.generation.templates import find_template
    from mistral_cli.system.encodings import read_supplement
    from mistral_cli.system.stdout import write

    write(context.obj, read_supplement(find_template(name).path, context.obj))


@group.command()
def path(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[NAME|FILE]", show_default=False)] = None,
) -> None:
    """Print the path of a template; without a name, the folder for your own."""
    from mistral_cli.generation.templates import find_template
    from mistral_cli.system.config import prompts_dir
    from mistral_cli.system.stdout import write

    write(context.obj, f"{find_template(name).path if name else prompts_dir()}\n")
