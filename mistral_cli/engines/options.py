"""The options of every command that opens a model, and the GPU layers that one of them asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from mistral_cli.errors import UsageError
from mistral_cli.system.options import (
    MODEL,
    ModelOption,
    OfflineOption,
    ThreadsOption,
    option,
)

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

GpuLayersOption = Annotated[
    GpuLayers,
    option(
        "-ngl",
        "--gpu-layers",
        panel=MODEL,
        metavar="N|auto|all",
        parser=GpuLayers.parse,
        help="Layers to put on the GPU (default auto; 0 for none).",
    ),
]


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which model to load, and how; None leaves it to the configuration or the model."""

    model: ModelOption = None
    lora: Annotated[
        list[str] | None,
        option(
            "--lora",
            panel=MODEL,
            metavar="FILE[:SCALE]",
            help="Add a LoRA adapter in GGUF, SCALE times (default 1; repeatable).",
        ),
    ] = None
    offline: OfflineOption = False
    engine: Annotated[
        str | None,
        option(
            "--engine",
            panel=MODEL,
            metavar="NAME",
            help="auto, or an engine by name (`mistral-cli engines list`).",
        ),
    ] = None
    gpu_layers: GpuLayersOption = AUTO
    require_gpu: Annotated[
        bool, option("--require-gpu", panel=MODEL, help="Fail rather than run on the CPU.")
    ] = False
    context_length: Annotated[
        int | None,
        option(
            "-c",
            "--context-length",
            panel=MODEL,
            min=1,
            metavar="TOKENS",
            help="Default: what prompt and answer need.",
        ),
    ] = None
    threads: ThreadsOption = None
