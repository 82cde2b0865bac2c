"""`translate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mistral_cli.generation.task import Task


def translate(
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="LANGUAGE",
            help="Language to translate into (default: the template's, English).",
            show_default=False,
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="LANGUAGE", help="Language of the text.", show_default=False
        ),
    ] = None,
    glossary: Annotated[
        Path | None,
        typer.Option(
            "--glossary",
            metavar="FILE",
            help="Terms and their translations: CSV or TSV with two columns.",
            show_default=False,
        ),
    ] = None,
) -> Task:
    """Translate texts, each by itself, and keep their structure."""
    from mistral_cli.errors import UsageError
    from mistral_cli.texts.glossary import read_glossary

    given = {"to": to, "from": source}
    values = {name: value for name, value in given.items() if value is not None}
    if not all(map(str.strip, values.values())):
        raise UsageError("a language is empty", hint="Write for example --to French.")
    terms = read_glossary(glossary) if glossary else None
    return Task("translate", values, way="translation", glossary=terms)
