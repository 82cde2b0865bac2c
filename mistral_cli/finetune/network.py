"""The frozen network that an adapter is trained beside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mistral_cli.finetune.hf_base import load_base
from mistral_cli.finetune.weights import load_network
from mistral_cli.system.machine import usable_cores

if TYPE_CHECKING:
    from mistral_cli.finetune.plan import Plan
    from mistral_cli.finetune.strategy import Way


def load(plan: Plan, way: Way, base: Path | None) -> Any:
    """The GGUF's own weights, or those in the folder `base`. Raises ModelUnusable."""
    torch.set_num_threads(usable_cores())
    dtype = number_type(way)
    if base:
        return load_base(base, plan.model, dtype, way.device, nf4=plan.options.nf4)
    return load_network(plan.model, dtype, way.device, packed=way.packed)


def number_type(way: Way) -> torch.dtype:
    """What the frozen weights are computed in: GPUs before Ampere have no bfloat16."""
    if way.device != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.get_device_capability()[0] >= 8 else torch.float16
