"""`mistral-cli models pull`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mistral_cli.cli.commands.models import Failures
from mistral_cli.errors import ModelUnusable
from mistral_cli.system.options import JsonOption, OfflineOption, PathsOnlyOption

if TYPE_CHECKING:
    from mistral_cli.models.call import CallContext

_TITLES = {"model": "model", "missing": "to fetch", "size": "size", "source": "from"}


def pull(
    context: typer.Context,
    models: Annotated[list[str] | None, typer.Argument(metavar="[MODEL]...")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be fetched; fetch nothing.")
    ] = False,
    offline: OfflineOption = False,
    json: JsonOption = False,
    quiet: PathsOnlyOption = False,
) -> None:
    """Download models, check the files, and print their paths."""
    from mistral_cli.models.call import prepare_call

    call = prepare_call(context.obj, quiet=quiet, offline=offline)
    (_preview if dry_run else _pull)(models or [call.config.model], call, as_json=json)


def _pull(references: list[str], call: CallContext, *, as_json: bool) -> None:
    from mistral_cli.models.gguf import read_gguf
    from mistral_cli.models.references import parse_reference
    from mistral_cli.system.stdout import write_envelope, write_paths

    config, terminal = call.config, call.terminal
    failures = Failures(terminal)
    rows: list[dict[str, Any]] = [{"model": each, "path": None} for each in references]
    for row in rows:
        with failures.kept(row):
            path = parse_reference(row["model"], config).fetch(terminal)
            with _again(row["model"]):
                read_gguf(path)
            row["path"] = str(path)
            if not as_json:
                write_paths(terminal, [path])
    if as_json:
        write_envelope(terminal, {"models": rows})
    failures.end()


@contextmanager
def _again(reference: str) -> Iterator[None]:
    """Say how to get a damaged file anew: to pull what is here already changes nothing."""
    from mistral_cli.models.checksums import refetch_command
    from mistral_cli.models.gguf.checks import DAMAGED

    try:
        yield
    except ModelUnusable as error:
        if error.hint == DAMAGED:
            error.hint = f"{DAMAGED} {refetch_command(reference)}"
        raise


def _preview(references: list[str], call: CallContext, *, as_json: bool) -> None:
    from mistral_cli.models.disk import format_size
    from mistral_cli.models.lookup import inspect_remote
    from mistral_cli.models.references import parse_reference
    from mistral_cli.system.stdout import write_paths
    from mistral_cli.system.tables import print_table

    config, terminal = call.config, call.terminal
    failures = Failures(terminal)
    rows: list[dict[str, Any]] = [
        {**dict.fromkeys((*_TITLES, "path")), "model": reference} for reference in references
    ]
    for row in rows:
        with failures.kept(row):
            found = inspect_remote(parse_reference(row["model"], config), terminal)
            row |= {"source": found.source, "size": found.size, "missing": found.missing}
            row["path"] = str(found.path) if found.path else None
    if terminal.quiet and not as_json:
        write_paths(terminal, (row["path"] for row in rows))
    else:
        found_rows = rows if as_json else [row for row in rows if row["error"] is None]
        show = {"size": format_size, "missing": format_size}
        print_table(
            terminal, "models", found_rows, _TITLES, as_json=as_json, show=show, shrink="source"
        )
    failures.end()
