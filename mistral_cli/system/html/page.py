"""A self-contained HTML page: rendered, checked against the file it would replace, and written.

What a page shows came from texts and models. So templates escape all of it, and the page's
Content-Security-Policy allows no style and no script but the page's own.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mistral_cli import __version__
from mistral_cli.errors import MistralCliError, UsageError, first_line
from mistral_cli.system.files import is_same_file, write_atomically

if TYPE_CHECKING:
    from markupsafe import Markup

_HEAD_BYTES = 4096  # the part of a page that names its generator
_STDOUT = 1


def check_page(
    path: Path, option: str, generator: str, others: Mapping[str, Path | None] | None = None
) -> None:
    """Raise UsageError if the page that `option` names cannot or must not be at `path`.

    It must not replace a file that is not a page by `generator`, nor be one of the `others`, which
    are named by their options, nor stdout, which carries the answer.
    """
    if str(path) == "-" or _is_stdout(path):
        raise UsageError(
            f"{option} cannot write to stdout, which carries only the answer",
            hint=f"Name a file: {option} page.html.",
        )
    for name, other in (others or {}).items():
        if other and is_same_file(path, other):
            raise UsageError(
                f"{name} and {option} are the same file", hint=f"Choose another {option}."
            )
    if path.is_dir():
        raise UsageError(f"{path} is a folder", hint=f"Name a file: {option} {path}/page.html.")
    with contextlib.suppress(OSError):  # a file that cannot be read fails later, on writing
        head = _head(path) if path.is_file() else b""
        if head and f'content="{generator}"'.encode() not in head:
            raise UsageError(
                f"{path} exists and was not written by {generator}",
                hint=f"Choose another {option}.",
            )


def render(folder: Path, generator: str, **values: Any) -> str:
    """Return the page of the template in `folder`, with its style and script if it has one.

    The template extends `base.html`. `count` and `decimal` format numbers.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    shared = Path(__file__).parent
    style = _source(shared / "base.css") + _source(folder / "page.css")
    script = _source(folder / "page.js") if (folder / "page.js").exists() else ""
    environment = Environment(
        loader=FileSystemLoader([folder, shared]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": _format_count,
        "decimal": _format_decimal,
        "with_controls": _with_controls,
    }
    return environment.get_template("page.html").render(
        style=Markup(style),
        script=Markup(script),
        style_hash=_csp_hash(style),
        script_hash=_csp_hash(script),
        generator=generator,
        version=__version__,
        **values,
    )


def write_page(path: Path, page: str, option: str) -> None:
    """Write the page to `path`, which `option` names. Raises MistralCliError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # JSON can contain a lone surrogate, which UTF-8 cannot encode.
        write_atomically(path, page.encode("utf-8", "replace"))
    except OSError as error:
        raise MistralCliError(
            f"cannot write {path}: {error.strerror or first_line(error)}",
            hint=f"Free disk space or fix the permissions, or choose another {option}.",
        ) from error


def _is_stdout(path: Path) -> bool:
    """Return whether stdout was redirected to the file: a page would take the answer's place."""
    try:
        there, here = path.stat(), os.fstat(_STDOUT)
    except OSError:
        return False
    return stat.S_ISREG(there.st_mode) and os.path.samestat(there, here)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES)


def _source(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _csp_hash(source: str) -> str:
    digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
    return f"sha256-{digest}"


def _format_count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"  # noqa: RUF001 - an en dash


def _format_decimal(value: float | None) -> str:
    return "–" if value is None else f"{value:,.1f}"  # noqa: RUF001


def _with_controls(text: str) -> Markup:
    """Return the text with its control characters as escapes, each in an element of its own."""
    from markupsafe import Markup, escape

    from mistral_cli.system.controls import marked

    return Markup(marked(str(escape(text)), '<span class="control">{}</span>'.format))
