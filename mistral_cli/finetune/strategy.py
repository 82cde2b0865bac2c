"""How a run fits the memory: the device, packed weights, and the parts that a step is computed in.

None of this changes what the model learns, except for rounding; it decides memory and time. All
sizes are in bytes. The estimates were compared with real runs (docs/performance/measurements.md).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mistral_cli.errors import UsageError
from mistral_cli.finetune.tensors import layer_modules
from mistral_cli.system.machine import available_memory, usable_cores
from mistral_cli.system.strict_json import to_dataclass

if TYPE_CHECKING:
    from mistral_cli.finetune.plan import TrainingPlan

_F32 = 4
_LIBRARIES = 900 * 2**20  # torch and the libraries on top of it, with their code
_USABLE_SHARE = 0.6  # of the free memory, since the estimate is not exact
_UNPACKED_PER_SECOND = 2.0e8  # weights, on one core
_EFFICIENCY = 0.6  # a step's small products reach this share of a large product's speed


@dataclass(frozen=True)
class Device:
    """The device that computes: its torch name ("cpu" or "cuda") and its `free` bytes.

    `bytes_per_weight` is the size of a weight in the type that the device computes in.
    """

    name: str
    free: int
    bytes_per_weight: int


@dataclass(frozen=True)
class MemoryStrategy:
    """How a run saves memory; `memory` is its estimated need.

    With `packed`, weights stay quantized and are dequantized for each use. With
    `gradient_checkpointing`, activations are recomputed for the backward pass instead of kept.
    Each step is computed in `accumulation_steps` parts of equal size. A resumed run must use
    the strategy that it began with, or it would round differently.
    """

    device: str
    packed: bool
    gradient_checkpointing: bool
    accumulation_steps: int
    memory: int


def saved_strategy(state: Mapping[str, Any]) -> MemoryStrategy | None:
    """The strategy in the state of an interrupted run, None for a new run or a damaged one."""
    names: dict[Any, str] = {"recomputes": "gradient_checkpointing", "parts": "accumulation_steps"}
    try:
        saved = dict(state.get("strategy") or state.get("way") or {})  # "way" in version 0.1.0
        values = {str(names.get(name, name)): value for name, value in saved.items()}
        return to_dataclass(MemoryStrategy, values) if values else None
    except (ValueError, TypeError):
        return None


def this_device() -> Device:
    """The first CUDA GPU that torch sees, else the CPU (also when torch is not installed)."""
    try:
        import torch

        if torch.cuda.is_available():
            return Device("cuda", torch.cuda.mem_get_info()[0], 2)
    except ImportError:
        pass
    return Device("cpu", available_memory() or 8 * 2**30, _F32)


def choose_strategy(plan: TrainingPlan, device: Device) -> MemoryStrategy:
    """The fastest strategy that fits the memory of `device`; the smallest if none fits.

    Raises UsageError for a --gradient-accumulation that does not divide the batch.
    """
    counts = _accumulation_steps(plan)
    strategies = [
        MemoryStrategy(
            device.name,
            packed,
            checkpointing,
            accumulation_steps,
            _memory(
                plan,
                device,
                packed=packed,
                gradient_checkpointing=checkpointing,
                accumulation_steps=accumulation_steps,
            ),
        )
        # From fast to slow: dequantizing for each use costs most, small parts come next.
        for packed in ((False,) if plan.options.base else (False, True))
        for checkpointing in (False, True)
        for accumulation_steps in counts
    ]
    limit = _USABLE_SHARE * device.free
    fitting = (strategy for strategy in strategies if strategy.memory <= limit)
    return next(fitting, min(strategies, key=lambda strategy: strategy.memory))


def _accumulation_steps(plan: TrainingPlan) -> list[int]:
    """The user's --gradient-accumulation, else every divisor of the batch size."""
    batch, chosen = plan.batch_size, plan.options.gradient_accumulation
    if chosen is None:
        return [parts for parts in range(1, batch + 1) if batch % parts == 0]
    if batch % chosen:
        raise UsageError(
            f"--gradient-accumulation {chosen} does not divide the {batch} rows of a step",
            hint="Use a divisor of that number, or drop the option.",
        )
    return [chosen]


def _memory(
    plan: TrainingPlan,
    device: Device,
    *,
    packed: bool,
    gradient_checkpointing: bool,
    accumulation_steps: int,
) -> int:
    model = plan.model
    size = {tensor.name: tensor.elements for tensor in model.tensors}
    head = size.get("output.weight", size["token_embd.weight"]) * device.bytes_per_weight
    if packed:
        rotated = sum(t.size for t in model.tensors if ".attn_q." in t.name or ".attn_k." in t.name)
        matrix = max(shape[0] * shape[1] for shape in layer_modules(model).values())
        weights = model.file_size + rotated + head + 3 * matrix * _F32
    else:
        weights = model.parameters * device.bytes_per_weight
    learned = plan.trained_parameters * 4 * _F32  # weights, gradients and two moments (Adam)
    tokens = plan.batch_size // accumulation_steps * plan.longest
    layer = tokens * _activations_per_token(plan) * device.bytes_per_weight
    width = int(model.hparam("embedding_length"))
    if gradient_checkpointing:
        activations = layer + model.block_count * tokens * width * device.bytes_per_weight
    else:
        activations = layer * model.block_count
    libraries = _LIBRARIES if device.name == "cpu" else _LIBRARIES // 2
    return int(weights + learned + activations + libraries)


def _activations_per_token(plan: TrainingPlan) -> int:
    """The numbers that one layer keeps of one token for the backward pass.

    They are about 12 rows of the embedding's width and 4 of the feed-forward network's.
    """
    width = int(plan.model.hparam("embedding_length"))
    return 12 * width + 4 * plan.model.per_layer("feed_forward_length")[0]


def estimate_seconds(plan: TrainingPlan, strategy: MemoryStrategy) -> float | None:
    """The run's estimated duration on this CPU; None on a GPU, whose speed is not measured."""
    if strategy.device != "cpu":
        return None
    model = plan.model
    head = len(model.tokens) * int(model.hparam("embedding_length"))
    matrices = sum(t.elements for t in model.tensors if t.name.startswith("blk."))
    passes = 3 if strategy.gradient_checkpointing else 2  # forward and back, of frozen weights
    # The trainer computes the logits of every token, and again in the backward pass.
    products = 2 * plan.tokens * (passes * matrices + 3 * head) * plan.options.epochs
    unpacked = (
        passes * matrices * plan.steps * strategy.accumulation_steps if strategy.packed else 0
    )
    speed = _measure_flops() * _EFFICIENCY
    return products / speed + unpacked / (_UNPACKED_PER_SECOND * usable_cores())


def _measure_flops() -> float:
    """Measure the floating-point operations per second of a product of two matrices."""
    import numpy as np

    size, best = 1024, float("inf")
    left = np.ones((size, size), np.float32)
    for _ in range(3):
        start = time.perf_counter()
        left @ left
        best = min(best, time.perf_counter() - start)
    return 2.0 * size**3 / best
