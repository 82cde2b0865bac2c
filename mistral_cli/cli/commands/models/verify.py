"""`mistral-cli models verify`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mistral_cli.cli.commands.models import Failures
from mistral_cli.system.options import JsonOption, PathsOnlyOption
from mistral_cli.system.reporter import Reporter

if TYPE_CHECKING:
    from mistral_cli.models.store import StoredFile

_TITLES = {"status": "status", "sha256": "SHA-256", "model": "model"}


def verify(
    context: typer.Context,
    models: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL]...", help="Default: every local file.")
    ] = None,
    json: JsonOption = False,
    quiet: PathsOnlyOption = False,
) -> None:
    """Compare the SHA-256 of local files with the published ones, each part of a split model.

    With -q, print only the paths of the intact files.
    """
    from mistral_cli.models.call import prepare_call
    from mistral_cli.models.store import find_stored, stored_models
    from mistral_cli.system.stdout import write_paths
    from mistral_cli.system.tables import print_table

    call = prepare_call(context.obj, quiet=quiet)
    config, terminal = call.config, call.terminal
    failures = Failures(terminal)
    rows: list[dict[str, Any]] = []
    for files in stored_models(config) if models is None else ():
        rows += _verify_model(files[0].name, files, failures, terminal)
    for reference in models or ():
        row = _blank(reference)
        with failures.collect(row):
            rows += _verify_model(reference, find_stored(reference, config), failures, terminal)
        if row["error"]:
            rows.append(row)
    if quiet and not json:
        write_paths(terminal, (row["path"] for row in rows if row["error"] is None))
    else:
        shown = rows if json else [row for row in rows if row["status"]]
        print_table(terminal, "models", shown, _TITLES, as_json=json)
    failures.exit_if_any()


def _blank(reference: str) -> dict[str, Any]:
    return {"model": reference, "path": None, "status": None, "sha256": None, "published": None}


def _verify_model(
    reference: str, files: Sequence[StoredFile], failures: Failures, reporter: Reporter
) -> list[dict[str, Any]]:
    """Return a row for the file of a model, or for each part, and for one that is missing."""
    from mistral_cli.models.gguf.split import missing_part, part_paths

    rows = []
    for file in files:
        row = _blank(reference if len(files) == 1 else file.name)
        with failures.collect(row):
            _verify(file, row, reporter)
        rows.append(row)
    if len(files) < len(part_paths(files[0].path)) and (error := missing_part(files[0].path)):
        row = _blank(reference)
        with failures.collect(row):
            raise error
        rows.append(row)
    return rows


def _verify(file: StoredFile, row: dict[str, Any], reporter: Reporter) -> None:
    from mistral_cli.models.checksums import verify_file

    row |= {"path": str(file.path), "published": file.sha256}
    verdict = verify_file(file, _progress(file, reporter))
    reporter.clear_status()
    row |= {"status": verdict.status, "sha256": verdict.sha256}
    if verdict.problem:
        raise verdict.problem


def _progress(file: StoredFile, reporter: Reporter) -> Callable[[int], None]:
    size, shown = file.size or 1, 0.0

    def show(done: int) -> None:
        nonlocal shown
        if time.monotonic() - shown >= 0.1:
            shown = time.monotonic()
            reporter.status(f"verifying {file.path.name}: {100 * done // size} %")

    return show
