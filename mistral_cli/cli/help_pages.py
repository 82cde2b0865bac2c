"""Help pages as plain text, options under their panels' titles.

Typer's own pages are made with rich, whose import takes longer than all the rest of `--help`.
"""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup

from mistral_cli.cli.quick_values import QuickValues

WIDTH = 100
"""The widest line, in columns; on a narrower terminal, its width."""

_ARGUMENTS, _OPTIONS, _COMMANDS = "Arguments", "Options", "Commands"


class PlainCommand(QuickValues, TyperCommand):
    """A command with a plain help page."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options, each under its panel's title."""
        _write_panels(self, ctx, formatter)


class PlainGroup(QuickValues, TyperGroup):
    """A group with a plain help page."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments, options and commands."""
        _write_panels(self, ctx, formatter)
        self.format_commands(ctx, formatter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands and their whole lines of help, which click would cut."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, found.help or "") for name, found in commands if found and not found.hidden]
        with formatter.section(_COMMANDS):
            formatter.write_dl(rows)


def _write_panels(command: PlainCommand | PlainGroup, ctx: Any, formatter: Any) -> None:
    panels: dict[str, list[tuple[str, str]]] = {_ARGUMENTS: [], _OPTIONS: []}
    for parameter in command.get_params(ctx):
        default = _ARGUMENTS if parameter.param_type_name == "argument" else _OPTIONS
        panel = getattr(parameter, "rich_help_panel", None) or default
        if record := parameter.get_help_record(ctx):
            panels.setdefault(panel, []).append(record)
    for title, records in panels.items():
        if records:
            with formatter.section(title):
                formatter.write_dl(records)
