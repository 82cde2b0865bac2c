"""The options of `mistral-cli evaluate`, in addition to those of each task and of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from mistral_cli.system.options import MODEL, OUTPUT, PROMPT, JsonOption, option

_ROWS = "Rows"

REPLACED = (
    "model",
    "template",
    "limit",
    "from_sql",
    "output",
    "output_dir",
    "format",
    "ordered",
    "report",
    "only_failed_checks",
    "prune",
    "max_failures",
    "ray",
    "ray_actors",
)
"""The options of a batch that an evaluation lacks, or has in another form."""


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """What is compared, where the known answers are, and what is made of the figures."""

    models: Annotated[
        list[str] | None,
        option(
            "-m",
            "--model",
            panel=MODEL,
            metavar="MODEL",
            help="Model to evaluate: alias, .gguf path, owner/repo/file.gguf or owner/repo[:QUANT] "
            "(repeatable).",
        ),
    ] = None
    templates: Annotated[
        list[str] | None,
        option(
            "--template",
            "--prompt-file",
            panel=PROMPT,
            metavar="FILE|NAME",
            help="Prompt template to evaluate, with each model (repeatable).",
        ),
    ] = None
    expected_field: Annotated[
        str,
        option(
            "--expected-field",
            panel=_ROWS,
            metavar="NAME",
            help="Column or key with the known answer (default: expected), or the start of those "
            "with its fields: expected.NAME.",
        ),
    ] = "expected"
    first_rows: Annotated[
        int | None,
        option("--limit", panel=_ROWS, min=1, metavar="N", help="Evaluate the first N rows only."),
    ] = None
    folder: Annotated[
        Path | None,
        option(
            "-o",
            "--output",
            panel=OUTPUT,
            metavar="DIR",
            help="Folder for the answers, one file for each configuration (default: in the cache).",
        ),
    ] = None
    baseline: Annotated[
        Path | None,
        option(
            "--baseline",
            panel=OUTPUT,
            metavar="FILE",
            help="Compare with the answers of an earlier run: one of its .jsonl files.",
        ),
    ] = None
    gates: Annotated[
        list[str] | None,
        option(
            "--gate",
            panel=OUTPUT,
            metavar="BOUND",
            help="End with exit code 11 unless every configuration keeps the bound, such as "
            "'accuracy>=0.9' (repeatable).",
        ),
    ] = None
    page: Annotated[
        Path | None,
        option(
            "--report",
            panel=OUTPUT,
            metavar="FILE",
            help="Write an HTML report, with the rows whose answers differ beside each other.",
        ),
    ] = None
    json: JsonOption = False
