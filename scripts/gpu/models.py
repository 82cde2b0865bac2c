"""Write the models of the check, as a process of its own that can be ended."""

from __future__ import annotations

from pathlib import Path

from synthetic.mistral_7b import write_7b
from synthetic.models import write_mistral


def write(kind: str, path: str) -> None:
    """Write the 7B shape, or a small model wide enough for every matrix kernel."""
    if kind == "7b":
        write_7b(Path(path))
        return
    part = Path(f"{path}.part")
    write_mistral(part, layers=8, embedding=1024, heads=8, feed_forward=2048, quantization="Q8_0")
    part.replace(path)
