"""`--lora FILE[:SCALE]`: LoRA adapters, checked on their own and against the model they change."""

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
class Chosen:
    """An adapter that the user wants: what is in its file, and how it is to be added."""

    adapter: Adapter
    scaled: LoraAdapter


def read_adapters(given: Sequence[str], reporter: Reporter) -> list[Chosen]:
    """Read and check the adapters that `--lora` names.

    Raises ModelUnusable for a file that is none, UsageError for an impossible scale.
    """
    chosen = []
    for argument in given:
        path, scale = parse(argument)
        adapter = read_adapter(path)
        chosen.append(Chosen(adapter, _scaled(path, scale, reporter)))
        reporter.info(
            f"adapter {path}: {scale:g} times, rank {adapter.rank}, alpha {adapter.alpha:g}, "
            f"for {', '.join(adapter.targets)}"
        )
    return chosen


def _scaled(path: Path, scale: float, reporter: Reporter) -> LoraAdapter:
    from mistral_cli.models.checksums import cached_sha256

    return LoraAdapter(path.resolve(), scale, cached_sha256(path, reporter))


def fitting(chosen: Sequence[Chosen], model: GGUF) -> tuple[LoraAdapter, ...]:
    """What an engine is to add to `model`. Raises ModelUnusable where one does not fit it."""
    for each in chosen:
        if problem := each.adapter.problem_with(model):
            raise ModelUnusable(
                f"{each.adapter.path} does not fit {model.path.name}: {problem}",
                hint="Use the model it was made for; `mistral-cli models show` tells of both.",
            )
    return tuple(each.scaled for each in chosen)


def parse(argument: str) -> tuple[Path, float]:
    """The file and the scale of `FILE[:SCALE]`; a colon may be part of a name that exists.

    Raises UsageError for a scale that is not finite.
    """
    name, colon, end = argument.rpartition(":")
    if not colon or Path(argument).exists():
        return Path(argument), 1.0
    try:
        scale = float(end)
    except ValueError:
        return Path(argument), 1.0
    if not math.isfinite(scale):
        raise UsageError(f"--lora cannot scale by {end}", hint="Use a number, such as 0.5.")
    return Path(name), scale
