"""Read plain values of options without pydantic.

Typer has pydantic check every value, and importing that takes longer than importing Typer. What
is not plainly right is still left to it, and so is every message.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_origin

_NUMBERS = {
    int: re.compile(r"-?(?:0|[1-9][0-9]{0,14})"),
    float: re.compile(r"-?(?:0|[1-9][0-9]{0,9})(?:\.[0-9]{1,9})?"),
}


class QuickValues:
    """A command whose parameters read plain values by themselves; a base beside Typer's."""

    def get_params(self, ctx: Any) -> list[Any]:
        """See click. That of `--help` is made anew for each call."""
        parameters: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for parameter in parameters:
            if not isinstance(parameter.get_runtime_param, _Reader):
                parameter.get_runtime_param = _Reader(parameter.get_runtime_param)
        return parameters


@dataclass(frozen=True)
class _Reader:
    """Stands where Typer has what reads a value, which `typers` makes."""

    typers: Callable[[], Any]

    def __call__(self) -> _Reader:
        return self

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """The value as its type; see Typer's `RuntimeParam`."""
        info, annotation = param.type_descriptor.parameter_info, param.type_descriptor.annotation
        if value is None:
            return () if param.multiple or param.nargs == -1 else None
        if get_origin(annotation) is list and isinstance(value, (list, tuple)):
            (annotation,) = get_args(annotation)
            found = [_plain(each, annotation, info) for each in value]
            if None not in found:
                return found
        elif (single := _plain(value, annotation, info)) is not None:
            return single
        return self.typers().coerce(value, param=param, ctx=ctx)


def _plain(value: Any, annotation: Any, info: Any) -> Any:
    """`value` as the type `annotation`, or None where that takes more than a look."""
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
