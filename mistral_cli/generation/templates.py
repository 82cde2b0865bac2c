"""Prompt templates: find one, read its header, fill it with the user's text.

A template is a text file for Jinja2's sandbox. It may begin with a TOML header between `+++` lines:
`description`; `system`, the system text; `reasoning`, `on_limit` and `facts`, as in the options
of these names; `preamble`, on or off; `[options]`, sampling defaults; `[params]`, parameters and
their defaults; `[schema]`, the JSON Schema of the answer.
`{{ text }}` is the user's text and `{{ instruction }}` their instruction. Values are data: their
content is never interpreted.
"""

from __future__ import annotations

import contextlib
import math
import re
import secrets
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mistral_cli.engines.sampling import SETTINGS, SamplingSetting
from mistral_cli.errors import UsageError, first_line, reason
from mistral_cli.generation.checking.options import FactsMode
from mistral_cli.generation.options import OnLimit, ReasoningMode
from mistral_cli.models.chat import Message
from mistral_cli.system.config import prompts_dir
from mistral_cli.system.encodings import AUTO, read_supplement

if TYPE_CHECKING:
    from mistral_cli.system.reporter import Reporter

SUFFIX = ".txt"
_HEADER = re.compile(r"\+\+\+[ \t]*\n(?:(.*?)\n)??\+\+\+[ \t]*(?:\n|\Z)", re.DOTALL)
_KEYS = {
    **{"description": str, "system": str, "reasoning": str, "on_limit": str},
    **{"facts": str, "preamble": str},
    **{"options": dict, "params": dict, "schema": dict},
}
_OPTIONS = {"max_tokens": SamplingSetting(int, 1, math.inf), **SETTINGS}
_CHOICES: Mapping[str, Sequence[str]] = {
    "reasoning": [*ReasoningMode],
    "on_limit": [*OnLimit],
    "facts": [*FactsMode],
    "preamble": ["on", "off"],
}
_INPUTS = {"text", "instruction"}


@dataclass(frozen=True)
class Template:
    """A template file that has been read and checked."""

    path: Path
    source: str
    description: str = ""
    system: str = ""
    reasoning: str = ""
    on_limit: str = ""
    facts: str = ""
    preamble: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    schema: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """The name that `--template` takes."""
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

        `params` come from the user, and the template must use each; `task_values` come from the
        command, and the template may ignore them. Raises UsageError.
        """
        params = params or {}
        if twice := sorted(set(params) & set(task_values or ())):
            raise UsageError(
                f"{twice[0]!r} is set twice, by an option and by -p", hint="Drop one of them."
            )
        values = {**self.params, **(task_values or {}), **params}
        values |= {"text": text, "instruction": instruction or ""}
        # Without `params` nothing needs parsing here: importing Jinja alone takes 20 ms.
        known = (self.variables() | set(self.params)) - _INPUTS if params else set()
        if unknown := sorted(set(params) - known):
            raise UsageError(
                f"the template {self.name!r} has no parameter {unknown[0]!r}",
                hint=f"Its parameters: {', '.join(sorted(known)) or 'none'}.",
            )
        system = self._render(self.system, values).strip()
        # Only the outermost newlines are dropped, the input's too: they end a file, not a text.
        user = self._render(self.source, values).strip("\n")
        return [Message("system", system)] * bool(system) + [Message("user", user)]

    def variables(self) -> frozenset[str]:
        """The names of the variables in the template."""
        return _variables(self.system) | _variables(self.source)

    @property
    def inserts_text(self) -> bool:
        """Whether the text is only inserted: nothing tests or changes it."""
        return _inserts_text(self.system) and _inserts_text(self.source)

    def _render(self, source: str, values: Mapping[str, Any]) -> str:
        import jinja2

        try:
            others = tuple((name, value) for name, value in values.items() if name != "text")
            if all(isinstance(value, str) for _, value in others) and _inserts_text(source):
                return str(values["text"]).join(_around_text(source, others))
            return str(_compiled(source).render(values))
        except jinja2.UndefinedError as error:
            raise UsageError(
                f"the template {self.name!r} needs a value: {error}",
                hint="Give it with -p NAME=VALUE.",
            ) from error
        except Exception as error:  # a template is the user's code, which can raise anything
            raise UsageError(
                f"the template {self.name!r} does not work: {first_line(error)}",
                hint=f"Correct {self.path}.",
            ) from error


def find_template(
    reference: str, reporter: Reporter | None = None, encoding: str = AUTO
) -> Template:
    """Find a template by its file or its name; `encoding` is that of the user's. Raises UsageError.

    The user's prompts folder is searched for a name before the built-in templates.
    """
    if Path(reference).suffix or "/" in reference:
        try:
            path = Path(reference).expanduser()
            if path.is_file():
                return read_template(path, reporter, encoding)
        except (OSError, RuntimeError):
            pass  # too long for a path, or the home folder of an unknown user
    for folder in (prompts_dir(), builtin_folder()) if "/" not in reference else ():
        with contextlib.suppress(OSError):  # as in `_paths`
            if (path := folder / f"{reference}{SUFFIX}").is_file():
                return read_template(path, reporter, encoding)
    names = ", ".join(_paths())
    raise UsageError(f"there is no template {reference!r}", hint=f"Use a file or one of: {names}.")


def available_templates() -> list[Template]:
    """Every template that `find_template` finds by name, sorted by name.

    The description of an unusable template is its error message.
    """
    return [_read_or_describe(path) for path in _paths().values()]


def _read_or_describe(path: Path) -> Template:
    try:
        return read_template(path)
    except UsageError as error:
        return Template(path, "", description=error.message)


def _paths() -> dict[str, Path]:
    """Name → file, sorted by name; a user's template replaces a built-in one with the same name."""
    paths: dict[str, Path] = {}
    for folder in (builtin_folder(), prompts_dir()):
        # Under cron or sudo the home folder may be unreadable; the built-in templates still work.
        with contextlib.suppress(OSError):
            paths |= {path.stem: path for path in folder.glob(f"*{SUFFIX}") if path.is_file()}
    return dict(sorted(paths.items()))


