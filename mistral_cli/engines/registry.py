"""The engines by name. Importing the module of one does not import its library yet."""

from __future__ import annotations

import copyreg
import importlib
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from mistral_cli.errors import UsageError

if TYPE_CHECKING:
    from mistral_cli.engines.protocol import Backend
    from mistral_cli.models.catalog import BuiltInModel
    from mistral_cli.models.gguf import GGUF

BACKENDS = {
    "native": "llama_cpp.native:Native",
    "llama.cpp": "llama_cpp.in_process:LlamaCpp",
    "ctransformers": "ctransformers.engine:CTransformers",
    "fake": "fake:Fake",
}
"""Name → module and class of the backend, in the order in which `auto` prefers them."""

DEFAULT = "llama.cpp"
"""The engine that comes with this package: it can do everything that any of them can."""


def automatic() -> tuple[str, ...]:
    """The engines that `auto` chooses from: the machine build only where there is one."""
    return tuple(name for name in BACKENDS if backend(name).offered())


def backend(name: str) -> Backend:
    """The backend called `name`. Raises UsageError for an unknown name."""
    if name not in BACKENDS:
        known = ", ".join(["auto", *automatic()])
        raise UsageError(f"unknown engine {name!r}", hint=f"Use one of: {known}.")
    return _instance(BACKENDS[name])


@cache
def _instance(location: str) -> Backend:
    module, _, attribute = location.partition(":")
    found: type[Backend] = getattr(
        importlib.import_module(f"mistral_cli.engines.{module}"), attribute
    )
    copyreg.pickle(found, _pickled_by_name)  # another process has its own instance
    return found()


def _pickled_by_name(engine: Backend) -> tuple[Callable[[str], Backend], tuple[str]]:
    return backend, (engine.name,)


def unsupported(model: GGUF | BuiltInModel) -> dict[str, str]:
    """The engines that cannot run `model`, by name, each with the reason."""
    from mistral_cli.models.gguf import GGUF

    reasons: dict[str, str] = {}
    for name in automatic():
        engine = backend(name)
        reason = (
            engine.unsupported(model)
            if isinstance(model, GGUF)
            else engine.unsupported_built_in(model)
        )
        if reason:
            reasons[name] = reason
    return reasons


def verdicts(model: GGUF) -> dict[str, str]:
    """For each engine whether it can run `model`: "yes", "maybe" or "no", and why."""
    return {name: _verdict(backend(name), model) for name in automatic()}


def _verdict(engine: Backend, model: GGUF) -> str:
    if problem := engine.missing() or engine.unsupported(model):
        return f"no: {problem}"
    doubt = engine.doubt(model)
    return f"maybe: {doubt}" if doubt else "yes"
