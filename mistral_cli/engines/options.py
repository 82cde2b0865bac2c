"""The options of every command that opens a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from mistral_cli.engines.gpu_layers import AUTO, GpuLayers
from mistral_cli.system.options import (
    MODEL,
    ModelOption,
    OfflineOption,
    ThreadsOption,
    option,
)

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
