"""What is asked of the engine: which one, and where it computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mistral_cli.engines.registry import engine_class
from mistral_cli.errors import UsageError

if TYPE_CHECKING:
    from mistral_cli.engines.protocol import Engine
    from mistral_cli.models.gguf import GGUF


@dataclass(frozen=True)
class EngineRequirements:
    """The `name` of an engine or "auto", and what the engine must do.

    `gpu_layers` is a number, "auto" or "all"; with `require_gpu` some must be there. With
    `adapters` it must add LoRA adapters, with `listening` be one that can be served.
    """

    name: str = "auto"
    gpu_layers: str = "auto"
    require_gpu: bool = False
    adapters: bool = False
    listening: bool = False

    def check(self) -> None:
        """Raise UsageError for what no model can make possible."""
        engine = None if self.name == "auto" else engine_class(self.name)
        if engine and (problem := self.lacking(engine)):
            drop = ", or drop --lora" if self.adapters else ""
            raise UsageError(f"{self.name} {problem}", hint=f"Use --engine llama.cpp{drop}.")
        check_gpu_layers(self.gpu_layers)
        if self.require_gpu and self.gpu_layers.isdecimal() and not int(self.gpu_layers):
            raise UsageError("--require-gpu contradicts --gpu-layers 0", hint="Drop one of them.")

    def lacking(self, engine: type[Engine]) -> str | None:
        """What `engine` cannot do with any model, or None."""
        if self.adapters and not engine.takes_adapters:
            return "cannot add LoRA adapters"
        if self.listening and not engine.listens:
            return "cannot be served"
        return None


def check_gpu_layers(gpu_layers: str) -> None:
    """Raise UsageError for what is neither a number nor "auto" nor "all"."""
    if gpu_layers not in ("auto", "all") and not gpu_layers.isdecimal():
        raise UsageError(
            f"--gpu-layers cannot be {gpu_layers!r}", hint="Use a number from 0, auto or all."
        )


def layers_of(model: GGUF, gpu_layers: str) -> int:
    """How many layers are meant, at most all; the output layer counts as one more."""
    everything = model.block_count + 1
    if gpu_layers in ("auto", "all"):
        return everything
    return min(int(gpu_layers), everything)
