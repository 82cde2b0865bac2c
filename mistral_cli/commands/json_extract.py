"""`mistral-cli json-extract`."""

from __future__ import annotations

from typing import Annotated

import typer

from mistral_cli.options import TaskOptions, takes_task_options


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("json-extract")(takes_task_options(json_extract))


def json_extract(
    context: typer.Context,
    texts: Annotated[list[str] | None, typer.Argument(show_default=False)] = None,
    fields: Annotated[
        str | None,
        typer.Option(
            "--fields",
            metavar="LIST",
            help="As in 'name, age int, bio: short bio'.",
            show_default=False,
        ),
    ] = None,
    schema: Annotated[
        str | None,
        typer.Option("--schema", metavar="FILE|JSON", help="A JSON schema.", show_default=False),
    ] = None,
    *,
    options: TaskOptions,
) -> None:
    """Turn texts into JSON that holds to fields or a schema, each text into one value."""
    from mistral_cli import structured
    from mistral_cli.errors import UsageError
    from mistral_cli.plan import Task
    from mistral_cli.run import run_task

    if fields is not None and schema is not None:
        raise UsageError("--fields and --schema are both given", hint="Give one of them.")
    wanted = None if fields is None else structured.schema_from_fields(fields)
    wanted = wanted if schema is None else structured.load_schema(schema)
    values = {"fields": structured.describe_fields(wanted)} if wanted else {}
    task = Task("json-extract", values, wanted, fallback_schema=structured.ANY_OBJECT)
    run_task(task, texts or (), options, context.obj)
