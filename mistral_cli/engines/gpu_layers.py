"""How many of a model's layers a GPU is to hold.

This is not in `options.py`, because the process of an engine needs it: importing Typer takes a
quarter of the time in which that process starts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mistral_cli.errors import UsageError

if TYPE_CHECKING:
    from mistral_cli.models.gguf import GGUF


@dataclass(frozen=True)
class GpuLayers:
    """How many layers to put on the GPU: `count`, or all of them where that is None.

    With `automatic` as many as fit.
    """

    count: int | None = None
    automatic: bool = False

    @classmethod
    def parse(cls, text: str) -> GpuLayers:
        """The layers that "auto", "all" or a number asks for. Raises UsageError."""
        if text == "auto":
            return AUTO
        if text == "all":
            return ALL
        if text.isdecimal():
            return cls(int(text))
        raise UsageError(
            f"--gpu-layers cannot be {text!r}", hint="Use auto, all or a number (0 for none)."
        )

    def __str__(self) -> str:
        if self.automatic:
            return "auto"
        return "all" if self.count is None else str(self.count)

    def of(self, model: GGUF) -> int:
        """The layers of `model` that this means, at most; the output layer counts as one more."""
        everything = model.block_count + 1
        return everything if self.count is None else min(self.count, everything)


AUTO, ALL, NONE = GpuLayers(automatic=True), GpuLayers(), GpuLayers(0)
