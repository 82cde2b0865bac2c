"""SmolLM2, served over HTTP for all tests of a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from support.http_api import ServedHttp, serving


@pytest.fixture(scope="module")
def served(smollm2: Path) -> Iterator[ServedHttp]:
    """A process with one slot."""
    with serving(smollm2, "-c", "4096") as served:
        yield served


@pytest.fixture
def client(served: ServedHttp) -> openai.OpenAI:
    """A client of that process."""
    return served.openai()
