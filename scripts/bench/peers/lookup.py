"""Text that repeats its input: tokens a second with and without prompt lookup."""

from __future__ import annotations

from results import Results
from setting import Setting
from timing import Tell


def measure(setting: Setting, results: Results, tell: Tell) -> None:  # noqa: ARG001
    """Skipped where this version has no lookup."""
    setting.skipped.append("prompt lookup: this version has none")
