"""The results of a program run, and a mark for tests that need a machine build."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from mistral_cli.engines.llama_cpp import machine_build

NATIVE = machine_build.native_folder()
"""The folder of this machine's build; determined before a fixture changes the user's folders."""

_BUILD = machine_build.read(NATIVE)
needs_native = pytest.mark.skipif(
    _BUILD is None or bool(_BUILD.outdated()),
    reason="needs a machine build for this CPU (`mistral-cli engines build` makes one)",
)


@dataclass(frozen=True)
class Result:
    """The output and the exit status of one run of the program."""

    stdout: str
    stderr: str
    status: int


Run = Callable[..., Result]
"""The type of the fixture `run`."""
