"""`--lora FILE[:SCALE]`: LoRA adapters, checked by themselves and against the model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli.engines.protocol import LoraAdapter
from mistral_cli.errors import ModelUnusable, UsageError
from mistral_cli.models.gguf.adapter import Adapter, read_adapter

if TYPE_CHECKING:
    from mistral_cli.models.gguf import GGUF
    from mistral_cli.system.reporter import Reporter


@dataclass(frozen=True)
class CheckedAdapter:
    """An adapter whose file has been checked, and the file and scale for the engine."""

    adapter: Adapter
    scaled: LoraAdapter


def read_adapters(arguments: Sequence[str], reporter: Reporter) -> list[CheckedAdapter]:
    """Read and check the adapters that `--lora` names.

    Raises ModelUnusable for a file that is not an adapter, UsageError for an impossible scale.
    """
    adapters = []
    for argument in arguments:
        path, scale = parse_adapter(argument)
        adapter = read_adapter(path)
        adapters.append(CheckedAdapter(adapter, _scaled(path, scale, reporter)))
        reporter.info(
            f"adapter {path}: {scale:g} times, rank {adapter.rank}, alpha {adapter.alpha:g}, "
            f"for {', '.join(adapter.targets)}"
        )
    return adapters


def _scaled(path: Path, scale: float, reporter: Reporter) -> LoraAdapter:
    from mistral_cli.models.checksums import cached_sha256

    return LoraAdapter(path.resolve(), scale, cached_sha256(path, reporter))


def check_adapters(adapters: Sequence[CheckedAdapter], model: GGUF) -> tuple[LoraAdapter, ...]:
    """The adapters in the engines' type. Raises ModelUnusable if one does not fit `model`."""
    for each in adapters:
        if problem := each.adapter.problem_with(model):
            raise ModelUnusable(
                f"{each.adapter.path} does not fit {model.path.name}: {problem}",
                hint="Use the model it was trained for; `mistral-cli models show` describes both.",
            )
    return tuple(each.scaled for each in adapters)


def parse_adapter(argument: str) -> tuple[Path, float]:
    """Parse `FILE[:SCALE]`. A file that exists may have a colon in its name.

    Raises UsageError for a scale that is not finite.
    """
    name, colon, suffix = argument.rpartition(":")
    if not colon or Path(argument).exists():
        return Path(argument), 1.0
    try:
        scale = float(suffix)
    except ValueError:
        return Path(argument), 1.0
    if not math.isfinite(scale):
        raise UsageError(f"--lora cannot scale by {suffix}", hint="Use a number, such as 0.5.")
    return Path(name), scale
