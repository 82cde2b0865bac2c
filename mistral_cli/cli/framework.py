"""The layer between Typer and the commands, in which a fast start is worth some reach into Typer.

1. A `LazyGroup` knows its commands as `module:function` and imports one only to run it.
2. `expand` replaces a parameter of a command by the options that its value is made from.
3. Help pages are plain text. Typer makes its own with rich, whose import takes longer than all
   the rest of `--help`.
4. Plain values are read here. Typer has pydantic check every value, and importing that takes
   longer than importing Typer.
5. A usage error becomes one of ours, with a next step.

Parts 3 to 5 use names that Typer does not document, hence the upper bound in pyproject.toml.
"""

from __future__ import annotations

import inspect
import math
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, get_args, get_origin, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException
from typer.main import get_group

from mistral_cli.errors import UsageError

WIDTH = 100
"""The widest line of a help page, in columns; on a narrower terminal, its width."""

_ARGUMENTS, _OPTIONS, _COMMANDS = "Arguments", "Options", "Commands"

_NUMBERS = {
    int: re.compile(r"-?(?:0|[1-9][0-9]{0,14})"),
    float: re.compile(r"-?(?:0|[1-9][0-9]{0,9})(?:\.[0-9]{1,9})?"),
}


# Options made from a signature


