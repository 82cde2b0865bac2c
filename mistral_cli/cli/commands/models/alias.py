"""`mistral-cli models alias`."""

from __future__ import annotations

from typing import Annotated

import typer

from mistral_cli.errors import UsageError
from mistral_cli.system.options import JsonOption, QuietOption
from mistral_cli.system.reporter import Reporter
from mistral_cli.system.terminal import Terminal


def alias(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", show_default=False)] = None,
    model: Annotated[str | None, typer.Argument(metavar="[MODEL]", show_default=False)] = None,
    remove: Annotated[
        str | None, typer.Option("--remove", metavar="NAME", help="Remove an alias.")
    ] = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Store an alias for a model in config.toml; without arguments, list your aliases."""
    from mistral_cli.models.call import prepare_call

    # Raises for an invalid config.toml, which must not change.
    terminal = prepare_call(context.obj, quiet=quiet).terminal
    if remove is not None:
        if name is not None:
            raise UsageError("--remove takes only one name", hint="Remove one alias at a time.")
        _remove(remove, terminal)
    elif name is not None:
        if model is None:
            raise UsageError(
                f"the alias {name!r} needs a model", hint="mistral-cli models alias NAME MODEL"
            )
        _set(name, model, terminal)
    if (name, remove) == (None, None) or json:
        _list(terminal, as_json=json)


def _set(name: str, model: str, terminal: Terminal) -> None:
    from mistral_cli.models.aliases import set_alias
    from mistral_cli.models.catalog import ALIASES
    from mistral_cli.models.references import parse_reference
    from mistral_cli.models.sources import LocalFile
    from mistral_cli.system.config import config_file, load_config

    target = set_alias(name, model, terminal)
    terminal.note(f"{name} is now an alias of {target} in {config_file()}")
    if name in ALIASES:
        terminal.note(f"it replaces the built-in alias {name} ({ALIASES[name].describe()})")
    source = parse_reference(name, load_config(terminal.env))
    if isinstance(source, LocalFile) and not source.locate():
        terminal.warn(f"there is no file {source.path} yet")


def _remove(name: str, reporter: Reporter) -> None:
    from mistral_cli.models.aliases import remove_alias
    from mistral_cli.system.config import config_file

    remove_alias(name, reporter)
    reporter.note(f"{name} is no longer in {config_file()}")


def _list(terminal: Terminal, *, as_json: bool) -> None:
    from mistral_cli.system.config import load_config
    from mistral_cli.system.tables import print_table

    rows = [
        {"name": name, "model": model} for name, model in load_config(terminal.env).aliases.items()
    ]
    titles = {"name": "alias", "model": "model"}
    print_table(terminal, "aliases", rows, titles, as_json=as_json)
