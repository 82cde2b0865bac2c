"""`summarize`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mistral_cli.generation.task import Task


def _option(name: str, help: str, **kwargs: Any) -> Any:
    return typer.Option(name, help=help, show_default=False, **kwargs)


def summarize(
    sentences: Annotated[
        int | None, _option("--sentences", "Sentences to write, exactly.", min=1, max=50)
    ] = None,
    words: Annotated[int | None, _option("--words", "Words to write, about.", min=1)] = None,
    bullets: Annotated[
        int | None, _option("--bullets", "Bullet points to write, exactly.", min=1, max=50)
    ] = None,
    style: Annotated[
        str | None, _option("--style", "As in 'for a child', 'formal'.", metavar="TEXT")
    ] = None,
    language: Annotated[
        str | None, _option("--language", "Language of the summary.", metavar="LANGUAGE")
    ] = None,
) -> Task:
    """Summarize texts of any length, each by itself."""
    from mistral_cli.errors import UsageError

    if sentences and bullets:
        raise UsageError("--sentences and --bullets are both given", hint="Give one of them.")
    given = {
        "sentences": sentences,
        "words": words,
        "bullets": bullets,
        "style": style,
        "language": language,
    }
    values = {name: value for name, value in given.items() if value is not None}
    return Task("summarize", values, way="summary")