def expand(**makers: Callable[..., Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorate a command: `expand(options=Options)` turns `options` into the options of its class.

    Each named parameter of the command is replaced by the parameters of its maker (a dataclass
    or a function), and receives what the maker returns for their values.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = {name: each for name, each in _parameters(function).items() if name not in makers}
        made = {name: _parameters(maker) for name, maker in makers.items()}

        def command(**values: Any) -> None:
            arguments = {name: values[name] for name in own}
            for name, maker in makers.items():
                arguments[name] = maker(**{each: values[each] for each in made[name]})
            function(**arguments)

        parameters = [*own.values(), *(each for group in made.values() for each in group.values())]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {each.name: each.annotation for each in parameters}
        command.__name__, command.__doc__ = function.__name__, function.__doc__
        return command

    return decorate


def without(maker: Callable[..., Any], names: Collection[str]) -> Callable[..., Any]:
    """Return `maker` as a function that lacks the parameters `names`: they have their defaults."""

    def make(**values: Any) -> Any:
        return maker(**values)

    parameters = [each for name, each in _parameters(maker).items() if name not in names]
    make.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    make.__annotations__ = {each.name: each.annotation for each in parameters}
    return make


def _parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    hints = get_type_hints(function, include_extras=True)
    return {
        name: each.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[name])
        for name, each in inspect.signature(function).parameters.items()
    }


# Plain values


class _QuickValues:
    """A command that reads plain values itself; a base class to put before Typer's."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters. Click makes that of `--help` again for each call."""
        parameters: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for parameter in parameters:
            if not isinstance(parameter.get_runtime_param, _QuickReader):
                parameter.get_runtime_param = _QuickReader(parameter.get_runtime_param)
        return parameters


@dataclass(frozen=True)
class _QuickReader:
    """Stands in for Typer's reader of one parameter, which `typers_reader` makes.

    Values that are not plain are left to Typer, and so are the errors about those that are
    neither empty nor numbers.
    """

    typers_reader: Callable[[], Any]

    def __call__(self) -> _QuickReader:
        return self

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the value as its type, as Typer's `RuntimeParam.coerce` does."""
        info, annotation = param.type_descriptor.parameter_info, param.type_descriptor.annotation
        if value is None:
            return () if param.multiple or param.nargs == -1 else None
        is_list = get_origin(annotation) is list and isinstance(value, (list, tuple))
        if is_list:
            (annotation,) = get_args(annotation)
        if "" in _listed(value) and _must_have_text(param, annotation, is_list):
            raise typer.BadParameter("the value is empty")
        if is_list:
            values = [_plain(each, annotation, info) for each in value]
            if None not in values:
                return values
        elif (single := _plain(value, annotation, info)) is not None:
            return single
        try:
            coerced = self.typers_reader().coerce(value, param=param, ctx=ctx)
        except typer.BadParameter as error:
            if annotation in _NUMBERS:  # pydantic does not say what is wrong with NaN
                raise _not_a_number(value, annotation, info) from error
            raise
        if annotation is float and not math.isfinite(coerced):
            raise _not_a_number(value, annotation, info)
        return coerced


def _must_have_text(param: Any, annotation: Any, is_list: bool) -> bool:
    """Return true for text or a path that may not be empty; an option that may be has a parser.

    Commands check lists of arguments themselves: they name the text or the file.
    """
    has_parser = param.type_descriptor.parameter_info.parser is not None
    is_single: bool = param.param_type_name == "option" or not is_list
    return is_single and annotation in (str, Path) and not has_parser


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else (value,)


def _plain(value: Any, annotation: Any, info: Any) -> Any:
    """Return `value` as the type `annotation`, or None if that takes more than a look."""
    if info.parser is not None:
        return info.parser(value) if isinstance(value, str) else value
    if not isinstance(annotation, type):
        return None
    if annotation in _NUMBERS:
        return _number(value, annotation, info)
    if issubclass(annotation, Enum):
        if isinstance(value, annotation):
            return value
        named = info.case_sensitive and value in {each.value for each in annotation}
        return annotation(value) if named else None
    if annotation is Path:
        return _path(value, info)
    return value if annotation in (str, bool) and type(value) is annotation else None


def _number(value: Any, kind: type[Any], info: Any) -> Any:
    if type(value) is str and not _NUMBERS[kind].fullmatch(value):
        return None
    if type(value) not in (str, kind):
        return None
    number = kind(value)
    above = info.min is None or info.min <= number
    return number if above and (info.max is None or number <= info.max) else None


def _path(value: Any, info: Any) -> Path | None:
    special = info.resolve_path or info.writable or not (info.file_okay and info.dir_okay)
    if type(value) is not str or special or info.path_type is not None:
        return None
    new = not info.exists and not os.access(value, os.F_OK)
    return Path(value) if new or os.access(value, os.R_OK) else None


def _not_a_number(value: Any, kind: type[Any], info: Any) -> typer.BadParameter:
    limits = {
        (False, False): "",
        (True, False): f" of at least {info.min}",
        (False, True): f" of at most {info.max}",
        (True, True): f" from {info.min} to {info.max}",
    }[info.min is not None, info.max is not None]
    name = "a whole number" if kind is int else "a number"
    return typer.BadParameter(f"{' '.join(_listed(value))!r} is not {name}{limits}")


# Help pages


class PlainCommand(_QuickValues, TyperCommand):
    """A command with a plain help page: options under the titles of their panels."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options, each under its panel's title."""
        _write_panels(self, ctx, formatter)

    def get_short_help_str(self, limit: int = 0) -> str:  # noqa: ARG002
        """Return the first line of the help, which click would cut."""
        return _first_line(self.help)


def with_optional_value(
    arguments: Sequence[str], name: str, is_value: Callable[[str], bool], default: str
) -> list[str]:
    """Return `arguments` with `default` as the value of each `name` that no value follows."""
    complete, rest = list[str](), list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == "--":
            return [*complete, argument, *rest]
        if argument == name:
            argument = f"{name}={rest.pop(0) if rest and is_value(rest[0]) else default}"
        complete.append(argument)
    return complete


class PlainGroup(_QuickValues, TyperGroup):
    """A group with a plain help page."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments, options and commands."""
        _write_panels(self, ctx, formatter)
        self.format_commands(ctx, formatter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands with the first line of their help."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [
            (name, command.get_short_help_str())
            for name, command in commands
            if command and not command.hidden
        ]
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


def _first_line(help: str | None) -> str:
    return (help or "").strip().partition("\n")[0]


# Commands that are imported when they run


class LazyGroup(PlainGroup):
    """A group that lists its commands without importing them.

    A command's help is the docstring of its function. If the module of that function has a
    Typer app named `group`, the command is that group.
    """

    targets: ClassVar[Mapping[str, str]]
    """The commands: name → `module:function`."""
    kind: ClassVar[type[PlainCommand]] = PlainCommand
    """The class of its commands."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, target in self.targets.items():
            self.add_command(_Listed(name, target))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Import the command that `args` begin with; return it and the rest of them."""
        name, listed, rest = super().resolve_command(ctx, args)
        return name, self.load(name) if name and listed else None, rest

    def load(self, name: str) -> Any:
        """Import the command `name`."""
        module_name, _, function_name = self.targets[name].partition(":")
        module = import_module(module_name)
        app = typer.Typer(add_completion=False, rich_markup_mode=None)
        if group := getattr(module, "group", None):
            for info in group.registered_commands:
                if info.cls in (None, TyperCommand):
                    info.cls = PlainCommand
            app.add_typer(group, name=name)
        else:
            function = getattr(module, function_name)
            help = inspect.getdoc(function)
            app.command(name, cls=self.kind, help=help)(self.as_command(name, function))
        return get_group(app).commands[name]

    def as_command(self, name: str, function: Callable[..., Any]) -> Callable[..., None]:  # noqa: ARG002
        """Return what Typer is to call for the command `name`: here `function` itself."""
        return function


class _Listed(PlainCommand):
    """A command in a list, not imported; its help is read from the source."""

    def __init__(self, name: str, target: str) -> None:
        super().__init__(name, rich_markup_mode=None)
        self._target = target

    def get_short_help_str(self, limit: int = 0) -> str:  # noqa: ARG002
        """Return the first line of the function's docstring."""
        return _summary(self._target)


def _summary(target: str) -> str:
    """Return the first line of the docstring of `module:function`, without importing it."""
    module, _, function = target.partition(":")
    spec = find_spec(module)
    source = Path(spec.origin).read_text(encoding="utf-8") if spec and spec.origin else ""
    docstring = rf'^def {function}\(.*?\) -> [^\n]*:\n    """(.*?)(?:"""|\n)'
    found = re.search(docstring, source, re.MULTILINE | re.DOTALL)
    return found[1] if found else ""


# Usage errors


def explain_usage_error(error: TyperException) -> UsageError | None:
    """Return our error for one of Typer's, or None if it only carries a help page."""
    from typer._click import exceptions as click

    if isinstance(error, click.NoArgsIsHelpError):
        return None
    message = error.format_message().replace("Value error, ", "")  # pydantic's words
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "mistral-cli"
    hint = f"`{command} -h` lists the options."
    if isinstance(error, click.BadOptionUsage):
        hint = f"Write its value after {error.option_name}."
    if isinstance(error, click.NoSuchOption):
        hint += " Write -- before a text or a name that begins with a dash."
    return UsageError(message[:1].lower() + message[1:].rstrip("."), hint=hint)
