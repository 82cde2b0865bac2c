"""Training data for the tests of fine-tuning."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.terminals import make_terminal

if TYPE_CHECKING:
    from mistral_cli.finetune.data import TrainingData

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples" / "midjourney.csv"


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., TrainingData]:
    """A function that writes a file and reads it as training data."""
    from mistral_cli.finetune.data import read_data

    def written(content: str, name: str = "data.csv") -> TrainingData:
        path = tmp_path / name
        path.write_text(content, encoding="utf-8")
        return read_data(path, make_terminal())

    return written
