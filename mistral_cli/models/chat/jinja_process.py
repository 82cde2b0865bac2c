"""A program that renders a chat template, in a process that the kernel limits.

It reads a job from stdin and writes what became of it to stdout, both in JSON. It imports Jinja
only: neither this package nor what an engine needs is in the process of a hostile template.
"""

from __future__ import annotations

import contextlib
import json
import re
import resource
import sys
from datetime import datetime
from functools import partial
from typing import Any, NoReturn

CPU_SECONDS = 2
MEMORY = 256 << 20
MOST_CHARACTERS = 1 << 20
"""Of the template alone: the texts are put in later."""

_MOST_OF_A_REASON = 200

# Tags for training that Jinja does not know. A comment in their place strips whitespace like them.
_GENERATION = re.compile(r"\{%(-?)\s*(?:end)?generation\s*(-?)%\}")


def main() -> None:
    """Write the result of each of the job's renderings, and what they asked the clock for."""
    _limit()
    job = json.load(sys.stdin)
    sys.path[:] = job["path"]
    clock: dict[str, str] = {}
    results = [_render(job["source"], rendering, clock) for rendering in job["renderings"]]
    json.dump({"results": results, "clock": clock}, sys.stdout)


def _render(source: str, rendering: dict[str, Any], clock: dict[str, str]) -> dict[str, str]:
    """The output for the first of the conversations that the template accepts, or the problem.

    It accepts one if all the `needed` characters are in the output. `values` are the template's
    other variables.
    """
    problem = ""
    for messages in rendering["conversations"]:
        try:
            text = _template(source, clock).render(messages=messages, **rendering["values"])
        except MemoryError:
            problem = problem or f"it needs more than {MEMORY >> 20} MB"
        except Exception as error:  # the template is foreign code, which can raise anything
            problem = problem or str(error)[:_MOST_OF_A_REASON].strip() or type(error).__name__
        else:
            if len(text) > MOST_CHARACTERS:
                problem = problem or f"it writes more than {MOST_CHARACTERS} characters"
            elif all(character in text for character in rendering["needed"]):
                return {"text": text}
    return {"problem": problem or "it leaves out the text"}


def _limit() -> None:
    limits = {
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_FSIZE: (0, 0),
        resource.RLIMIT_CPU: (CPU_SECONDS, CPU_SECONDS + 1),
        resource.RLIMIT_AS: (MEMORY, MEMORY),
    }
    for kind, limit in limits.items():
        # The user's own limits may be lower, and macOS has none for the memory.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, limit)


_compiled: dict[str, Any] = {}


def _template(source: str, clock: dict[str, str]) -> Any:
    if source not in _compiled:
        _compiled[source] = _compile(source, clock)
    return _compiled[source]


def _compile(source: str, clock: dict[str, str]) -> Any:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def now(pattern: str) -> str:
        clock[pattern] = datetime.now().strftime(pattern)
        return clock[pattern]

    # The settings and functions of Hugging Face's `apply_chat_template`, as documented.
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals.update(raise_exception=_refuse, strftime_now=now)
    environment.filters["tojson"] = partial(json.dumps, ensure_ascii=False)
    return environment.from_string(_GENERATION.sub(r"{#\1\2#}", source))


def _refuse(message: str) -> NoReturn:
    import jinja2

    raise jinja2.TemplateError(message)


if __name__ == "__main__":
    main()
