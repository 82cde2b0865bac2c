"""The options of every command that opens a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from mistral_cli.system.options import (
    MODEL,
    GpuLayersOption,
    ModelOption,
    OfflineOption,
    ThreadsOption,
    option,
)


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which model is loaded, and how; None leaves it to the configuration or the model."""

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
            help="auto, or an engine by name (models show lists them).",
        ),
    ] = None
    gpu_layers: GpuLayersOption = "auto"
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
