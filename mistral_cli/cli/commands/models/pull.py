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

_TITLES = {"model": "model", "missing": "to download", "size": "size", "source": "source"}


def pull(
    context: typer.Context,
    models: Annotated[list[str] | None, typer.Argument(metavar="[MODEL]...")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be downloaded; download nothing.")
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
        with failures.collect(row):
            path = parse_reference(row["model"], config).fetch(terminal)
            with _hint_to_refetch(row["model"]):
                read_gguf(path)
            row["path"] = str(path)
            if not as_json:
                write_paths(terminal, [path])
    if as_json:
        write_envelope(terminal, {"models": rows})
    failures.exit_if_any()


@contextmanager
def _hint_to_refetch(reference: str) -> Iterator[None]:
    """Name the command that replaces a damaged file: another `pull` would not change it."""
    from mistral_cli.models.checksums import refetch_command
    from mistral_cli.models.gguf.checks import DAMAGED

    try:
        yield
    except ModelUnusable as error:
        if error.hint != DAMAGED:
            raise
        hint = f"{DAMAGED} {refetch_command(reference)}"
        raise error.with_hint(hint) from error.__cause__


def _preview(references: list[str], call: CallContext, *, as_json: bool) -> None:
    from mistral_cli.models.disk import format_size
    from mistral_cli.models.lookup import inspect_remote
    from mistral_cli.models.references import parse_reference
    from mistral_cli.system.stdout import write_paths
    from mistral_cli.system.tables import print_table

    config, terminal = call.config, call.terminal
    failures = Failures(terminal)
    rows: list[dict[str, Any]] = [
        {"model": reference, "missing": None, "size": None, "source": None, "path": None}
        for reference in references
    ]
    for row in rows:
        with failures.collect(row):
            plan = inspect_remote(parse_reference(row["model"], config), terminal)
            row |= {"source": plan.source, "size": plan.size, "missing": plan.missing}
            row["path"] = str(plan.path) if plan.path else None
    if terminal.quiet and not as_json:
        write_paths(terminal, (row["path"] for row in rows))
    else:
        shown_rows = rows if as_json else [row for row in rows if row["error"] is None]
        show = {"size": format_size, "missing": format_size}
        print_table(
            terminal, "models", shown_rows, _TITLES, as_json=as_json, show=show, shrink="source"
        )
    failures.exit_if_any()
