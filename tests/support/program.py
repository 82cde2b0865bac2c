"""The program as a process, and a mark for tests that need a machine build."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from mistral_cli.engines.llama_cpp import build

NATIVE = build.native_folder()
"""Where this machine's build would be; taken before a test moves the user's folders."""

_BUILD = build.read(NATIVE)
needs_native = pytest.mark.skipif(
    _BUILD is None or bool(_BUILD.outdated()),
    reason="there is no machine build for this CPU (scripts/build-native makes it)",
)


@dataclass(frozen=True)
class Result:
    """What one run of the program left behind."""

    stdout: str
    stderr: str
    status: int
