"""The program with a prompt cache and a scripted engine, for tests of the prompt cache."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.program import Result

TEXT = (
    "The harbour committee met on Tuesday. It decided to repair the north pier, because the storm "
    "in March broke eleven planks and two lamps."
)


@dataclass
class CachingProgram:
    """The program with the fake engine, which takes 0.3 s to prefill a prefix, and a cache."""

    run: Callable[..., Result]
    model: Path
    folder: Path

    def __call__(self, *arguments: object, **env: str) -> Result:
        return self.run(*arguments, **(self.environment | env))

    @property
    def environment(self) -> dict[str, str]:
        script = self.folder / "script.json"
        script.write_text('{"delay": 0.3, "pieces": ["yes"]}', encoding="utf-8")
        return {
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "MISTRAL_CLI_PROMPT_CACHE": "1 GB",
            "MISTRAL_CLI_FAKE": str(script),
            "MISTRAL_CLI_ENGINE": "fake",
            "MISTRAL_CLI_MODEL": str(self.model),
        }

    @property
    def states(self) -> Path:
        return self.folder / "cache" / "mistral-cli" / "states"

    def tokens(self, *arguments: object, **env: str) -> tuple[int, int]:
        """Tokens of the prompt, and how many of them were cached."""
        result = self(*arguments, "--json", **env)
        assert result.status == 0, result.stderr
        fields = json.loads(result.stdout)
        return fields["prompt_tokens"], fields["cached_tokens"]

    def saved_tokens(self) -> list[int]:
        """The number of tokens of each saved prefix."""
        entries = json.loads(self("cache", "list", "--json").stdout)["entries"]
        return sorted(entry["tokens"] for entry in entries)


@pytest.fixture
def caching_program(run: Callable[..., Result], mistral: Path, tmp_path: Path) -> CachingProgram:
    return CachingProgram(run, mistral, tmp_path)


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path
