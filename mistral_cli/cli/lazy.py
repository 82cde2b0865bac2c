"""Groups that import a command's module when it is called, and not to list it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.main import get_group

from mistral_cli.cli.help_pages import PlainCommand, PlainGroup


class LazyGroup(PlainGroup):
    """A group whose commands are known by `lines`: name → the line in the list of commands.

    For a group among them, whose class has no help of its own, the line is its help too.
    """

    lines: ClassVar[Mapping[str, str]]
    package: ClassVar[str]
    """Where each command is a module with `register(app)`."""

    @classmethod
    def register(cls, name: str, app: typer.Typer) -> None:
        """Import the module of the command `name`, and add it to `app`."""
        import_module(f".{name}", cls.package).register(app)

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, line in self.lines.items():
            self.add_command(PlainCommand(name, help=line, rich_markup_mode=None))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that `args` begin with, imported, and the rest of them."""
        name, listed, rest = super().resolve_command(ctx, args)
        return name, self.load(name) if name and listed else None, rest

    def load(self, name: str) -> Any:
        """The command `name`, imported."""
        app = typer.Typer(add_completion=False, rich_markup_mode=None)
        self.register(name, app)
        for info in app.registered_commands:
            info.cls = PlainCommand
        found = get_group(app).commands[name]
        found.help = found.help or self.lines[name]
        return found
