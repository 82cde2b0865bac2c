"""`models.disk`: sizes for people."""

from __future__ import annotations

import pytest

from mistral_cli.models.disk import format_size


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (999_900, "1 MB"), (98_362_432, "98.4 MB"), (4.368e9, "4.37 GB")],
)
def test_format_size(size: float, text: str) -> None:
    assert format_size(size) == text
