"""Write a model file with Mistral 7B's dimensions and random weights, as fast as the real one."""

from __future__ import annotations

import sys
from pathlib import Path

from synthetic.models import write_mistral


def write_7b(path: Path) -> Path:
    """Write the model under a temporary name first, so that a partial file never looks whole."""
    part = path.with_name(f"{path.name}.part")
    write_mistral(
        part,
        layers=32,
        embedding=4096,
        heads=32,
        kv_heads=8,
        feed_forward=14336,
        context_length=32768,
        quantization="Q4_K_M",
    )
    return part.replace(path)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: scripts/make_model FILE")
    print(write_7b(Path(sys.argv[1])))
