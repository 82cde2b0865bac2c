"""The engines by name. Importing one's module imports no library yet."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from mistral_cli.errors import UsageError

if TYPE_CHECKING:
    from mistral_cli.engines.protocol import Engine
    from mistral_cli.models.gguf import GGUF

ENGINES = {
    "native": "llama_cpp.native:Native",
    "llama.cpp": "llama_cpp.in_process:LlamaCpp",
    "ctransformers": "ctransformers.engine:CTransformers",
    "fake": "fake:FakeEngine",
}
"""Name → where it is, in the order in which `auto` prefers them."""


def automatic() -> tuple[str, ...]:
    """The real engines, among which `auto` chooses; no machine build where none was made."""
    return tuple(name for name in ENGINES if engine_class(name).offered())


def engine_class(name: str) -> type[Engine]:
    """The engine called `name`. Raises UsageError for an unknown name."""
    if name not in ENGINES:
        known = ", ".join(["auto", *automatic()])
        raise UsageError(f"unknown engine {name!r}", hint=f"Use one of: {known}.")
    module, _, attribute = ENGINES[name].partition(":")
    found: type[Engine] = getattr(
        importlib.import_module(f"mistral_cli.engines.{module}"), attribute
    )
    return found


def verdicts(model: GGUF) -> dict[str, str]:
    """For every real engine whether it can run `model`: "yes", or why not."""
    named = {name: engine_class(name) for name in automatic()}
    return {
        name: f"no: {problem}" if (problem := e.missing() or e.unsupported(model)) else "yes"
        for name, e in named.items()
    }
