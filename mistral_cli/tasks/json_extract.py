"""`json-extract`."""

from __future__ import annotations

from typing import Annotated

import typer

from mistral_cli.generation.task import Task


def json_extract(
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
    many: Annotated[
        bool, typer.Option("--many", help="A list of such values, for texts that name several.")
    ] = False,
    jsonl: Annotated[
        bool,
        typer.Option("--jsonl", help="As --many, one item a line, each printed when complete."),
    ] = False,
    grounded: Annotated[
        bool | None,
        typer.Option(
            "--grounded/--no-grounded",
            help="Strings and numbers must stand in the text (default with --fields).",
            show_default=False,
        ),
    ] = None,
) -> Task:
    """Turn texts into JSON that holds to fields or a schema."""
    from mistral_cli.errors import UsageError

    if fields is not None and schema is not None:
        raise UsageError("--fields and --schema are both given", hint="Give one of them.")
    grounded = fields is not None if grounded is None else grounded
    return _task(fields, schema, many=many or jsonl, jsonl=jsonl, grounded=grounded)


def _task(
    fields: str | None, schema: str | None, *, many: bool, jsonl: bool, grounded: bool
) -> Task:
    from mistral_cli.structured.fields import describe_fields, schema_from_fields
    from mistral_cli.structured.schema import ANY_OBJECT, load_schema

    wanted = None if schema is None else load_schema(schema)
    told = wanted if fields is None else schema_from_fields(fields)
    if fields is not None:
        wanted = schema_from_fields(fields, nullable=grounded)
    nullable = grounded and fields is not None
    values = {"fields": describe_fields(told) if told else "", "many": many}
    values |= {"grounded": grounded, "nullable": nullable}
    return Task(
        "json-extract",
        {name: value for name, value in values.items() if value},
        wanted,
        fallback_schema=ANY_OBJECT,
        many=many,
        grounded=grounded,
        jsonl=jsonl,
    )
