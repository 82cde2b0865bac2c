"""Commands put together out of parts: what Typer reads off a function's signature."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, get_type_hints

import typer


def command(
    make: Callable[..., Any],
    arguments: Sequence[inspect.Parameter],
    shared: type[Any],
    run: Callable[..., None],
) -> Callable[..., None]:
    """A command with `arguments`, the options of `make` and those that are fields of `shared`.

    It calls `run(make(own options), shared(options), context, *values of arguments)`. Its help
    is the docstring of `make`.
    """
    hints = get_type_hints(make, include_extras=True)
    own = [_keyword(p.name, p.default, hints[p.name]) for p in _parameters(make)]
    hints = get_type_hints(shared, include_extras=True)
    common = [_keyword(f.name, f.default, hints[f.name]) for f in fields(shared)]

    def wrapper(context: typer.Context, **given: Any) -> None:
        made = make(**{p.name: given[p.name] for p in own})
        options = shared(**{p.name: given[p.name] for p in common})
        run(made, options, context, *(given[p.name] for p in arguments))

    context = _keyword("context", inspect.Parameter.empty, typer.Context)
    parameters = [context, *arguments, *own, *common]
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
    wrapper.__name__, wrapper.__doc__ = make.__name__, make.__doc__
    return wrapper


def argument(name: str, annotation: Any, *, required: bool = False) -> inspect.Parameter:
    """A parameter that `command` takes; unless it is `required` it may be left out."""
    return _keyword(name, inspect.Parameter.empty if required else None, annotation)


def _keyword(name: str, default: Any, annotation: Any) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=annotation)


def _parameters(make: Callable[..., Any]) -> list[inspect.Parameter]:
    return list(inspect.signature(make).parameters.values())
