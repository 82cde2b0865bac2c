"""How a file is refused: what is wrong with it, and what the user can do."""

from __future__ import annotations

from typing import NoReturn

from mistral_cli.errors import ModelUnusable

DAMAGED = "The file is damaged or incomplete: download it again."
CONVERT = "Use another GGUF of this model, or convert it again with a current llama.cpp."
ANOTHER = "Give a model in GGUF format: a single file that ends in .gguf."


def refuse(problem: str, hint: str = DAMAGED) -> NoReturn:
    """Raise ModelUnusable."""
    raise ModelUnusable(problem, hint=hint)