def read_template(path: Path, reporter: Reporter | None = None, encoding: str = AUTO) -> Template:
    """Read and check one file. Raises UsageError that names the problem."""
    try:
        content = read_supplement(path, reporter, encoding)
    except OSError as error:
        raise UsageError(
            f"cannot read the template {path}: {reason(error)}", hint="Check it."
        ) from error
    header: dict[str, Any] = {}
    if content.startswith("+++"):
        match = _HEADER.match(content)
        if not match:
            raise _unusable(path, "its header has no closing +++ line")
        try:
            header = tomllib.loads(match[1] or "")
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise _unusable(path, f"its header is not TOML: {error}") from error
        content = content[match.end() :]
    _check_header(path, header)
    template = Template(path, content, **header)
    if path.parent != builtin_folder():  # a test checks those, so that `--raw` needs no Jinja
        check_source(template)
    return template


def _check_header(path: Path, header: dict[str, Any]) -> None:
    for key, value in header.items():
        if key not in _KEYS:
            raise _unusable(path, f"its header has an unknown key {key!r}")
        if not isinstance(value, _KEYS[key]):
            kind = "string" if _KEYS[key] is str else "table"
            raise _unusable(path, f"{key!r} in its header must be a {kind}")
    for key, known in _CHOICES.items():
        if header.get(key, known[0]) not in known:
            raise _unusable(path, f"{key!r} in its header must be one of: {', '.join(known)}")
    for key, value in header.get("options", {}).items():
        if key not in _OPTIONS:
            raise _unusable(path, f"its header has an unknown key 'options.{key}'")
        if not _OPTIONS[key].allows(value):
            raise _unusable(
                path, f"'options.{key}' in its header must be {_OPTIONS[key]}, not {value!r:.40}"
            )
    for key in sorted(_INPUTS & set(header.get("params", {}))):
        raise _unusable(path, f"'params.{key}' in its header has a name reserved for the input")


def check_source(template: Template) -> None:
    """Check that Jinja can parse the template, and that it uses the text. Raises UsageError."""
    try:
        variables = template.variables()
    except Exception as error:  # Jinja's own errors, and recursion
        raise _unusable(template.path, first_line(error)) from error
    if "text" not in variables:
        raise _unusable(template.path, "it never uses {{ text }}, so the input would be lost")


def _unusable(path: Path, problem: str) -> UsageError:
    return UsageError(
        f"the template {path} is not usable: {problem}",
        hint="`mistral-cli prompts show summarize` prints one that works.",
    )


@cache
def _variables(source: str) -> frozenset[str]:
    from jinja2 import meta

    return frozenset(meta.find_undeclared_variables(_environment().parse(source)))


@cache
def _inserts_text(source: str) -> bool:
    """Whether every use of `text` is a plain `{{ text }}`, also in conditions about others."""
    from jinja2 import nodes

    plain = (nodes.Template, nodes.Output, nodes.If, nodes.For)

    def inserts(node: nodes.Node) -> bool:
        return all(
            isinstance(node, nodes.Output)
            if isinstance(child, nodes.Name) and child.name == "text"
            else inserts(child) and (isinstance(node, plain) or not _uses_text(child))
            for child in node.iter_child_nodes()
        )

    return inserts(_environment().parse(source))


def _uses_text(node: Any) -> bool:
    from jinja2 import nodes

    return any(each.name == "text" for each in node.find_all(nodes.Name))


@lru_cache
def _around_text(source: str, others: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    """The prompt, split where the text goes: the same for each row of a batch."""
    marker = secrets.token_hex(16)
    return tuple(_compiled(source).render({**dict(others), "text": marker}).split(marker))


@cache
def _compiled(source: str) -> Any:
    return _environment().from_string(source)


@cache
def _environment() -> Any:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    return ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def builtin_folder() -> Path:
    """The folder of the built-in templates: the checkout's `prompts/`, linked into the package."""
    return Path(__file__).with_name("prompts").resolve()
