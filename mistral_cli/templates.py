"""Prompt templates: find one, read its header, fill it with the user's text.

A template is a text file for Jinja2's sandbox, under a TOML header between `+++` lines:
`description`; `system`, the system text; `[options]`, sampling defaults; `[params]`, named
values and their defaults; `[schema]`, the JSON schema of the answer. `{{ text }}` is the
user's text and `{{ instruction }}` their instruction. Values are data: what stands in them
is never interpreted.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .config import prompts_dir
from .errors import UsageError
from .messages import Message

SUFFIX = ".txt"
_FENCE = "+++\n"
_OPTIONS = {
    "max_tokens": int,
    "temperature": float,
    "top_k": int,
    "top_p": float,
    "repetition_penalty": float,
}
_KEYS = {"description": str, "system": str, "options": dict, "params": dict, "schema": dict}
_INPUTS = {"text", "instruction"}


@dataclass(frozen=True)
class Template:
    """A prompt file, read and checked."""

    path: Path
    source: str
    description: str = ""
    system: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    schema: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """What `--template` calls it."""
        return self.path.stem

    def fill(
        self,
        text: str,
        instruction: str | None = None,
        *,
        params: Mapping[str, str] | None = None,
        task_values: Mapping[str, Any] | None = None,
    ) -> list[Message]:
        """The messages for one text.

        `params` come from the user and must be known to the template; `task_values` come
        from the command, and a template may do without them. Raises UsageError.
        """
        params = params or {}
        values = {**self.params, **(task_values or {}), **params}
        values |= {"text": text, "instruction": instruction or ""}
        known = self.variables() - _INPUTS
        if unknown := sorted(set(params) - known):
            raise UsageError(
                f"the template {self.name!r} has no parameter {unknown[0]!r}",
                hint=f"Its parameters: {', '.join(sorted(known)) or 'none'}.",
            )
        system = self._render(self.system, values).strip()
        user = self._render(self.source, values).strip("\n")
        return [Message("system", system)] * bool(system) + [Message("user", user)]

    def variables(self) -> set[str]:
        """The names that the template uses."""
        from jinja2 import meta

        environment = _environment()
        return {
            name
            for part in (self.system, self.source)
            for name in meta.find_undeclared_variables(environment.parse(part))
        }

    def _render(self, source: str, values: Mapping[str, Any]) -> str:
        import jinja2

        try:
            return str(_environment().from_string(source).render(values))
        except jinja2.UndefinedError as error:
            raise UsageError(
                f"the template {self.name!r} wants a value: {error}",
                hint="Give it with -p NAME=VALUE.",
            ) from error
        except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError) as error:
            raise UsageError(
                f"the template {self.name!r} does not work: {error}",
                hint=f"Correct {self.path}.",
            ) from error


def find(reference: str) -> Template:
    """The template in the file `reference`, or the one so called. Raises UsageError.

    A name is looked up in the user's prompt folder first, then among the built-in ones.
    """
    path = Path(reference).expanduser()
    if path.suffix and path.is_file():
        return read(path)
    for folder in _folders():
        if (candidate := folder / f"{reference}{SUFFIX}").is_file():
            return read(candidate)
    names = ", ".join(template.name for template in available())
    raise UsageError(f"there is no template {reference!r}", hint=f"Use a file or one of: {names}.")


def available() -> list[Template]:
    """Every template that `find` finds by name, sorted by name."""
    paths: dict[str, Path] = {}
    for folder in reversed(_folders()):
        paths |= {path.stem: path for path in folder.glob(f"*{SUFFIX}")}
    return [read(paths[name]) for name in sorted(paths)]


def read(path: Path) -> Template:
    """Read and check one file. Raises UsageError that names what is wrong."""
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the template {path}: {error}", hint="Check it.") from error
    header: dict[str, Any] = {}
    if content.startswith(_FENCE):
        head, fence, content = content.removeprefix(_FENCE).partition("\n" + _FENCE)
        if not fence:
            raise _bad(path, "its header has no closing +++ line")
        try:
            header = tomllib.loads(head)
        except tomllib.TOMLDecodeError as error:
            raise _bad(path, f"its header is no TOML: {error}") from error
    _check_header(path, header)
    template = Template(path, content, **header)
    _check_source(template)
    return template


def _check_header(path: Path, header: dict[str, Any]) -> None:
    tables: list[tuple[str, dict[str, Any], Mapping[str, type]]] = [
        ("", header, _KEYS),
        ("options.", header.get("options", {}), _OPTIONS),
    ]
    for prefix, table, known in tables:
        for key, value in table.items():
            if key not in known:
                raise _bad(path, f"its header has an unknown key {prefix}{key}")
            wanted = known[key]
            if not isinstance(value, (float, int) if wanted is float else wanted):
                raise _bad(path, f"{prefix}{key} in its header must be of type {wanted.__name__}")


def _check_source(template: Template) -> None:
    import jinja2

    try:
        variables = template.variables()
    except jinja2.TemplateError as error:
        raise _bad(template.path, str(error)) from error
    if "text" not in variables:
        raise _bad(template.path, "it never uses {{ text }}, so the input would be lost")


def _bad(path: Path, what: str) -> UsageError:
    return UsageError(
        f"the template {path} is not usable: {what}",
        hint="`mistral-cli prompts show summarize` prints one that works.",
    )


def _environment() -> Any:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    return ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def _folders() -> list[Path]:
    return [prompts_dir(), builtin_dir()]


def builtin_dir() -> Path:
    """Where the templates of this package are: in a wheel inside it, in a checkout beside it."""
    package = Path(__file__).parent
    packaged = package / "prompts"
    return packaged if packaged.is_dir() else package.parent / "prompts"
