"""`mistral-cli models rm`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mistral_cli.errors import ExitCode, UsageError
from mistral_cli.system.options import JsonOption, PathsOnlyOption
from mistral_cli.system.reporter import Reporter
from mistral_cli.system.terminal import Terminal

if TYPE_CHECKING:
    from mistral_cli.models.removal import Removal


def remove(
    context: typer.Context,
    models: Annotated[list[str], typer.Argument(metavar="MODEL...")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: JsonOption = False,
    quiet: PathsOnlyOption = False,
) -> None:
    """Remove models from this machine, and print the removed paths."""
    from mistral_cli.models.call import prepare_call
    from mistral_cli.models.removal import files_to_remove, plan_removal

    # Without --yes, the notes tell the user which files the question is about.
    call = prepare_call(context.obj, quiet=quiet and yes)
    config, terminal = call.config, call.terminal
    removal = plan_removal([file for model in models for file in files_to_remove(model, config)])
    _announce(removal, terminal)
    _get_consent(terminal, yes=yes)
    removal.execute()
    _report(removal, terminal, as_json=json)


def _announce(removal: Removal, reporter: Reporter) -> None:
    from mistral_cli.models.disk import format_size

    for file in removal.files:
        size = "a broken link" if file.size is None else format_size(file.size)
        reporter.note(f"to be removed: {file.path} ({size})")
    if removal.shared:
        reporter.note("the hub cache is shared: other tools on this machine lose these files too")
    reporter.note(f"frees {format_size(removal.freed)}")


def _get_consent(terminal: Terminal, *, yes: bool) -> None:
    if yes:
        return
    if not terminal.can_ask:
        raise UsageError("nothing was removed: there is no terminal to ask on", hint="Add --yes.")
    if not terminal.ask("Remove?"):
        terminal.note("nothing was removed")
        raise typer.Exit(ExitCode.FAILURE)


def _report(removal: Removal, terminal: Terminal, *, as_json: bool) -> None:
    from mistral_cli.system.stdout import write_envelope, write_paths

    if as_json:
        removed = [{"model": f.name, "path": str(f.path), "size": f.size} for f in removal.files]
        write_envelope(terminal, {"removed": removed, "freed": removal.freed})
    else:
        write_paths(terminal, (file.path for file in removal.files))
