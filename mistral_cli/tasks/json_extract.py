"""Turn texts into JSON that matches fields or a schema."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mistral_cli.generation.options import OnLimit
from mistral_cli.generation.task import Strategy, Task

if TYPE_CHECKING:
    from mistral_cli.generation.answer import Result
    from mistral_cli.generation.planner import Job
    from mistral_cli.generation.session import Executor
    from mistral_cli.generation.writers import ResultWriter
    from mistral_cli.system.reporter import Reporter


def json_extract(
    fields: Annotated[
        str | None,
        typer.Option(
            "--fields",
            metavar="LIST",
            help="Fields to extract, such as 'name, age int, bio: short bio'.",
            show_default=False,
        ),
    ] = None,
    schema: Annotated[
        str | None,
        typer.Option("--schema", metavar="FILE|JSON", help="A JSON Schema.", show_default=False),
    ] = None,
    many: Annotated[
        bool,
        typer.Option("--many", help="Extract a list of such objects, for texts that have several."),
    ] = False,
    jsonl: Annotated[
        bool,
        typer.Option(
            "--jsonl", help="Like --many, one item per line, printed as soon as it is complete."
        ),
    ] = False,
    grounded: Annotated[
        bool | None,
        typer.Option(
            "--grounded/--no-grounded",
            help="Take strings and numbers from the text only (default with --fields).",
            show_default=False,
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html",
            metavar="FILE",
            help="Also write an HTML page that shows the values in their texts.",
            show_default=False,
        ),
    ] = None,
    on_limit: Annotated[
        OnLimit | None,
        typer.Option(
            "--on-limit",
            help="What to do with an answer that reaches -n/--max-tokens: fail, or close it there "
            "as a valid value (default: from the template or the configuration, else fail).",
            show_default=False,
        ),
    ] = None,
) -> Task:
    """Turn texts into JSON that matches fields or a schema."""
    from mistral_cli.errors import UsageError

    if fields is not None and schema is not None:
        raise UsageError("--fields and --schema cannot be combined", hint="Drop one of them.")
    grounded = fields is not None if grounded is None else grounded
    task = _task(fields, many=many or jsonl, jsonl=jsonl, grounded=grounded, html=html)
    read_schema = partial(_with_schema, schema) if schema is not None else None
    return replace(task, on_limit=on_limit, read_files=read_schema)


def _with_schema(reference: str, task: Task, reporter: Reporter, encoding: str) -> Task:
    from mistral_cli.structured.fields import describe_fields
    from mistral_cli.structured.schema import load_schema

    schema = load_schema(reference, reporter, encoding)
    fields = describe_fields(schema)
    values = {"fields": fields, **task.values} if fields else task.values
    return replace(task, values=values, schema=schema)


def _task(
    fields: str | None, *, many: bool, jsonl: bool, grounded: bool, html: Path | None
) -> Task:
    from mistral_cli.structured.fields import describe_fields, schema_from_fields
    from mistral_cli.structured.schema import ANY_OBJECT

    required, described = None, ""
    if fields is not None:
        required = schema_from_fields(fields, nullable=grounded)
        described = describe_fields(schema_from_fields(fields))
    nullable = grounded and fields is not None
    values = {"fields": described, "many": many}
    values |= {"grounded": grounded, "nullable": nullable}
    return Task(
        "json-extract",
        {name: value for name, value in values.items() if value},
        enforced=frozenset(values),
        schema=required,
        fallback_schema=ANY_OBJECT,
        many=many,
        grounded=grounded,
        jsonl=jsonl,
        html=html,
        strategy=ItemStrategy() if jsonl else Strategy(),
    )


class ItemStrategy(Strategy):
    """`--jsonl`: writes the items of each chunk's list as soon as they are complete."""

    retries = False

    def answer(self, job: Job, executor: Executor, writer: ResultWriter) -> Result:
        """Process the chunks in order, without retries: their items are already written."""
        from mistral_cli.generation.answer import merge_results
        from mistral_cli.generation.json_answers.retry import extract_items

        requests = job.requests
        results: list[Result] = []
        for number, prepared in enumerate(requests, start=1):
            if len(requests) > 1:
                executor.status(f"chunk {number} of {len(requests)} …")
            results.append(extract_items(prepared, executor, writer))
        return results[0] if len(results) == 1 else merge_results(job, results)
