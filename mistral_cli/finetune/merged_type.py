"""How the weights of a merged model can be stored."""

from __future__ import annotations

from enum import StrEnum


class MergedType(StrEnum):
    """F16 keeps what the adapter adds, Q8_0 nearly so; fewer bits lose most of it."""

    F16 = "f16"
    Q8_0 = "q8_0"
