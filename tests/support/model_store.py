"""The program and a hub on this machine, for tests of the `models` commands."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from synthetic.models import write_mistral

from support.hub_server import HubServer, running

if TYPE_CHECKING:  # it imports this module
    from support.program import Result

REPO = "owner/tiny-GGUF"
Q4, Q8, PLAIN = f"{REPO}/tiny.Q4_0.gguf", f"{REPO}/sub/tiny.Q8_0.gguf", f"{REPO}/tiny.gguf"
TINY: dict[str, Any] = {
    "vocabulary": 300,
    "embedding": 64,
    "heads": 2,
    "kv_heads": 1,
    "feed_forward": 64,
}


@dataclass(frozen=True)
class Store:
    """Runs the program with the hub `hub`; `cache` is the hub cache that it fills."""

    call: Callable[..., Result]
    hub: HubServer
    cache: Path

    def models(self, *arguments: object, **env: str) -> Result:
        return self.call("models", *arguments, **env)

    def ask(self, *arguments: object, **env: str) -> Any:
        """Run a command with `--json` that must succeed; return the parsed output."""
        result = self.models(*arguments, "--json", **env)
        assert result.status == 0, result.stderr
        return json.loads(result.stdout)

    def pull(self, *references: str) -> list[Path]:
        result = self.models("pull", "-q", *references)
        assert (result.status, result.stderr) == (0, "")
        return [Path(line) for line in result.stdout.splitlines()]

    def rows(self) -> dict[str, Any]:
        return {row["name"]: row for row in self.ask("list")["models"]}

    def verdict(self, reference: object) -> tuple[int, dict[str, Any], str]:
        result = self.models("verify", reference, "--json")
        (row,) = json.loads(result.stdout)["models"]
        return result.status, row, result.stderr


@pytest.fixture(scope="session")
def gguf_bytes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("tiny")
    kinds = {"tiny.Q4_0.gguf": "Q4_0", "sub/tiny.Q8_0.gguf": "Q8_0", "tiny.gguf": "F16"}
    return {
        name: write_mistral(folder / kind, quantization=kind, **TINY).read_bytes()
        for name, kind in kinds.items()
    }


@pytest.fixture
def store(
    run: Callable[..., Result], gguf_bytes: dict[str, bytes], tmp_path: Path
) -> Iterator[Store]:
    with running({REPO: dict(gguf_bytes)}) as hub:
        surroundings = {
            "HF_ENDPOINT": hub.hub_url,
            "NO_PROXY": "127.0.0.1",
            "XDG_CACHE_HOME": str(tmp_path / "cache"),
        }

        def call(*arguments: object, **env: str) -> Result:
            return run(*arguments, **{**surroundings, **env})

        yield Store(call, hub, tmp_path / "huggingface" / "hub")
